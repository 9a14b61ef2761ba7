"""Algorithm 1 stage by stage, its solves and repairs (CEX-13 to 15), its rivals, and what none of them can beat."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.vq import kmeans2

from dntk_ref import gradient_distillation as gd
from dntk_ref import ridge
from dntk_ref.cases import kernel_with_spectrum
from tests.ref.sides import CLOSE, HAND, differs
from tests.tolerances import TOL

SEEDS = st.integers(0, 2**32 - 1)


def instance(seed, n=6, k=4, C=2):
    """Features (C, n, k), targets (C, n) and labels of at most three clusters, none of them numbered in order."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([7, -2, 4], n)
    return rng.standard_normal((C, n, k)), rng.standard_normal((C, n)), labels


def orthonormal(columns):
    """An orthonormal basis of the span of the columns by singular values: the second route to Gram-Schmidt."""
    left, sigma, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, sigma > TOL["float64"] * max(sigma[0], 1e-300)] if sigma.size else columns


# Stage 1


@given(SEEDS)
def test_mean_kernel_is_the_kernel_of_the_joined_features(seed):
    Phi, _, _ = instance(seed)
    joined = np.hstack(list(Phi)) / np.sqrt(len(Phi))
    np.testing.assert_allclose(gd.mean_kernel(Phi), joined @ joined.T, **CLOSE)
    assert differs(gd.mean_kernel(Phi), gd.mean_kernel(Phi[:1]))


def test_affinities_by_hand():
    K = [[4.0, -2.0, 0.0], [-2.0, 4.0, 0.0], [0.0, 0.0, 0.0]]
    np.testing.assert_allclose(gd.affinity_matrix(K), [[4, 0, 0], [0, 4, 0], [0, 0, 0]], **HAND)
    np.testing.assert_allclose(gd.affinity_matrix(K, "absolute"), [[4, 2, 0], [2, 4, 0], [0, 0, 0]], **HAND)
    half = [[1, 0.25, 0.5], [0.25, 1, 0.5], [0.5, 0.5, 0.5]]
    np.testing.assert_allclose(gd.affinity_matrix(K, "cosine"), half, **HAND)
    # A cosine knows no scale, above one or below.
    np.testing.assert_allclose(gd.affinity_matrix(np.array(K) / 100, "cosine"), half, **HAND)


@given(SEEDS, st.sampled_from(["positive", "absolute"]), st.integers(1, 3))
def test_spectral_clusters_find_disconnected_blocks(seed, affinity, blocks):
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(blocks), rng.integers(0, blocks, 6)])
    truth = truth[rng.permutation(truth.size)]
    K = np.where(truth[:, None] == truth[None, :], rng.uniform(0.5, 1.5, truth.size), 0.0)
    labels = gd.spectral_clusters((K + K.T) / 2, blocks, rng=rng, affinity=affinity)
    assert (labels[:, None] == labels[None, :]).tolist() == (truth[:, None] == truth[None, :]).tolist()
    first = [int(np.flatnonzero(labels == h)[0]) for h in range(blocks)]
    assert first == sorted(first)


@given(SEEDS)
def test_spectral_clusters_agree_with_scipy_k_means_on_the_embedding(seed):
    rng = np.random.default_rng(seed)
    truth = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    noise = rng.uniform(0, 0.02, (9, 9))
    K = np.where(truth[:, None] == truth[None, :], 1.0, 0.0) + noise + noise.T
    root = np.diag(K.sum(axis=1) ** -0.5)
    embedded = np.linalg.eigh(root @ K @ root)[1][:, -3:]
    embedded = embedded / np.linalg.norm(embedded, axis=1, keepdims=True)
    other = kmeans2(embedded, embedded[[0, 3, 6]], minit="matrix")[1]
    labels = gd.spectral_clusters(K, 3, rng=rng)
    np.testing.assert_array_equal(labels[:, None] == labels, other[:, None] == other)
    np.testing.assert_array_equal(labels, truth)


def test_normalisation_and_sign_matter_to_the_clusters():
    # Rows 0, 1 and rows 2, 3 point opposite ways: |K| cannot tell them apart, the cosine and max(0, K) can.
    v = np.array([1.0, 1.2, -1.0, -0.9])
    K = np.outer(v, v) + np.diag([0.01] * 4)
    rng = np.random.default_rng(0)
    assert gd.spectral_clusters(K, 2, rng=rng).tolist() == [0, 0, 1, 1]
    assert gd.spectral_clusters(K, 2, rng=rng, affinity="cosine").tolist() == [0, 0, 1, 1]
    assert gd.spectral_clusters(K, 2, rng=rng, affinity="absolute").tolist() != [0, 0, 1, 1]


def test_one_cluster_zero_rows_and_equal_rows():
    rng = np.random.default_rng(0)
    assert gd.spectral_clusters(np.ones((3, 3)), 1, rng=rng).tolist() == [0, 0, 0]
    zero = gd.spectral_clusters(np.diag([1.0, 0.0]), 2, rng=rng)
    assert sorted(zero.tolist()) == [0, 1]
    assert gd.spectral_clusters(np.zeros((3, 3)), 1, rng=rng).tolist() == [0, 0, 0]
    assert gd.spectral_clusters(np.ones((4, 4)), 3, rng=rng).tolist() == [0, 0, 0, 0]


