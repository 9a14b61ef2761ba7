"""Section 3.4: properties (A) and (B), LG-1 to LG-4, gaps and completions, with the counterexamples that limit them."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dntk_ref import cases, locality, redundancy
from dntk_ref.cases import COUNTEREXAMPLES
from tests.ref.sides import CLOSE, HAND, differs
from tests.strategies import epsilons, generators, partitioned_kernels
from tests.tolerances import TOL


def slack(K):
    """Rounding of a trace."""
    return TOL["float64"] * float(np.trace(K))


@st.composite
def bases(draw):
    """A partition, random global directions, and random local directions padded with zeros."""
    K, labels = draw(partitioned_kernels((2, 8)))
    rng, n = draw(generators()), len(K)
    U_g = cases.orthonormal(n, draw(st.integers(0, n)), rng=rng)
    local = []
    for rows in locality.clusters(labels):
        lifted = np.zeros((n, len(rows)))
        lifted[rows] = cases.orthonormal(len(rows), len(rows), rng=rng)
        local.append(lifted[:, : draw(st.integers(0, len(rows)))])
    return U_g, np.hstack(local), labels


# Clusters and bases


def test_clusters_stand_in_the_order_of_their_labels():
    found = [rows.tolist() for rows in locality.clusters(np.array([5, -1, 5, 2]))]
    assert found == [[1], [3], [0, 2]]


@given(partitioned_kernels(), epsilons)
def test_the_local_basis_is_orthonormal_block_diagonal_and_made_of_eigenvectors(case, epsilon):
    K, labels = case
    local = locality.local_basis(K, labels, epsilon)
    B, stop = local.basis, np.cumsum(local.ranks)
    np.testing.assert_allclose(B.T @ B, np.eye(B.shape[1]), **CLOSE)
    assert B.shape == (len(K), local.ranks.sum())
    for rows, r, end in zip(locality.clusters(labels), local.ranks, stop, strict=True):
        block, U_h = K[np.ix_(rows, rows)], B[rows, end - r : end]
        assert r == redundancy.truncation_rank(block, epsilon)
        values = np.diag(U_h.T @ block @ U_h)
        np.testing.assert_allclose(block @ U_h, U_h * values, rtol=0, atol=slack(K))
        np.testing.assert_allclose(values, redundancy.spectrum(block)[:r], rtol=0, atol=slack(K))
        others = np.delete(B[:, end - r : end], rows, axis=0)
        assert not others.any()


@given(partitioned_kernels(), epsilons)
def test_the_global_basis_is_the_leading_eigenvectors(case, epsilon):
    K, _ = case
    U_g = locality.global_basis(K, epsilon)
    assert U_g.shape == (len(K), redundancy.truncation_rank(K, epsilon))
    leading = redundancy.spectrum(K)[: U_g.shape[1]]
    np.testing.assert_allclose(U_g.T @ K @ U_g, np.diag(leading), rtol=0, atol=slack(K))


# Property (A)


@given(partitioned_kernels(), epsilons, epsilons)
def test_both_readings_of_equation_12_by_the_loops(case, epsilon_local, epsilon_global):
    K, labels = case
    keywords = {"epsilon_local": epsilon_local, "epsilon_global": epsilon_global}
    U_g, local = locality.global_basis(K, epsilon_global), locality.local_basis(K, labels, epsilon_local)
    stop = np.cumsum(local.ranks)
    first, second = [], []
    for rows, r, end in zip(locality.clusters(labels), local.ranks, stop, strict=True):
        lifted = local.basis[:, end - r : end]
        values = np.diag(lifted.T @ K @ lifted)
        P_h = U_g[rows] @ np.linalg.pinv(U_g[rows], rcond=TOL["rank"])
        first.append(sum(values[j] * np.sum((P_h @ lifted[rows, j]) ** 2) for j in range(r)) / values.sum())
        second.append(sum(values[j] * np.sum((U_g.T @ lifted[:, j]) ** 2) for j in range(r)) / values.sum())
    found = locality.property_a_r1(K, labels, **keywords)
    np.testing.assert_allclose(found, first, rtol=0, atol=TOL["squared_kernel"])
    np.testing.assert_allclose(locality.property_a_r2(K, labels, **keywords), second, rtol=0, atol=TOL["float64"])
    assert (locality.property_a_r2(K, labels, **keywords) <= found + TOL["squared_kernel"]).all()


@given(partitioned_kernels(), epsilons)
def test_property_a_is_empty_where_the_restriction_has_full_row_rank(case, epsilon):
    K, labels = case
    U_g = locality.global_basis(K, 0.0)
    ratios = locality.property_a_r1(K, labels, epsilon_local=epsilon, epsilon_global=0.0)
    for rows, ratio in zip(locality.clusters(labels), ratios, strict=True):
        if np.linalg.matrix_rank(U_g[rows], tol=TOL["rank"]) == len(rows):
            assert ratio == pytest.approx(1.0, abs=TOL["float64"])


def test_cex_9_property_a_fails_in_a_cluster_of_low_energy():
    case = COUNTEREXAMPLES["CEX-9"]
    both = {"epsilon_local": case.numbers["epsilon"], "epsilon_global": case.numbers["epsilon"]}
    assert locality.property_a_r1(case["kernel"], case["labels"], **both).tolist() == [1.0, 0.0]
    lg1 = locality.theorem_lg1(case["kernel"], case["labels"], **both)
    assert lg1.uncovered == pytest.approx(0.01)
    assert lg1.mean_ratio == pytest.approx(1 / 1.01)
    assert lg1.mean_ratio >= lg1.mean_bound


def test_cex_30_the_second_reading_fails_for_redundant_data():
    case = COUNTEREXAMPLES["CEX-30"]
    both = {"epsilon_local": case.numbers["epsilon"], "epsilon_global": case.numbers["epsilon"]}
    np.testing.assert_allclose(locality.property_a_r2(case["kernel"], case["labels"], **both), [0.5, 0.5], **HAND)
    np.testing.assert_allclose(locality.property_a_r1(case["kernel"], case["labels"], **both), [1.0, 1.0], **HAND)


def test_the_null_value_is_that_of_random_directions():
    labels, rng = np.repeat([0, 1, 2], [50, 20, 130]), np.random.default_rng(1)
    null = locality.property_a_null(labels, 36)
    np.testing.assert_allclose(null, [0.72, 1.0, 36 / 130], **HAND)
    draws = []
    for _ in range(200):
        span = np.linalg.qr(cases.orthonormal(200, 36, rng=rng)[:50])[0]
        u = rng.standard_normal(50)
        draws.append(np.sum((span.T @ u) ** 2) / np.sum(u**2))
    # |P u|^2 is Beta(18, 7): standard deviation 0.088 a draw; five standard errors, a false alarm in a million.
    assert abs(np.mean(draws) - null[0]) < 5 * 0.088 / np.sqrt(200)


@given(partitioned_kernels(), epsilons, epsilons)
def test_lg_1_holds(case, epsilon_local, epsilon_global):
    K, labels = case
    found = locality.theorem_lg1(K, labels, epsilon_local=epsilon_local, epsilon_global=epsilon_global)
    values = redundancy.spectrum(K)
    assert found.uncovered <= found.tail + slack(K)
    assert found.tail <= found.bound + slack(K)
    assert found.tail == pytest.approx(values[redundancy.truncation_rank(K, epsilon_global) :].sum(), abs=slack(K))
    assert found.bound == pytest.approx(epsilon_global * values.sum(), abs=slack(K))
    assert found.mean_ratio >= found.mean_bound - TOL["float64"]
    assert found.mean_bound == pytest.approx(1 - epsilon_global / (1 - epsilon_local), rel=TOL["hand"])


@given(partitioned_kernels(), epsilons, epsilons)
def test_the_left_sides_of_lg_1_by_the_loops(case, epsilon_local, epsilon_global):
    K, labels = case
    keywords = {"epsilon_local": epsilon_local, "epsilon_global": epsilon_global}
    found, U_g = locality.theorem_lg1(K, labels, **keywords), locality.global_basis(K, epsilon_global)
    uncovered, weights = 0.0, []
    for rows in locality.clusters(labels):
        block = K[np.ix_(rows, rows)]
        P_h = U_g[rows] @ np.linalg.pinv(U_g[rows], rcond=TOL["rank"])
        uncovered += np.trace(block) - np.trace(P_h @ block)
        weights.append(redundancy.spectrum(block)[: redundancy.truncation_rank(block, epsilon_local)].sum())
    assert found.uncovered == pytest.approx(uncovered, abs=TOL["squared_kernel"])
    ratios = locality.property_a_r1(K, labels, **keywords)
    assert found.mean_ratio == pytest.approx(np.average(ratios, weights=weights), abs=TOL["squared_kernel"])


# Property (B), coverage


@given(bases())
def test_the_true_coverage_is_the_length_inside_the_local_space(case):
    U_g, B, _ = case
    found = locality.true_coverage(U_g, B)
    projected = B @ B.T @ U_g
    np.testing.assert_allclose(found, np.linalg.norm(projected, axis=0) ** 2, **CLOSE)
    by_products = [sum((u @ b) ** 2 for b in B.T) for u in U_g.T]
    np.testing.assert_allclose(found, by_products, **CLOSE)
    delta = locality.property_b(U_g, B)
    assert delta == pytest.approx(max([1 - c for c in found], default=0.0), abs=TOL["float64"])


@given(bases())
def test_lg_4_holds_with_equality_on_its_left(case):
    found = locality.theorem_lg4(*case)
    np.testing.assert_allclose(found.true, found.mixture, **CLOSE)
    assert (found.mixture <= found.best + TOL["float64"]).all()
    assert (found.best == locality.cluster_coverage(*case).best).all()


@given(bases(), st.sampled_from([0.3, 0.7, 0.95]))
def test_the_paper_s_gaps_are_among_the_true_ones(case, threshold):
    found = locality.theorem_lg4(*case)
    printed, true = (set(locality.gap_set(c, threshold)) for c in (found.best, found.true))
    assert printed <= true


@given(bases())
def test_coverage_by_cluster_by_the_loops(case):
    U_g, B, labels = case
    found, parts = locality.cluster_coverage(U_g, B, labels), locality.clusters(labels)
    np.testing.assert_allclose(found.weight.sum(axis=1), 1.0, **CLOSE)
    assert found.share.shape == found.weight.shape == (U_g.shape[1], len(parts))
    for j, u in enumerate(U_g.T):
        for h, rows in enumerate(parts):
            assert found.weight[j, h] == pytest.approx(u[rows] @ u[rows], abs=TOL["float64"])
            inside = B[rows] @ (B[rows].T @ u[rows])
            share = np.linalg.norm(inside) ** 2 / (u[rows] @ u[rows])
            assert found.share[j, h] == pytest.approx(share, abs=TOL["squared_kernel"])
        assert found.best[j] == max(found.share[j])


@given(bases(), generators())
def test_coverage_does_not_see_signs_or_rotations_inside_a_cluster(case, rng):
    U_g, B, labels = case
    turned = []
    for rows in locality.clusters(labels):
        own = B[:, np.abs(B[rows]).max(axis=0, initial=0.0) > 0]
        turned.append(own @ cases.orthonormal(own.shape[1], own.shape[1], rng=rng) if own.shape[1] else own)
    signs = rng.choice([-1.0, 1.0], U_g.shape[1])
    before = locality.cluster_coverage(U_g, B, labels)
    after = locality.cluster_coverage(signs * U_g, np.hstack(turned[::-1]), labels)
    np.testing.assert_allclose(after.share, before.share, rtol=0, atol=TOL["squared_kernel"])


def test_an_absent_direction_is_not_covered():
    # u vanishes on cluster 1, up to the rounding of an eigensolver.
    found = locality.cluster_coverage([[1.0], [1e-17]], [[1.0, 0.0], [0.0, 1.0]], [0, 1])
    assert found.share.tolist() == [[1.0, 0.0]]
    assert locality.cluster_coverage([[1.0], [0.0]], [[0.0], [1.0]], [0, 1]).best.tolist() == [0.0]


def test_gaps_are_strict_and_a_full_coverage_is_no_gap():
    assert locality.gap_set([0.4, 0.5, 0.6], 0.5).tolist() == [0]
    assert locality.gap_set([1.0 - 1e-15, 0.999], 1.0).tolist() == [1]
    assert locality.gap_set([], 0.5).tolist() == []


def test_cex_10_the_best_cluster_hides_what_is_missed():
    case = COUNTEREXAMPLES["CEX-10"]
    K, labels, epsilon = case["kernel"], case["labels"], case.numbers["epsilon"]
    assert (np.round(8 * K) == 8 * K).all()
    assert redundancy.spectrum(K)[0] == pytest.approx(case.numbers["top"], rel=TOL["hand"])
    found = locality.locality(K, labels, epsilon_local=epsilon, epsilon_global=epsilon, coverage_threshold=0.9)
    assert found.local_ranks.tolist() == [1] * 5
    assert found.coverage[0] == pytest.approx(case.numbers["coverage"], rel=TOL["float64"])
    assert found.true_coverage[0] == pytest.approx(case.numbers["true_coverage"], rel=TOL["float64"])
    assert 0 not in found.gap
    assert 0 in locality.gap_set(found.true_coverage, 0.9)


def test_cex_11a_a_tie_at_the_local_cut_decides_the_coverage():
    case = COUNTEREXAMPLES["CEX-11a"]
    K, labels, u = case["kernel"], case["labels"], case["direction"]
    np.testing.assert_allclose(K @ u, 3 * u, **HAND)
    for rows in locality.clusters(labels):
        np.testing.assert_array_equal(K[np.ix_(rows, rows)], 2 * np.eye(2))
    assert locality.local_basis(K, labels, case.numbers["epsilon"]).ranks.tolist() == [1, 1]
    for name in ("first", "second"):
        found = locality.cluster_coverage(u, case[name], labels).best
        np.testing.assert_allclose(found, case.numbers[f"{name}_coverage"], **HAND)


def test_cex_11b_a_global_tie_decides_the_coverage_but_not_the_gap_operator():
    case = COUNTEREXAMPLES["CEX-11b"]
    K, labels, epsilon = case["kernel"], case["labels"], case.numbers["epsilon"]
    np.testing.assert_allclose(redundancy.spectrum(K), [3, 3, 3, 0], rtol=0, atol=TOL["float64"])
    assert redundancy.truncation_rank(K, epsilon) == 2
    local = locality.local_basis(K, labels, epsilon)
    assert local.ranks.tolist() == [1, 1]
    np.testing.assert_allclose(np.abs(local.basis[[0, 2], [0, 1]]), np.sqrt(0.5), **HAND)
    found = {name: locality.theorem_lg4(case[name], local.basis, labels) for name in ("first", "second")}
    for name in found:
        np.testing.assert_allclose(K @ case[name], 3 * case[name], **HAND)
    np.testing.assert_allclose(found["first"].best, [0.0, 1.0], rtol=0, atol=TOL["hand"])
    np.testing.assert_allclose(found["second"].best, [2 / 3, 2 / 3], **HAND)
    np.testing.assert_allclose(found["second"].true, [0.5, 0.5], **HAND)
    gaps = [np.linalg.eigvalsh(locality.gap_operator(case[name], local.basis)) for name in ("first", "second")]
    np.testing.assert_allclose(*gaps, rtol=0, atol=TOL["hand"])


# LG-2, LG-3


@given(partitioned_kernels(), epsilons)
def test_lg_2_holds_with_equality_on_its_left(case, epsilon):
    K, labels = case
    found = locality.theorem_lg2(K, labels, epsilon_local=epsilon)
    assert found.uncovered == pytest.approx(found.local_tails, abs=slack(K))
    assert found.local_tails <= found.bound + slack(K)
    B = locality.local_basis(K, labels, epsilon).basis
    assert found.uncovered == pytest.approx(np.trace(K) - np.trace(B.T @ K @ B), abs=slack(K))
    assert found.bound == epsilon * np.trace(K)


def test_the_right_side_of_lg_2_can_be_an_equality():
    found = locality.theorem_lg2(np.diag([4.0, 1.0]), [3, 3], epsilon_local=0.2)
    assert (found.uncovered, found.local_tails, found.bound) == (1.0, 1.0, 1.0)


@given(partitioned_kernels(), epsilons, epsilons, st.sampled_from([0.0, 0.5, 0.9]))
def test_lg_3_holds_in_its_three_parts(case, epsilon_local, epsilon_global, threshold):
    K, labels = case
    keywords = {"epsilon_local": epsilon_local, "epsilon_global": epsilon_global, "coverage_threshold": threshold}
    found = locality.corollary_lg3(K, labels, **keywords)
    assert found.largest <= found.largest_bound + slack(K)
    assert found.weighted <= found.weighted_bound + TOL["float64"]
    assert found.gap_energy <= found.gap_bound + slack(K)
    assert found.largest_bound == epsilon_local * np.trace(K)
    assert found.weighted_bound == epsilon_local / (1 - epsilon_global)
    assert found.gap_bound == epsilon_local * np.trace(K) / (1 - threshold)


@given(partitioned_kernels(), epsilons, epsilons, st.sampled_from([0.0, 0.5, 0.9]))
def test_the_left_sides_of_lg_3_by_the_loops(case, epsilon_local, epsilon_global, threshold):
    K, labels = case
    keywords = {"epsilon_local": epsilon_local, "epsilon_global": epsilon_global, "coverage_threshold": threshold}
    found, U_g = locality.corollary_lg3(K, labels, **keywords), locality.global_basis(K, epsilon_global)
    B, values = locality.local_basis(K, labels, epsilon_local).basis, redundancy.spectrum(K)
    coverage = [np.linalg.norm(B.T @ u) ** 2 for u in U_g.T]
    missed = [value * (1 - c) for value, c in zip(values, coverage, strict=False)]
    assert found.largest == pytest.approx(max(missed), abs=slack(K))
    assert found.weighted == pytest.approx(sum(missed) / values[: len(missed)].sum(), abs=TOL["float64"])
    assume(all(abs(c - threshold) > TOL["float64"] for c in coverage))
    energy = sum(value for value, c in zip(values, coverage, strict=False) if c < threshold)
    assert found.gap_energy == pytest.approx(energy, abs=slack(K))


def test_lg_3_by_hand():
    found = locality.corollary_lg3(
        *(np.diag([4.0, 1.0]), [0, 0]), epsilon_local=0.2, epsilon_global=0.1, coverage_threshold=0.75
    )
    assert (found.largest, found.largest_bound) == (1.0, 1.0)
    assert (found.weighted, found.weighted_bound) == pytest.approx((0.2, 0.2 / 0.9), rel=TOL["hand"])
    assert (found.gap_energy, found.gap_bound) == (1.0, 4.0)


def test_a_weighted_gap_of_twelve_per_cent_is_impossible_at_five():
    found = locality.corollary_lg3(
        *(np.eye(4), [0, 0, 1, 1]), epsilon_local=0.05, epsilon_global=0.05, coverage_threshold=0.5
    )
    assert found.weighted_bound == pytest.approx(0.05 / 0.95)
    assert found.weighted_bound < 0.12


def test_the_unweighted_gap_can_be_large_where_the_weighted_one_is_small():
    K = np.diag([1.0, 1e-3, 1e-3, 1e-3])
    B = locality.local_basis(K, [0, 0, 0, 0], 0.01).basis
    U_g = locality.global_basis(K, 0.0)
    assert locality.unweighted_gap(U_g, B) == 0.75
    assert locality.weighted_gap(K, U_g, B) == pytest.approx(3e-3 / 1.003)


# The gap operator and the completions


@given(bases())
def test_the_gap_operator_is_what_is_missing(case):
    U_g, B, _ = case
    G = locality.gap_operator(U_g, B)
    outside = np.eye(len(B)) - B @ B.T
    np.testing.assert_allclose(G, U_g.T @ outside @ U_g, **CLOSE)
    np.testing.assert_allclose(1 - np.diag(G), locality.true_coverage(U_g, B), **CLOSE)
    assert locality.unweighted_gap(U_g, B) == pytest.approx(np.trace(G) / max(1, len(G)), abs=TOL["float64"])


@given(bases(), generators(), st.sampled_from([0.3, 0.7, 0.95]))
def test_gap_directions_do_not_depend_on_the_basis(case, rng, threshold):
    U_g, B, _ = case
    assume(U_g.shape[1] > 0)
    values = np.linalg.eigvalsh(locality.gap_operator(U_g, B))
    assume(np.abs(values - (1 - threshold)).min() > TOL["rank"])
    turned = U_g @ cases.orthonormal(U_g.shape[1], U_g.shape[1], rng=rng)
    here, there = (locality.gap_directions(basis, B, threshold) for basis in (U_g, turned))
    np.testing.assert_allclose(here @ here.T, there @ there.T, rtol=0, atol=TOL["squared_kernel"])
    np.testing.assert_allclose(here.T @ here, np.eye(here.shape[1]), **CLOSE)
    covered = np.sum((B.T @ here) ** 2, axis=0)
    assert (covered < threshold + TOL["float64"]).all()
    assert (np.diff(covered) >= -TOL["float64"]).all()
    assert here.shape[1] == np.count_nonzero(values > 1 - threshold)


def test_gap_directions_come_least_covered_first():
    sines = np.sqrt([0.64, 0.91])
    B = np.vstack([np.diag(np.sqrt([0.36, 0.09])), np.diag(sines)])
    U_g = np.eye(4)[:, :2]
    np.testing.assert_allclose(np.abs(locality.gap_directions(U_g, B, 0.5)), U_g[:, ::-1], rtol=0, atol=TOL["float64"])
    np.testing.assert_allclose(np.abs(locality.gap_directions(U_g, B, 0.3)), U_g[:, 1:], rtol=0, atol=TOL["float64"])


def test_no_global_direction_has_no_gap():
    nothing = np.zeros((3, 0))
    assert locality.gap_directions(nothing, np.eye(3)[:, :1], 0.5).shape == (3, 0)
    assert locality.gap_operator(nothing, nothing).shape == (0, 0)
    assert (locality.unweighted_gap(nothing, nothing), locality.property_b(nothing, nothing)) == (0.0, 0.0)
    assert locality.weighted_gap(np.eye(3), nothing, nothing) == 0.0


@st.composite
def completions(draw):
    """A kernel, its local basis, and how many directions to add."""
    K, labels = draw(partitioned_kernels((2, 7)))
    B = locality.local_basis(K, labels, draw(epsilons)).basis
    return K, B, draw(st.integers(0, len(K) - B.shape[1]))


@given(completions(), generators())
def test_the_optimal_completion_holds_most_trace(case, rng):
    K, B, q = case
    W = locality.optimal_completion(K, B, q)
    np.testing.assert_allclose(np.hstack([B, W]).T @ np.hstack([B, W]), np.eye(B.shape[1] + q), **CLOSE)
    most = locality.completion_energy(K, W)
    outside = np.eye(len(K)) - B @ B.T
    assert most == pytest.approx(np.linalg.eigvalsh(outside @ K @ outside)[::-1][:q].sum(), abs=slack(K))
    rival = np.linalg.qr(outside @ rng.standard_normal((len(K), q)))[0] if q else W
    assert locality.completion_energy(K, rival) <= most + slack(K)


@given(completions(), generators())
def test_the_restricted_completion_reproduces_most_trace(case, rng):
    K, B, q = case
    W = locality.restricted_completion(K, B, q)
    np.testing.assert_allclose(np.hstack([B, W]).T @ np.hstack([B, W]), np.eye(B.shape[1] + q), **CLOSE)
    most = locality.restricted_energy(K, np.hstack([B, W]))
    room = TOL["squared_kernel"] * np.trace(K)
    outside = np.eye(len(K)) - B @ B.T
    rivals = [locality.optimal_completion(K, B, q)]
    rivals += [np.linalg.qr(outside @ rng.standard_normal((len(K), q)))[0]] if q else []
    for rival in rivals:
        assert locality.restricted_energy(K, np.hstack([B, rival])) <= most + room
    assert most <= redundancy.spectrum(K)[: B.shape[1] + q].sum() + room


@given(generators())
def test_a_basis_reproduces_no_more_than_the_trace(rng):
    K, B = cases.kernel_with_spectrum(np.exp(-5.0 * np.arange(6)), rng=rng), np.eye(6)[:, :5]
    assert np.trace(K) - locality.restricted_energy(K, B) == pytest.approx(
        1 / np.linalg.inv(K)[5, 5], rel=TOL["float32"], abs=TOL["hand"]
    )


def test_the_two_metrics_disagree_on_the_best_completion():
    case = COUNTEREXAMPLES["completion"]
    K, labels, numbers = case["kernel"], case["labels"], case.numbers
    keywords = {name: numbers[name] for name in ("epsilon_local", "epsilon_global")}
    found = locality.locality(K, labels, **keywords, coverage_threshold=numbers["threshold"])
    np.testing.assert_array_equal(np.abs(found.local_basis), np.eye(4)[:, [0, 2]])
    assert (found.global_rank, found.gap.tolist()) == (3, [2])
    gap = locality.global_basis(K, numbers["epsilon_global"])[:, found.gap]
    np.testing.assert_allclose(np.abs(gap[:, 0]), np.eye(4)[3], **HAND)

    def energy(completion):
        return locality.restricted_energy(K, np.hstack([found.local_basis, completion]))

    by_trace = locality.optimal_completion(K, found.local_basis, 1)
    by_restriction = locality.restricted_completion(K, found.local_basis, 1)
    assert energy(by_trace) == pytest.approx(numbers["trace_metric"], rel=TOL["float64"])
    assert energy(gap) == pytest.approx(numbers["gap_vector"], rel=TOL["float64"])
    assert energy(by_restriction) == pytest.approx(numbers["gap_vector"], rel=TOL["float64"])
    assert locality.completion_energy(K, by_trace) == pytest.approx(0.24, rel=TOL["float64"])
    assert locality.completion_energy(K, by_restriction) == pytest.approx(0.2, rel=TOL["float64"])


# All of it, and the edges


@given(partitioned_kernels(), epsilons, epsilons, st.sampled_from([0.0, 0.5, 1.0]))
def test_the_summary_is_made_of_its_parts(case, epsilon_local, epsilon_global, threshold):
    K, labels = case
    keywords = {"epsilon_local": epsilon_local, "epsilon_global": epsilon_global}
    found = locality.locality(K, labels, **keywords, coverage_threshold=threshold)
    U_g, local = locality.global_basis(K, epsilon_global), locality.local_basis(K, labels, epsilon_local)
    assert found.global_rank == U_g.shape[1]
    np.testing.assert_array_equal(found.local_ranks, local.ranks)
    np.testing.assert_array_equal(found.local_basis, local.basis)
    np.testing.assert_array_equal(found.coverage, locality.cluster_coverage(U_g, local.basis, labels).best)
    np.testing.assert_array_equal(found.true_coverage, locality.true_coverage(U_g, local.basis))
    np.testing.assert_array_equal(found.gap, locality.gap_set(found.coverage, threshold))
    assert found.weighted_gap == locality.weighted_gap(K, U_g, local.basis)
    assert found.unweighted_gap == locality.unweighted_gap(U_g, local.basis)
    np.testing.assert_array_equal(found.property_a, locality.property_a_r1(K, labels, **keywords))
    np.testing.assert_array_equal(found.property_a_null, locality.property_a_null(labels, found.global_rank))


@given(partitioned_kernels(), epsilons, generators())
def test_the_order_of_the_rows_does_not_matter(case, epsilon, rng):
    K, labels = case
    order = rng.permutation(len(K))
    before = locality.theorem_lg2(K, labels, epsilon_local=epsilon)
    after = locality.theorem_lg2(K[np.ix_(order, order)], labels[order], epsilon_local=epsilon)
    assert after.uncovered == pytest.approx(before.uncovered, abs=slack(K))
    ranks = locality.local_basis(K[np.ix_(order, order)], labels[order], epsilon).ranks
    np.testing.assert_array_equal(ranks, locality.local_basis(K, labels, epsilon).ranks)


def test_a_zero_cluster_drops_out():
    K = np.diag([4.0, 1.0, 0.0, 0.0])
    keywords = {"epsilon_local": 0.05, "epsilon_global": 0.05}
    found = locality.locality(K, [0, 1, 2, 2], **keywords, coverage_threshold=0.5)
    assert found.local_ranks.tolist() == [1, 1, 0]
    assert found.local_basis.shape == (4, 2)
    np.testing.assert_array_equal(found.property_a, [1.0, 1.0, np.nan])
    np.testing.assert_array_equal(locality.property_a_r2(K, [0, 1, 2, 2], **keywords), [1.0, 1.0, np.nan])
    assert locality.theorem_lg1(K, [0, 1, 2, 2], **keywords).mean_ratio == 1.0


def test_a_zero_kernel_has_no_directions():
    K, keywords = np.zeros((2, 2)), {"epsilon_local": 0.05, "epsilon_global": 0.05}
    found = locality.locality(K, [0, 1], **keywords, coverage_threshold=0.5)
    assert (found.global_rank, found.local_basis.shape, found.gap.size) == (0, (2, 0), 0)
    assert (found.weighted_gap, found.unweighted_gap) == (0.0, 0.0)
    assert np.isnan(found.property_a).all()
    assert np.isnan(locality.theorem_lg1(K, [0, 1], **keywords).mean_ratio)
    assert locality.corollary_lg3(K, [0, 1], **keywords, coverage_threshold=0.5).largest == 0.0
    np.testing.assert_array_equal(
        np.abs(locality.optimal_completion(np.diag([1.0, 2.0]), np.zeros((2, 0)), 1)), [[0], [1]]
    )


def test_epsilons_of_one_ask_for_nothing():
    found = locality.locality(np.eye(2), [0, 1], epsilon_local=1.0, epsilon_global=1.0, coverage_threshold=0.5)
    assert (found.global_rank, found.local_ranks.tolist()) == (0, [0, 0])
    assert differs(found.property_a, 0.0)
    assert np.isnan(found.property_a).all()


BOTH = {"epsilon_local": 0.1, "epsilon_global": 0.1}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: locality.clusters([[0]]), "labels: expected 1 axes"),
        (lambda: locality.global_basis(np.eye(2), 2.0), r"epsilon: expected a number in \[0, 1\]"),
        (lambda: locality.global_basis(np.diag([1.0, -1.0]), 0.1), "kernel: expected no negative eigenvalue"),
        (lambda: locality.local_basis(np.eye(2), [0], 0.1), r"labels: expected shape \(2,\), got shape \(1,\)"),
        (
            lambda: locality.local_basis([[0.0, 1.0], [1.0, 0.0]], [0, 1], 0.1),
            "kernel: expected no negative eigenvalue",
        ),
        (lambda: locality.property_a_null([0, 0], 3), r"global_rank: expected an integer in \[0, 2\], got 3"),
        (lambda: locality.true_coverage([[2.0]], [[1.0]]), "global_basis: expected orthonormal columns"),
        (lambda: locality.true_coverage([[1.0]], [[2.0]]), "local_basis: expected orthonormal columns"),
        (lambda: locality.true_coverage([[1.0]], np.eye(2)), "local_basis: expected 1 rows"),
        (lambda: locality.cluster_coverage([[1.0]], [[1.0]], [0, 1]), r"labels: expected shape \(1,\)"),
        (lambda: locality.gap_set([0.5], 1.5), r"threshold: expected a number in \[0, 1\]"),
        (lambda: locality.gap_set([np.nan], 0.5), "coverage: expected finite entries"),
        (lambda: locality.weighted_gap(np.eye(2), [[1.0]], [[1.0]]), "kernel: expected 1 rows"),
        (lambda: locality.gap_directions([[1.0]], [[1.0]], -0.5), r"threshold: expected a number in \[0, 1\]"),
        (
            lambda: locality.optimal_completion(np.eye(2), np.eye(2)[:, :1], 2),
            r"q: expected an integer in \[0, 1\], got 2",
        ),
        (lambda: locality.restricted_completion(np.eye(2), np.eye(3), 1), "local_basis: expected 2 rows"),
        (lambda: locality.completion_energy(np.eye(2), 2 * np.eye(2)), "basis: expected orthonormal columns"),
        (lambda: locality.restricted_energy(np.eye(2), 2 * np.eye(2)), "basis: expected orthonormal columns"),
        (
            lambda: locality.theorem_lg1(np.eye(2), [0, 1], epsilon_local=1.0, epsilon_global=0.1),
            r"epsilon_local: expected a number in \[0, 1\), got 1.0",
        ),
        (
            lambda: locality.corollary_lg3(np.eye(2), [0, 1], **BOTH, coverage_threshold=1.0),
            r"coverage_threshold: expected a number in \[0, 1\), got 1.0",
        ),
        (
            lambda: locality.corollary_lg3(
                np.eye(2), [0, 1], epsilon_local=0.1, epsilon_global=1.0, coverage_threshold=0.5
            ),
            r"epsilon_global: expected a number in \[0, 1\), got 1.0",
        ),
        (
            lambda: locality.locality(np.eye(2), [0, 1], **BOTH, coverage_threshold=2.0),
            r"coverage_threshold: expected a number in",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_labels_are_integers():
    with pytest.raises(TypeError, match="labels: expected integer labels, got dtype float64"):
        locality.clusters([0.0, 1.0])


@given(partitioned_kernels(), st.integers(1, 3))
def test_a_completion_of_several_directions_adds_the_largest_eigenvalues_off_the_local_ones(case, q):
    K, labels = case
    B = locality.local_basis(K, labels, 0.5).basis
    q = min(q, len(K) - B.shape[1])
    off = np.eye(len(K)) - B @ B.T
    most = np.linalg.eigvalsh(off @ K @ off)[::-1][:q].sum()
    W = locality.optimal_completion(K, B, q)
    np.testing.assert_allclose(np.trace(W.T @ K @ W), most, rtol=TOL["float64"], atol=TOL["float64"] * np.trace(K))
    np.testing.assert_allclose(B.T @ W, 0, atol=TOL["float64"])