@given(SEEDS, st.sampled_from(["positive", "absolute", "cosine"]), st.integers(1, 8))
def test_equal_rows_share_a_cluster(seed, affinity, clusters):
    rng = np.random.default_rng(seed)
    place = rng.integers(0, rng.integers(1, 5), 8)
    X = rng.standard_normal((5, 3)) * rng.integers(0, 2, (5, 1))
    labels = gd.spectral_clusters(X[place] @ X[place].T, clusters, rng=rng, affinity=affinity)
    for p in range(5):
        assert np.unique(labels[place == p]).size <= 1


# Stages 2 to 6


@given(SEEDS, st.integers(1, 6), st.integers(1, 7))
def test_gram_schmidt_is_an_orthonormal_basis_of_the_same_span(seed, n, q):
    rng = np.random.default_rng(seed)
    V = rng.standard_normal((n, q)) @ np.diag(rng.integers(0, 2, q)) @ rng.integers(-1, 2, (q, q))
    if not V.any():
        return
    Q, other = gd.gram_schmidt(V), orthonormal(V)
    np.testing.assert_allclose(Q.T @ Q, np.eye(Q.shape[1]), **CLOSE)
    np.testing.assert_allclose(Q @ Q.T, other @ other.T, **CLOSE)
    lead = V[:, np.flatnonzero(np.linalg.norm(V, axis=0))[0]]
    np.testing.assert_allclose(Q[:, 0], lead / np.linalg.norm(lead), **CLOSE)


@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1e160])
def test_bases_and_errors_know_no_scale(scale):
    Q = gd.gram_schmidt(scale * np.array([[1.0, 2.0, 0.6], [0.0, 0.0, 0.8]]))
    np.testing.assert_allclose(Q, np.eye(2), **HAND)
    assert gd.kernel_error(scale * np.diag([4.0, 3.0]), [[1], [0]]) == pytest.approx(0.6, rel=TOL["hand"])
    assert gd.best_kernel_error(scale * np.diag([4.0, 3.0]), 1) == pytest.approx(0.6, rel=TOL["hand"])
    assert gd.captured_energy(scale * np.diag([4.0, 1.0]), [[1], [0]]) == pytest.approx(0.8, rel=TOL["hand"])


def test_gram_schmidt_drops_zero_and_dependent_columns():
    Q = gd.gram_schmidt([[0.0, 3e-5, 1.0, 0.0], [0.0, 4e-5, 0.0, 1.0]])
    np.testing.assert_allclose(Q, [[0.6, 0.8], [0.8, -0.6]], **HAND)


@given(SEEDS, st.sampled_from([0.5, 0.7, 0.9]), st.sampled_from([0.3, 0.7, 1.0]))
def test_algorithm_1_against_a_second_reading_by_singular_values(seed, tau_v, tau_g):
    Phi, Y, labels = instance(seed)
    for made, F, y in zip(
        gd.local_global_synthesis(Phi, Y, labels=labels, tau_v=tau_v, tau_g=tau_g), Phi, Y, strict=True
    ):
        left, sigma, _ = np.linalg.svd(F, full_matrices=False)
        r_g = int(np.argmax(np.cumsum(sigma**2) >= tau_v * np.sum(sigma**2))) + 1
        local, projectors = [], []
        for h in set(labels.tolist()):
            rows = np.flatnonzero(labels == h)
            U_h, s_h, _ = np.linalg.svd(F[rows], full_matrices=False)
            U_h = U_h[:, : int(np.argmax(np.cumsum(s_h**2) >= tau_v * np.sum(s_h**2))) + 1]
            projectors.append((rows, U_h @ U_h.T))
            local.append(np.eye(len(F))[:, rows] @ U_h)
        coverage = [
            max(np.sum((P @ u[rows]) ** 2) / np.sum(u[rows] ** 2) for rows, P in projectors) for u in left[:, :r_g].T
        ]
        gap = [j for j in range(r_g) if coverage[j] < tau_g - TOL["apart"]]
        basis = orthonormal(np.hstack([*local, left[:, gap]]))
        assert made.gap.tolist() == gap
        np.testing.assert_allclose(made.synthesis @ made.synthesis.T, basis @ basis.T, **CLOSE)
        np.testing.assert_allclose(made.features, made.synthesis.T @ F, **CLOSE)
        np.testing.assert_allclose(made.targets, made.synthesis.T @ y, **CLOSE)
        assert made.labels.tolist() == labels.tolist()


@given(SEEDS, st.sampled_from([0.5, 0.7, 0.9]))
def test_the_other_reading_of_stage_six_keeps_the_vectors_and_is_biased_until_repaired(seed, tau_v):
    Phi, Y, labels = instance(seed)
    settings = {"labels": labels, "tau_v": tau_v, "tau_g": 0.9}
    kept = gd.local_global_synthesis(Phi, Y, stage_six="original", **settings)
    turned = gd.local_global_synthesis(Phi, Y, **settings)
    for one, other, F, y in zip(kept, turned, Phi, Y, strict=True):
        U = one.synthesis
        assert U.shape == other.synthesis.shape
        np.testing.assert_allclose(np.linalg.norm(U, axis=0), 1, **CLOSE)
        np.testing.assert_allclose(one.features, U.T @ F, **CLOSE)
        repaired = gd.sketched_weights(F, y, U, 0.1)
        tolerance = {"rtol": TOL["squared_kernel"], "atol": TOL["squared_kernel"]}
        np.testing.assert_allclose(repaired, gd.synthetic_weights(other, 0.1), **tolerance)
        if not np.allclose(U.T @ U, np.eye(U.shape[1])):
            assert differs(gd.synthetic_weights(one, 0.1), repaired)


@given(SEEDS, st.integers(1, 5), st.integers(1, 6))
def test_independent_columns_are_the_first_basis(seed, n, q):
    V = np.random.default_rng(seed).integers(-1, 2, (n, q)).astype(float)
    ranks = [np.linalg.matrix_rank(V[:, :j]) for j in range(q + 1)]
    assert gd.independent_columns(V).tolist() == [j for j in range(q) if ranks[j + 1] > ranks[j]]


@given(SEEDS, st.sampled_from([0.3, 0.8, 1.0]), st.sampled_from([0.1, 1.0]))
def test_one_cluster_without_gaps_is_truncated_ridge_regression(seed, tau_v, lam):
    Phi, Y, _ = instance(seed, n=5, k=4)
    labels = np.zeros(5, dtype=int)
    for made, F, y in zip(
        gd.local_global_synthesis(Phi, Y, labels=labels, tau_v=tau_v, tau_g=0.0), Phi, Y, strict=True
    ):
        r = made.features.shape[0]
        assert made.gap.size == 0
        np.testing.assert_allclose(gd.synthetic_weights(made, lam), ridge.rank_r_weights(F, y, lam, r), **CLOSE)
        assert r == 4 or tau_v < 1
        if r < 4:
            assert differs(gd.synthetic_weights(made, lam), ridge.ridge_weights(F, y, lam))


@given(SEEDS, st.sampled_from([0.1, 1.0]))
def test_a_synthesis_that_spans_everything_is_full_ridge_regression(seed, lam):
    # k >= n, so that every block has full rank and tau_v = 1 keeps all n directions.
    Phi, Y, labels = instance(seed, n=5, k=7)
    for made, F, y in zip(gd.local_global_synthesis(Phi, Y, labels=labels, tau_v=1.0, tau_g=1.0), Phi, Y, strict=True):
        assert made.synthesis.shape == (5, 5)
        np.testing.assert_allclose(gd.synthetic_weights(made, lam), ridge.ridge_weights(F, y, lam), **CLOSE)


def test_all_six_stages_are_stage_one_and_the_rest():
    Phi, Y, _ = instance(5)
    settings = {"tau_v": 0.8, "tau_g": 0.9}
    rng, again = np.random.default_rng(1), np.random.default_rng(1)
    joined = gd.local_global_distillation(Phi, Y, clusters=2, rng=rng, affinity="cosine", **settings)
    labels = gd.spectral_clusters(gd.mean_kernel(Phi), 2, rng=again, affinity="cosine")
    apart = gd.local_global_synthesis(Phi, Y, labels=labels, **settings)
    for one, other in zip(joined, apart, strict=True):
        np.testing.assert_array_equal(one.synthesis, other.synthesis)
        np.testing.assert_array_equal(one.labels, labels)


# Remark 4.2 in both conventions (oracle 7)


@given(SEEDS)
def test_remark_4_2_in_both_conventions(seed):
    Phi = instance(seed)[0][0]
    k = Phi.shape[1]
    u = gd.top_eigenvectors(Phi @ Phi.T, 1)
    phi = u.T @ Phi
    for scale in (1, k):  # K = Phi Phi^T / scale
        eigenvalue = np.linalg.norm(Phi @ Phi.T / scale @ u)
        np.testing.assert_allclose(phi @ phi.T, scale * eigenvalue, **CLOSE)
        np.testing.assert_allclose(Phi @ phi.T, scale * eigenvalue * u, **CLOSE)
        assert differs(phi @ phi.T, (k + 1 - scale) * eigenvalue)


# The rivals


@given(SEEDS, st.integers(1, 6))
def test_every_rival_picks_m_distinct_rows(seed, m):
    Phi = instance(seed)[0][0]
    K, rng = Phi @ Phi.T, np.random.default_rng(seed)
    picks = (
        gd.random_rows(6, m, rng=rng),
        gd.leverage_rows(K, m, lam=0.1, rng=rng),
        gd.kmeans_rows(K, m, rng=rng),
        gd.farthest_point_rows(K, m),
        gd.farthest_point_rows(K, m, start=2),
    )
    for rows in picks:
        assert len(set(rows.tolist())) == m == rows.size
        np.testing.assert_array_equal(gd.selection(6, rows).T @ Phi, Phi[rows])
    for rows in picks[:3]:
        assert (np.diff(rows) > 0).all()
    assert picks[4][0] == 2


def test_draws_follow_their_probabilities():
    rng = np.random.default_rng(0)
    draws, K = 3000, np.diag([1.0, 3.0])
    uniform = np.mean([gd.random_rows(2, 1, rng=rng)[0] for _ in range(draws)])
    # Leverages 1/2 and 3/4 at lam = 1: the second row with probability 3/5.
    weighted = np.mean([gd.leverage_rows(K, 1, lam=1.0, rng=rng)[0] for _ in range(draws)])
    five = 5 * np.sqrt(1 / 4 / draws)  # five standard deviations: one false alarm in a million
    assert abs(uniform - 1 / 2) < five
    assert abs(weighted - 3 / 5) < five
    assert abs(weighted - 1 / 2) > five


@given(SEEDS)
def test_farthest_points_are_greedy(seed):
    Phi = np.round(instance(seed)[0][0])
    rows = gd.farthest_point_rows(Phi @ Phi.T, 4).tolist()
    assert rows[0] == np.argmax(np.sum(Phi**2, axis=1))
    for t in range(1, 4):
        distance = np.min([np.sum((Phi - Phi[s]) ** 2, axis=1) for s in rows[:t]], axis=0)
        distance[rows[:t]] = -1
        assert distance[rows[t]] == distance.max()


def test_farthest_points_of_equal_rows_still_differ():
    assert gd.farthest_point_rows(np.ones((3, 3)), 3).tolist() == [0, 1, 2]


def test_kmeans_rows_are_medoids():
    # Clusters {0, 1, 5} and {40, 41, 45} on a line: means 2 and 42, nearest rows 1 and 41.
    x = np.array([[0.0], [40.0], [1.0], [41.0], [5.0], [45.0]])
    assert gd.kmeans_rows(x @ x.T, 2, rng=np.random.default_rng(0)).tolist() == [2, 3]
    assert gd.kmeans_rows(np.ones((3, 3)), 2, rng=np.random.default_rng(0)).size == 1


# The solves


@given(SEEDS, st.floats(0.1, 10), st.sampled_from([0.1, 1.0]))
def test_one_gradient_is_exact(seed, scale, lam):
    Phi, Y, _ = instance(seed)
    F, y = Phi[0], Y[0]
    made = gd.exact_gradient(F, y, lam, scale=scale)
    full = ridge.ridge_weights(F, y, lam)
    np.testing.assert_allclose(gd.synthetic_weights(made, lam), full, **CLOSE)
    np.testing.assert_allclose(made.features, made.synthesis.T @ F, **CLOSE)
    np.testing.assert_allclose(made.features[0], scale * full, **CLOSE)
    assert made.features.shape == (1, 4)
    assert (made.labels.size, made.gap.size) == (6, 0)
    assert made.gap.dtype == made.labels.dtype == np.int64  # row numbers, also where there are none
    assert differs(gd.synthetic_weights(made, 2 * lam), full)
    assert differs(gd.sketched_weights_printed(F, y, made.synthesis, lam), full)


def test_the_exact_gradient_of_zero_targets_is_zero():
    assert not gd.synthetic_weights(gd.exact_gradient([[2.0]], [0.0], 1.0), 1.0).any()


@given(SEEDS, st.integers(1, 6), st.sampled_from([0.1, 1.0]))
def test_objectives_are_ordered_full_restricted_sketched(seed, m, lam):
    Phi, Y, _ = instance(seed)
    F, y = Phi[0], Y[0]
    U = np.linalg.qr(np.random.default_rng(seed).standard_normal((6, m)))[0]
    best = ridge.objective(F, y, ridge.ridge_weights(F, y, lam), lam)
    restricted = ridge.objective(F, y, gd.restricted_weights(F, y, U, lam), lam)
    sketched = ridge.objective(F, y, gd.sketched_weights(F, y, U, lam), lam)
    slack = TOL["float64"] * (1 + sketched)
    assert best <= restricted + slack
    assert restricted <= sketched + slack
    eigen = gd.top_eigenvectors(F @ F.T, m)
    np.testing.assert_allclose(gd.restricted_weights(F, y, eigen, lam), gd.sketched_weights(F, y, eigen, lam), **CLOSE)
    if m < 4:
        assert sketched - restricted > TOL["apart"] * sketched
        assert restricted - best > TOL["apart"] * best


@given(SEEDS, st.integers(1, 3), st.sampled_from([0.1, 1.0]))  # the kernel has rank 4
def test_target_aware_gradients_keep_the_exact_predictor_and_all_but_one_dimension_of_the_best_kernel(seed, m, lam):
    Phi, Y, _ = instance(seed)
    F, y = Phi[0], Y[0]
    K = F @ F.T
    U = gd.target_aware_synthesis(K, y, m, lam)
    assert U.shape == (6, m)
    w = ridge.ridge_weights(F, y, lam)
    for solve in (gd.sketched_weights, gd.restricted_weights):
        np.testing.assert_allclose(solve(F, y, U, lam), w, rtol=TOL["squared_kernel"], atol=TOL["squared_kernel"])
        assert differs(solve(F, y, gd.top_eigenvectors(K, m), lam), w)
    if m > 1:
        assert gd.best_captured_energy(K, m - 1) <= gd.captured_energy(K, U) + TOL["float64"]
    assert gd.captured_energy(K, U) <= gd.best_captured_energy(K, m) + TOL["float64"]


@given(SEEDS, st.integers(1, 6), st.sampled_from([0.1, 1.0]))
def test_restricted_weights_by_three_routes(seed, m, lam):
    Phi, Y, _ = instance(seed)
    F, y = Phi[0], Y[0]
    K, U = F @ F.T, np.random.default_rng(seed).standard_normal((6, m))
    w = gd.restricted_weights(F, y, U, lam)
    b = gd.restricted_coefficients(K, y, U, lam)
    np.testing.assert_allclose(F.T @ U @ b, w, rtol=TOL["squared_kernel"], atol=TOL["squared_kernel"])
    # KRR with the Nystroem kernel K_U predicts the same on the training rows (9.4).
    K_U = gd.synthesised_kernel(K, U)
    fitted = K_U @ ridge.dual_coefficients((K_U + K_U.T) / 2, y, lam)
    np.testing.assert_allclose(F @ w, fitted, rtol=TOL["squared_kernel"], atol=TOL["squared_kernel"])
    # The gradient of J at w_R is orthogonal to the span.
    gradient = F.T @ (F @ w - y) + lam * w
    np.testing.assert_allclose(U.T @ F @ gradient, 0, atol=TOL["float64"] * (1 + np.abs(K @ K).max()))


def test_cex_14_the_sketched_solve_is_a_hundred_times_too_large():
    Phi, y, U, lam = [[1.0], [10.0]], [1.0, 0.0], [[1.0], [0.0]], 0.01
    np.testing.assert_allclose(gd.restricted_weights(Phi, y, U, lam), 100 / 10101, **HAND)
    np.testing.assert_allclose(ridge.ridge_weights(Phi, y, lam), 100 / 10101, **HAND)
    np.testing.assert_allclose(gd.sketched_weights(Phi, y, U, lam), 100 / 101, **HAND)
    np.testing.assert_allclose(gd.sketched_weights_printed(Phi, y, U, lam), 100 / 101, **HAND)


def test_a_synthesis_that_cancels_leaves_no_weights():
    assert gd.restricted_weights([[1.0], [-1.0]], [3.0, 2.0], [[1.0], [1.0]], 1.0).tolist() == [0.0]
    assert gd.restricted_coefficients([[1.0, -1.0], [-1.0, 1.0]], [3.0, 2.0], [[1.0], [1.0]], 1.0).tolist() == [0.0]
    assert gd.restricted_coefficients(np.eye(2), [3.0, 2.0], np.zeros((2, 1)), 1.0).tolist() == [0.0]


@pytest.mark.parametrize("small", [1e-3, 1e-5, 1e-6, 1e-7])
def test_the_solves_are_those_of_any_basis_of_the_span(small):
    # The Gram matrix of this basis has the condition number 1 / small^2.
    rng = np.random.default_rng(0)
    Phi, y, Q = rng.standard_normal((3, 4)), rng.standard_normal(3), np.eye(3)[:, :2]
    U = Q @ [[1.0, 1.0], [0.0, small]]
    for solve in (gd.sketched_weights, gd.restricted_weights):
        np.testing.assert_allclose(solve(Phi, y, U, 0.1), solve(Phi, y, Q, 0.1), **CLOSE)
    b = gd.restricted_coefficients(Phi @ Phi.T, y, U, 0.1)
    np.testing.assert_allclose(Phi.T @ U @ b, gd.restricted_weights(Phi, y, Q, 0.1), rtol=TOL["squared_kernel"])
    assert gd.sketched_weights(Phi, y, 0 * U, 0.1).tolist() == [0.0] * 4
    assert gd.restricted_weights(Phi, y, 0 * U, 0.1).tolist() == [0.0] * 4


def test_a_small_ridge_is_not_cut_off():
    Phi, lam = np.diag([1.0, 1e-7]), 1e-16
    expected = np.diag(Phi) / (np.diag(Phi) ** 2 + lam)
    np.testing.assert_allclose(gd.sketched_weights(Phi, [1.0, 1.0], np.eye(2), lam), expected, **CLOSE)


@pytest.mark.parametrize("small", [3e-4, 3e-5, 3e-6])
def test_a_small_eigenvalue_of_the_kernel_keeps_its_coefficient(small):
    # Its square, below 1e-12 of the largest, is what the printed pseudo-inverse would cut off.
    Phi, y = np.diag([1.0, small]), np.ones(2)
    lam = 1e-6 * np.mean(Phi**2)
    w = Phi.T @ gd.restricted_coefficients(Phi @ Phi.T, y, np.eye(2), lam)
    np.testing.assert_allclose(w, np.diag(Phi) / (np.diag(Phi) ** 2 + lam), **CLOSE)
    np.testing.assert_allclose(w, gd.restricted_weights(Phi, y, np.eye(2), lam), **CLOSE)


def test_cex_15_overlapping_vectors_bias_the_printed_solve():
    U = [[1, 1], [0, 1]]
    np.testing.assert_allclose(ridge.ridge_weights(np.eye(2), [1, 0], 1.0), [1 / 2, 0], **HAND)
    np.testing.assert_allclose(gd.sketched_weights_printed(np.eye(2), [1, 0], U, 1.0), [3 / 5, 1 / 5], **HAND)
    np.testing.assert_allclose(gd.sketched_weights(np.eye(2), [1, 0], U, 1.0), [1 / 2, 0], **HAND)


@given(SEEDS, st.integers(1, 6), st.sampled_from([0.1, 1.0]), st.booleans())
def test_the_repair_by_the_gram_is_the_solve_of_an_orthonormal_basis(seed, m, lam, repeat):
    Phi, Y, _ = instance(seed)
    F, y = Phi[0], Y[0]
    U = np.random.default_rng(seed).uniform(-1, 1, (6, m))
    if repeat:  # a dependent column, where the Gram is singular
        U = np.hstack([U, U[:, :1]])
    Q = orthonormal(U)
    whole = ridge.ridge_weights(Q.T @ F, Q.T @ y, lam)
    np.testing.assert_allclose(
        gd.sketched_weights(F, y, U, lam), whole, rtol=TOL["squared_kernel"], atol=TOL["squared_kernel"]
    )
    np.testing.assert_allclose(gd.sketched_weights(F, y, Q, lam), gd.sketched_weights_printed(F, y, Q, lam), **CLOSE)
    w = gd.sketched_weights(F, y, U, lam)
    np.testing.assert_allclose(
        gd.sketch_residual(F, y, U, lam),
        F.T @ (F @ w - y) + lam * w,
        rtol=TOL["squared_kernel"],
        atol=TOL["squared_kernel"],
    )


def test_cex_13_normalising_changes_the_weights_and_is_repaired():
    args = (np.diag([2.0, 1.0]), [1.0, 1.0], [0.5, 1.0], 1.0)
    np.testing.assert_allclose(ridge.ridge_weights(*args[:2], 1.0), [2 / 5, 1 / 2], **HAND)
    np.testing.assert_allclose(gd.normalised_weights(*args), [1 / 4, 1 / 2], **HAND)
    np.testing.assert_allclose(gd.normalised_weights_repaired(*args), [2 / 5, 1 / 2], **HAND)


@given(SEEDS, st.sampled_from([0.1, 1.0]))
def test_flipping_signs_changes_nothing_and_rescaling_is_repaired(seed, lam):
    Phi, Y, _ = instance(seed)
    F, y = Phi[0], Y[0]
    w = ridge.ridge_weights(F, y, lam)
    rng = np.random.default_rng(seed)
    np.testing.assert_allclose(gd.normalised_weights(F, y, rng.choice([-1, 1], 6), lam), w, **CLOSE)
    scales = rng.uniform(0.5, 2, 6)
    np.testing.assert_allclose(gd.normalised_weights_repaired(F, y, scales, lam), w, **CLOSE)
    assert differs(gd.normalised_weights(F, y, scales, lam), w)


# Kernel-level measures and PCA dominance


@given(SEEDS)
def test_an_ill_conditioned_synthesis_breaks_no_inequality(seed):
    # cond(K) = e^25, and five of six rows kept: what is missed is some 1e-10 of the trace, with five correct digits.
    K = kernel_with_spectrum(np.exp(-5.0 * np.arange(6)), rng=np.random.default_rng(seed))
    E, T = np.eye(6)[:, :5], np.triu(np.random.default_rng(seed).uniform(1, 2, (5, 5)))
    missed = 1 / np.linalg.inv(K)[5, 5] / np.trace(K)
    assert gd.captured_energy(K, E) <= 1
    for U in (E, E @ T @ np.diag([1.0, 1e-3, 1e3, 1e-6, 1.0])):
        assert 1 - gd.captured_energy(K, U) == pytest.approx(missed, rel=TOL["float32"], abs=TOL["hand"])
        assert gd.kernel_error(K, U) == pytest.approx(
            missed * np.trace(K) / np.linalg.norm(K), rel=TOL["float32"], abs=TOL["hand"]
        )
        for part in (gd.synthesised_kernel(K, U), K - gd.synthesised_kernel(K, U)):
            assert np.linalg.eigvalsh(part).min() >= -TOL["hand"]


@given(SEEDS, st.integers(1, 6))
def test_synthesised_kernel_is_the_projection_on_the_synthetic_span(seed, m):
    Phi = instance(seed)[0][0]
    K, U = Phi @ Phi.T, np.random.default_rng(seed).uniform(-1, 1, (6, m))
    span = orthonormal(Phi.T @ U)
    expected = Phi @ span @ span.T @ Phi.T
    kernel = gd.synthesised_kernel(K, U)
    tolerance = {"rtol": TOL["squared_kernel"], "atol": TOL["squared_kernel"] * np.trace(K)}
    np.testing.assert_allclose(kernel, expected, **tolerance)
    assert gd.captured_energy(K, U) == pytest.approx(np.trace(expected) / np.trace(K), rel=TOL["squared_kernel"])
    error = np.linalg.norm(K - expected) / np.linalg.norm(K)
    assert gd.kernel_error(K, U) == pytest.approx(error, abs=TOL["squared_kernel"])


@given(SEEDS, st.integers(1, 4))
def test_pca_dominates_every_synthesis(seed, m):
    Phi = instance(seed, k=5)[0][0]
    K, rng = Phi @ Phi.T, np.random.default_rng(seed)
    eigen = gd.top_eigenvectors(K, m)
    best_energy, best_error = gd.best_captured_energy(K, m), gd.best_kernel_error(K, m)
    np.testing.assert_allclose(gd.captured_energy(K, eigen), best_energy, **CLOSE)
    np.testing.assert_allclose(gd.kernel_error(K, eigen), best_error, **CLOSE)
    np.testing.assert_allclose(np.trace(eigen.T @ K @ eigen) / np.trace(K), best_energy, **CLOSE)
    Q = np.linalg.qr(rng.standard_normal((6, m)))[0]
    for U in (rng.standard_normal((6, m)), gd.selection(6, gd.random_rows(6, m, rng=rng)), Q):
        assert gd.captured_energy(K, U) < best_energy
        assert gd.kernel_error(K, U) > best_error
    assert np.trace(Q.T @ K @ Q) / np.trace(K) < best_energy


def test_pca_bounds_at_the_ends():
    K = np.diag([4.0, 3.0])
    assert [gd.best_captured_energy(K, m) for m in range(3)] == pytest.approx([0, 4 / 7, 1], rel=TOL["hand"])
    assert [gd.best_kernel_error(K, m) for m in range(3)] == pytest.approx([1, 0.6, 0], rel=TOL["hand"])
    assert gd.captured_energy(K, [[0], [1]]) == pytest.approx(3 / 7, rel=TOL["hand"])


# Refusals

E = np.eye(2)
RNG = np.random.default_rng(0)
ONE = {"labels": [0, 0], "tau_v": 0.5, "tau_g": 0.5}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gd.mean_kernel(E), "features: expected 3 axes"),
        (lambda: gd.affinity_matrix(E, "signed"), "affinity: expected one of positive, absolute, cosine, got 'signed'"),
        (lambda: gd.affinity_matrix([[1, 2]]), "kernel: expected a square matrix"),
        (lambda: gd.spectral_clusters(E, 3, rng=RNG), r"clusters: expected an integer in \[1, 2\]"),
        (lambda: gd.spectral_clusters(E, 0, rng=RNG), r"clusters: expected an integer in \[1, 2\]"),
        (lambda: gd.top_eigenvectors(E, 3), r"m: expected an integer in \[1, 2\]"),
        (lambda: gd.top_eigenvectors(E, 0), r"m: expected an integer in \[1, 2\]"),
        (lambda: gd.local_global_synthesis([E], [[1, 2]], **ONE | {"tau_v": 0}), "tau_v: expected a number above 0"),
        (
            lambda: gd.local_global_synthesis([E], [[1, 2]], **ONE | {"tau_v": 2}),
            r"tau_v: expected a number in \[0, 1\]",
        ),
        (lambda: gd.gram_schmidt([1.0]), "vectors: expected 2 axes"),
        (lambda: gd.local_global_synthesis(E, E, **ONE), "features: expected 3 axes"),
        (lambda: gd.local_global_synthesis([E], [[1, 2, 3]], **ONE), "targets: expected 2 columns"),
        (lambda: gd.local_global_synthesis([E], [[1, 2], [3, 4]], **ONE), "targets: expected 1 rows"),
        (lambda: gd.local_global_synthesis([E], [[1, 2]], **ONE | {"labels": [0]}), r"labels: expected shape \(2,\)"),
        (
            lambda: gd.local_global_synthesis([E], [[1, 2]], **ONE | {"tau_g": 2}),
            r"tau_g: expected a number in \[0, 1\]",
        ),
        (lambda: gd.independent_columns([1.0]), "vectors: expected 2 axes"),
        (
            lambda: gd.local_global_synthesis([E], [[1, 2]], stage_six="qr", **ONE),
            "stage_six: expected one of orthonormal",
        ),
        (lambda: gd.local_global_synthesis([0 * E], [[1, 2]], **ONE), "features: expected a class with a gradient"),
        (lambda: gd.random_rows(2, 3, rng=RNG), r"m: expected an integer in \[1, 2\]"),
        (lambda: gd.random_rows(2, 0, rng=RNG), r"m: expected an integer in \[1, 2\]"),
        (lambda: gd.random_rows(0, 0, rng=RNG), "n: expected an integer in"),
        (lambda: gd.leverage_rows(np.diag([1, 0]), 2, lam=1.0, rng=RNG), r"m: expected an integer in \[1, 1\]"),
        (lambda: gd.leverage_rows(E, 0, lam=1.0, rng=RNG), r"m: expected an integer in \[1, 2\]"),
        (lambda: gd.leverage_rows(E, 1, lam=0.0, rng=RNG), "lam: expected a number above 0"),
        (lambda: gd.kmeans_rows(E, 3, rng=RNG), r"m: expected an integer in \[1, 2\]"),
        (lambda: gd.farthest_point_rows(E, 3), r"m: expected an integer in \[1, 2\]"),
        (lambda: gd.farthest_point_rows(E, 0), r"m: expected an integer in \[1, 2\]"),
        (lambda: gd.farthest_point_rows(E, 1, start=2), r"start: expected an integer in \[0, 1\]"),
        (lambda: gd.farthest_point_rows(E, 1, start=-1), r"start: expected an integer in \[0, 1\]"),
        (lambda: gd.selection(2, [2]), r"rows: expected distinct integers in \[0, 1\]"),
        (lambda: gd.selection(2, [-1]), "rows: expected distinct integers"),
        (lambda: gd.selection(2, [1, 1]), "rows: expected distinct integers"),
        (lambda: gd.selection(2, np.zeros(0, int)), "rows: expected distinct integers"),
        (lambda: gd.selection(0, [0]), "n: expected an integer in"),
        (lambda: gd.exact_gradient(E, [1, 2], 0.0), "lam: expected a number above 0"),
        (lambda: gd.exact_gradient(E, [1, 2], 1.0, scale=0.0), "scale: expected a number above 0"),
        (lambda: gd.synthetic_weights(gd.exact_gradient(E, [1, 2], 1.0), 0.0), "lam: expected a number above 0"),
        (lambda: gd.sketched_weights_printed(E, [1], E, 1.0), "targets: expected length 2"),
        (lambda: gd.sketched_weights(E, [1, 2], [[1]], 1.0), "synthesis: expected 2 rows"),
        (lambda: gd.sketched_weights(E, [1, 2], E, 0.0), "lam: expected a number above 0"),
        (lambda: gd.restricted_weights([1], [1], E, 1.0), "features: expected 2 axes"),
        (lambda: gd.restricted_weights(E, [1, 2], E, 0.0), "lam: expected a number above 0"),
        (lambda: gd.restricted_coefficients(E, [1, 2], [[1]], 1.0), "synthesis: expected 2 rows"),
        (lambda: gd.restricted_coefficients(E, [1], E, 1.0), "targets: expected length 2"),
        (lambda: gd.restricted_coefficients(E, [1, 2], E, 0.0), "lam: expected a number above 0"),
        (lambda: gd.sketch_residual(E, [1, 2], E, 0.0), "lam: expected a number above 0"),
        (lambda: gd.normalised_weights(E, [1, 2], [1], 1.0), "scales: expected length 2"),
        (lambda: gd.normalised_weights_repaired(E, [1, 2], [1, 0], 1.0), "scales: expected numbers that are not 0"),
        (lambda: gd.normalised_weights_repaired(E, [1, 2], [1], 1.0), "scales: expected length 2"),
        (lambda: gd.normalised_weights_repaired(E, [1], [1, 1], 1.0), "targets: expected length 2"),
        (lambda: gd.normalised_weights_repaired(E, [1, 2], [1, 1], 0.0), "lam: expected a number above 0"),
        (lambda: gd.synthesised_kernel(E, [[1]]), "synthesis: expected 2 rows"),
        (lambda: gd.captured_energy(0 * E, E), "trace of the kernel: expected a number above 0"),
        (lambda: gd.kernel_error(0 * E, E), "norm of the kernel: expected a number above 0"),
        (lambda: gd.best_captured_energy(E, 3), r"m: expected an integer in \[0, 2\]"),
        (lambda: gd.best_captured_energy(0 * E, 1), "trace of the kernel: expected a number above 0"),
        (lambda: gd.best_kernel_error(E, -1), r"m: expected an integer in \[0, 2\]"),
        (lambda: gd.best_kernel_error(0 * E, 1), "norm of the kernel: expected a number above 0"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: gd.spectral_clusters(E, 1, rng=0),
        lambda: gd.random_rows(2, 1, rng=0),
        lambda: gd.leverage_rows(E, 1, lam=1.0, rng=0),
        lambda: gd.kmeans_rows(E, 1, rng=0),
    ],
)
def test_a_generator_is_demanded(call):
    with pytest.raises(TypeError, match=r"rng: expected a numpy.random.Generator, got int"):
        call()


def test_a_row_without_weight_keeps_none():
    np.testing.assert_array_equal(gd._inverse_root(np.array([4.0, 0.0, -1.0])), [0.5, 0.0, 0.0])


def test_the_affinity_is_the_positive_part_by_default():
    rng = np.random.default_rng(0)
    Phi, Y = rng.standard_normal((2, 6, 4)), rng.standard_normal((2, 6))
    both = [
        gd.local_global_distillation(
            Phi, Y, clusters=2, tau_v=0.9, tau_g=0.5, rng=np.random.default_rng(1), **({"affinity": a} if a else {})
        )
        for a in (None, "positive")
    ]
    for found, named in zip(*both, strict=True):
        np.testing.assert_array_equal(found.synthesis, named.synthesis)
