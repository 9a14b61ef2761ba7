"""Algorithm 1, its rivals and their solves for all classes: oracles and counterexamples of 4.3-4.4 on every kind."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dntk_fast.distillation import gradient_distillation as gd
from dntk_fast.distillation.row_samplers import medoid_rows
from dntk_fast.kernels.ridge import ridge_weights
from tests.fast.sketches import BLOCKS, gram, problems, runs_with_gaps, sketches
from tests.kinds import CLOSE, ROUNDED, assert_same_kind, back, gpu_kinds, kernel_stacks, kinds, to
from tests.tolerances import TOL

SQUARED = {"rtol": TOL["squared_kernel"], "atol": TOL["squared_kernel"]}


def objective(Phi, y, w, lam):
    return np.sum((np.einsum("cnk,ck->cn", Phi, w) - y) ** 2, axis=1) / 2 + lam * np.sum(w**2, axis=1) / 2


# Stage 1


@kinds
@pytest.mark.parametrize("affinity", ["positive", "absolute", "cosine"])
def test_clear_blocks_are_the_clusters_numbered_by_first_appearance(kind, affinity):
    order = np.asarray([5, 0, 9, 1, 2, 3, 4, 6, 7, 8, 10, 11])
    K = BLOCKS[np.ix_(order, order)]
    found = gd.spectral_clusters(to(kind, K), 3, seed=4, affinity=affinity)
    _, first, inverse = np.unique(order // 4, return_index=True, return_inverse=True)
    np.testing.assert_array_equal(back(found), np.argsort(np.argsort(first))[inverse])
    assert "int" in str(found.dtype)


@kinds
def test_the_mean_kernel_is_clustered_and_the_edges_need_no_solver(kind):
    stack = to(kind, np.stack([BLOCKS, 5 * BLOCKS]))
    expected = back(gd.spectral_clusters(to(kind, BLOCKS), 3, seed=0))
    np.testing.assert_array_equal(back(gd.spectral_clusters(stack, 3, seed=0)), expected)
    assert back(gd.spectral_clusters(stack, 1, seed=0)).tolist() == [0] * 12
    assert back(gd.spectral_clusters(stack, 12, seed=0)).tolist() == list(range(12))


def test_negative_similarities_need_a_rule():
    # Two groups that point in opposite directions: |K| cannot tell them apart, max(0, K) and the cosine can.
    signs = np.asarray([1.0, 1, 1, -1, -1, -1])
    K = np.outer(signs, signs) + 0.1 * np.eye(6)
    for affinity in ("positive", "cosine"):
        assert gd.spectral_clusters(K, 2, seed=0, affinity=affinity).tolist() == [0, 0, 0, 1, 1, 1]
    assert gd.spectral_clusters(K, 2, seed=0, affinity="absolute").tolist() != [0, 0, 0, 1, 1, 1]


# Stages 2 to 6


@kinds
@given(run=runs_with_gaps())
def test_the_synthesis_is_orthonormal_and_makes_its_gradients_and_targets(kind, run):
    Phi, y, labels, thresholds = run
    made = gd.local_global_synthesis(to(kind, Phi), to(kind, y), labels=to(kind, labels), **thresholds)
    assert len(made) == len(Phi)
    for c, one in enumerate(made):
        U = back(one.synthesis)
        np.testing.assert_allclose(U.T @ U, np.eye(U.shape[1]), **CLOSE)
        np.testing.assert_allclose(back(one.features), U.T @ Phi[c], **CLOSE)
        np.testing.assert_allclose(back(one.targets), U.T @ y[c], **CLOSE)
        # The span is that of the local eigenvectors and the gap directions together.
        gaps = np.linalg.eigh(gram(Phi[c])).eigenvectors[:, ::-1][:, back(one.gap)]
        local = [block_vectors(gram(Phi[c]), labels == h, thresholds["tau_v"]) for h in (0, 1)]
        together = np.hstack([*local, gaps])
        np.testing.assert_allclose(U @ (U.T @ together), together, **SQUARED)
        assert U.shape[1] == np.linalg.matrix_rank(together, tol=TOL["rank"])
        if thresholds["tau_g"] == 0:
            assert back(one.gap).size == 0


def block_vectors(K, rows, tau_v):
    """The leading eigenvectors of one diagonal block, zero-padded."""
    values, vectors = np.linalg.eigh(K[np.ix_(rows, rows)])
    held = np.cumsum(values[::-1])
    r = int(np.argmax(held >= tau_v * held[-1])) + 1
    lifted = np.zeros((len(K), r))
    lifted[rows] = vectors[:, ::-1][:, :r]
    return lifted


def test_dependent_gap_directions_are_dropped():
    Phi = np.random.default_rng(0).standard_normal((1, 6, 9))
    (one,) = gd.local_global_synthesis(Phi, np.ones((1, 6)), labels=np.arange(6) % 2, tau_v=0.8, tau_g=1.0)
    # Two vectors of each cluster and three gap directions, in a space of six.
    assert (one.gap.size, one.synthesis.shape) == (3, (6, 6))


@kinds
@given(problem=problems(), tau_v=st.sampled_from([0.5, 0.8, 0.95]))
def test_oracle_8_one_cluster_without_gaps_is_truncated_ridge_regression(kind, problem, tau_v):
    Phi, y = problem
    labels = to(kind, np.zeros(Phi.shape[1], dtype=int))
    made = gd.local_global_synthesis(to(kind, Phi), to(kind, y), labels=labels, tau_v=tau_v, tau_g=0.0)
    for c, one in enumerate(made):
        w = gd.sketched_weights(to(kind, Phi[c]), to(kind, y[c]), one.synthesis, 0.1)
        _, sigma, V = np.linalg.svd(Phi[c], full_matrices=False)
        r = int(np.argmax(np.cumsum(sigma**2) >= tau_v * np.sum(sigma**2))) + 1
        expected = ridge_weights(Phi[c] @ V[:r].T @ V[:r], y[c], 0.1)
        np.testing.assert_allclose(back(w), expected, **SQUARED)


@kinds
@given(problem=problems())
def test_oracle_8_everything_kept_is_full_ridge_regression(kind, problem):
    Phi, y = problem
    labels = to(kind, np.arange(Phi.shape[1]) % 3)
    made = gd.local_global_synthesis(to(kind, Phi), to(kind, y), labels=labels, tau_v=1.0, tau_g=1.0)
    for c, one in enumerate(made):
        assert one.synthesis.shape == (Phi.shape[1], Phi.shape[1])
        for solve in (gd.sketched_weights, gd.restricted_weights):
            w = solve(to(kind, Phi[c]), to(kind, y[c]), one.synthesis, 0.1)
            np.testing.assert_allclose(back(w), ridge_weights(Phi[c], y[c], 0.1), **SQUARED)


# The solves


@kinds
@given(sketch=sketches())
def test_the_sketched_solve_minimises_its_own_loss_in_any_basis(kind, sketch):
    Phi, y, U, lam = sketch
    w = back(gd.sketched_weights(*(to(kind, part) for part in (Phi, y, U)), lam))
    Q = np.stack([np.linalg.qr(u)[0] for u in U])
    expected = ridge_weights(Q.swapaxes(1, 2) @ Phi, np.einsum("cnm,cn->cm", Q, y), lam)
    np.testing.assert_allclose(w, expected, **CLOSE)
    padded = np.concatenate([U, 0 * U[..., :1]], axis=2)
    np.testing.assert_allclose(back(gd.sketched_weights(*(to(kind, p) for p in (Phi, y, padded)), lam)), w, **CLOSE)


@kinds
@given(sketch=sketches())
def test_the_restricted_solve_is_the_best_in_the_span(kind, sketch):
    Phi, y, U, lam = sketch
    restricted, sketched = (
        back(solve(*(to(kind, part) for part in (Phi, y, U)), lam))
        for solve in (gd.restricted_weights, gd.sketched_weights)
    )
    # 4.3 d: the gradient of J vanishes along the span, which holds w_R; J(w_*) <= J(w_R) <= J(w_hat).
    rows = U.swapaxes(1, 2) @ Phi
    gradient = np.einsum("cnk,cn->ck", Phi, np.einsum("cnk,ck->cn", Phi, restricted) - y) + lam * restricted
    np.testing.assert_allclose(
        np.einsum("cmk,ck->cm", rows, gradient), np.zeros(rows.shape[:2]), atol=TOL["squared_kernel"]
    )
    for span, w in zip(rows, restricted, strict=True):
        np.testing.assert_allclose(span.T @ np.linalg.lstsq(span.T, w)[0], w, **SQUARED)
    best = objective(Phi, y, ridge_weights(Phi, y, lam), lam)
    assert (best <= objective(Phi, y, restricted, lam) + TOL["float64"]).all()
    assert (objective(Phi, y, restricted, lam) <= objective(Phi, y, sketched, lam) + TOL["float64"]).all()


@kinds
def test_cex_14_the_sketch_is_a_hundred_times_too_large(kind):
    Phi, y, U = (to(kind, np.asarray(p)) for p in ([[1.0], [10.0]], [1.0, 0.0], [[1.0], [0.0]]))
    np.testing.assert_allclose(back(gd.sketched_weights(Phi, y, U, 0.01)), [100 / 101], rtol=TOL["hand"])
    np.testing.assert_allclose(back(gd.restricted_weights(Phi, y, U, 0.01)), [100 / 10101], rtol=TOL["hand"])


@kinds
def test_cex_15_the_gram_repairs_a_basis_that_is_not_orthonormal(kind):
    Phi, y, U = np.eye(2), np.asarray([1.0, 0.0]), np.asarray([[1.0, 1.0], [0.0, 1.0]])
    found = back(gd.sketched_weights(*(to(kind, part) for part in (Phi, y, U)), 1.0))
    np.testing.assert_allclose(found, [0.5, 0], **CLOSE)
    # The broken twin: the plain ridge, as printed.
    np.testing.assert_allclose(ridge_weights(U.T @ Phi, U.T @ y, 1.0), [0.6, 0.2], **CLOSE)


@kinds
@given(problem=problems(), lam=st.sampled_from([0.01, 1.0]))
def test_one_gradient_is_exact(kind, problem, lam):
    for Phi, y in zip(*problem, strict=True):
        made = gd.exact_gradient(to(kind, Phi), to(kind, y), lam)
        assert made.features.shape == (1, Phi.shape[1])
        w = ridge_weights(made.features, made.targets, lam)
        np.testing.assert_allclose(back(w), ridge_weights(Phi, y, lam), **CLOSE)
        np.testing.assert_allclose(back(made.synthesis).T @ Phi, back(made.features), **CLOSE)


# Measures


@kinds
@given(sketch=sketches())
def test_the_synthesised_kernel_is_a_projection_below_the_kernel(kind, sketch):
    Phi, _, U, _ = sketch
    K = gram(Phi)
    K_U = back(gd.synthesised_kernel(to(kind, K), to(kind, U)))
    rows = U.swapaxes(1, 2) @ Phi
    Pi = np.stack([np.linalg.pinv(span) @ span for span in rows])
    np.testing.assert_allclose(K_U, Phi @ Pi @ Phi.swapaxes(1, 2), **SQUARED)
    assert (np.linalg.eigvalsh(K - K_U) >= -TOL["squared_kernel"]).all()
    energy = back(gd.captured_energy(to(kind, K), to(kind, U)))
    np.testing.assert_allclose(energy, np.trace(K_U, axis1=1, axis2=2) / np.trace(K, axis1=1, axis2=2), **CLOSE)
    error = back(gd.kernel_error(to(kind, K), to(kind, U)))
    expected = np.linalg.norm(K - K_U, axis=(1, 2)) / np.linalg.norm(K, axis=(1, 2))
    np.testing.assert_allclose(error, expected, rtol=TOL["float64"], atol=TOL["root"])


@kinds
@given(sketch=sketches())
def test_pca_dominance_no_synthesis_beats_the_top_eigenvectors(kind, sketch):
    Phi, _, U, _ = sketch
    K, m = to(kind, gram(Phi)), U.shape[2]
    top = gd.top_eigenvectors(K, m)
    values = np.linalg.eigvalsh(gram(Phi))[:, ::-1]
    best = values[:, :m].sum(axis=1) / values.sum(axis=1)
    np.testing.assert_allclose(back(gd.captured_energy(K, top)), best, **CLOSE)
    assert (back(gd.captured_energy(K, to(kind, U))) <= best + TOL["float64"]).all()
    least = np.sqrt((values[:, m:] ** 2).sum(axis=1) / (values**2).sum(axis=1))
    np.testing.assert_allclose(back(gd.kernel_error(K, top)), least, rtol=TOL["float64"], atol=TOL["root"])
    assert (back(gd.kernel_error(K, to(kind, U))) >= least - TOL["root"]).all()


# Rows


@kinds
@given(kernels=kernel_stacks(), data=st.data(), seed=st.integers(0, 99))
def test_samplers_give_distinct_rows_the_same_alone_as_in_a_batch(kind, kernels, data, seed):
    m = data.draw(st.integers(1, kernels.shape[-1]))
    samplers = {
        "leverage": lambda K: gd.leverage_rows(K, m, lam=0.1, seed=seed),
        "k-means": lambda K: gd.kmeans_rows(K, m, seed=seed),
        "farthest": lambda K: gd.farthest_point_rows(K, m),
    }
    for sample in samplers.values():
        rows = back(sample(to(kind, kernels)))
        assert rows.shape == (len(kernels), m)
        assert all(len(set(one.tolist())) == m for one in rows)
        np.testing.assert_array_equal(rows[-1], back(sample(to(kind, kernels[-1]))))
    assert len(set(gd.random_rows(9, m, seed=seed).tolist())) == m


@kinds
def test_farthest_points_by_hand(kind):
    # Points 0, 1, 4, 9 on a line, and the same points seen from 4.
    line, moved = np.asarray([0.0, 1.0, 4.0, 9.0]), np.asarray([-4.0, -3.0, 0.0, 5.0])
    kernels = to(kind, np.stack([np.outer(line, line), np.outer(moved, moved)]))
    assert back(gd.farthest_point_rows(kernels, 4)).tolist() == [[3, 0, 2, 1], [3, 0, 2, 1]]
    assert back(gd.farthest_point_rows(kernels, 3, start=1)).tolist() == [[1, 3, 2], [1, 3, 2]]
    assert back(gd.farthest_point_rows(to(kind, np.ones((3, 3))), 3)).tolist() == [0, 1, 2]


@kinds
def test_kmeans_takes_the_row_nearest_to_each_mean_and_fills_up(kind):
    points = np.asarray([0.0, 1.0, 2.1, 50.0, 51.0, 52.2])
    K = to(kind, np.outer(points, points))
    assert back(gd.kmeans_rows(K, 2, seed=0)).tolist() == [1, 4]
    # Two distinct points for three means: the first row that is left over fills up.
    assert back(medoid_rows(to(kind, np.asarray([[5.0], [7.0], [5.0], [5.0]])), 3, seed=0)).tolist() == [0, 1, 2]
    assert len(set(back(gd.kmeans_rows(to(kind, np.ones((3, 3))), 2, seed=0)).tolist())) == 2


def test_leverage_decides_the_draw():
    K = np.diag([100.0, 0.001, 100.0, 0.0])
    draws = [gd.leverage_rows(K, 2, lam=0.1, seed=seed).tolist() for seed in range(30)]
    assert sum(rows == [0, 2] for rows in draws) >= 28  # the second row's chance is about 1 in 200
    uniform = [gd.random_rows(4, 2, seed=seed).tolist() for seed in range(30)]
    assert sum(rows == [0, 2] for rows in uniform) < 28


@kinds
def test_selection_by_hand(kind):
    U = gd.selection(3, to(kind, np.asarray([[2, 0], [1, 2]])))
    np.testing.assert_array_equal(back(U), [[[0, 1], [0, 0], [1, 0]], [[0, 0], [1, 0], [0, 1]]])


# The budget rule of measures.md


def all_settings(Phi, y, m, seed):
    """Every run of Algorithm 1 that the rule allows, by the public functions: (m_c, energy, setting) per class."""
    K, runs = gram(Phi), [[] for _ in Phi]
    for H, tau_v, tau_g in product((1, 2, 3, 5, 8), (0.5, 0.7, 0.8, 0.9, 0.95, 0.99), (0.5, 0.7, 0.9)):
        if min(m, Phi.shape[1]) < H:
            continue
        labels = gd.spectral_clusters(K, H, seed=seed)
        for c, one in enumerate(gd.local_global_synthesis(Phi, y, labels=labels, tau_v=tau_v, tau_g=tau_g)):
            if one.synthesis.shape[1] <= m:
                energy = float(gd.captured_energy(K[c], one.synthesis))
                runs[c].append((one.synthesis.shape[1], energy, gd.Setting(H, tau_v, tau_g)))
    return runs


@pytest.mark.parametrize("m", [1, 3, 6, 12])
def test_the_budget_rule_by_brute_force(m):
    rng = np.random.default_rng(m)
    Phi = rng.standard_normal((2, 14, 20)) * 0.8 ** np.arange(20) + rng.integers(0, 3, size=(14, 1))
    y = rng.standard_normal((2, 14))
    found = gd.local_global_budget(Phi, y, m, seed=3)
    K = gram(Phi)
    for c, runs in enumerate(all_settings(Phi, y, m, 3)):
        U = found.syntheses[c]
        if not runs:
            assert U.shape == (14, 0)
            assert found.settings[c] is None
            continue
        count = max(run[0] for run in runs)
        best = max(run[1] for run in runs if run[0] == count)
        assert U.shape[1] == count
        np.testing.assert_allclose(float(gd.captured_energy(K[c], U)), best, **CLOSE)
        np.testing.assert_allclose(U.T @ U, np.eye(count), **CLOSE)
        chosen = next(run for run in runs if run[2] == found.settings[c])
        np.testing.assert_allclose(chosen[:2], (count, best), **CLOSE)


def test_a_flat_class_that_no_setting_fits_has_an_empty_synthesis():
    found = gd.local_global_budget(np.eye(8)[None], np.ones((1, 8)), 2, seed=0)
    assert found.settings == (None,)
    assert found.syntheses[0].shape == (8, 0)


@kinds
def test_the_grid_gives_the_same_choice_on_every_kind(kind):
    rng = np.random.default_rng(0)
    Phi, y = rng.standard_normal((2, 10, 12)) * 0.7 ** np.arange(12), np.ones((2, 10))
    found, expected = (gd.local_global_budget(to(k, Phi), to(k, y), 4, seed=1) for k in (kind, "numpy"))
    assert found.settings == expected.settings
    for U, V in zip(found.syntheses, expected.syntheses, strict=True):
        np.testing.assert_allclose(back(U) @ back(U).T, V @ V.T, **SQUARED)


# All methods on one axis


def axis(kind, dtype="float64", C=2, n=12, k=15):
    """Features and targets of two clusters in different directions: the budget rule takes local vectors."""
    rng = np.random.default_rng(8)
    directions = rng.standard_normal((2, k))[np.arange(n) % 2]
    Phi = (2 * directions + rng.standard_normal((C, n, k)) * 0.8 ** np.arange(k)).astype(dtype)
    y = rng.standard_normal((C, n)).astype(dtype)
    return to(kind, Phi, dtype), to(kind, y, dtype)


@kinds
@pytest.mark.parametrize("name", list(gd.METHODS))
def test_every_method_solves_and_measures_its_own_synthesis(kind, name):
    Phi, y = axis(kind)
    K = Phi @ to(kind, np.swapaxes(back(Phi), 1, 2).copy())
    found = gd.METHODS[name](Phi, K, y, m=5, lam=0.1, seed=2)
    U = found.synthesis
    solve = gd.restricted_weights if "restricted" in name else gd.sketched_weights
    np.testing.assert_allclose(back(found.weights), back(solve(Phi, y, U, 0.1)), **SQUARED)
    np.testing.assert_allclose(back(found.kernel_errors), back(gd.kernel_error(K, U)), **CLOSE)
    np.testing.assert_allclose(back(found.captured_energies), back(gd.captured_energy(K, U)), **CLOSE)
    assert found.counts == tuple(np.linalg.matrix_rank(u) for u in back(U))
    assert found.realised_m == np.mean(found.counts) <= 5
    assert found.kernel_error == pytest.approx(back(found.kernel_errors).mean(), rel=TOL["hand"])
    assert found.captured_energy == pytest.approx(back(found.captured_energies).mean(), rel=TOL["hand"])
    assert bool(found.setting) == ("local-global" in name)
    for part in (found.synthesis, found.weights, found.kernel_errors):
        assert_same_kind(part, Phi)
    prepared = gd.METHODS[name](Phi, gd.PreparedKernel(K), y, m=5, lam=0.1, seed=2)
    np.testing.assert_array_equal(back(prepared.weights), back(found.weights))


@kinds
def test_the_exact_method_is_full_ridge_regression_with_one_gradient(kind):
    Phi, y = axis(kind)
    (name,) = [name for name in gd.METHODS if "exact" in name]
    found = gd.METHODS[name](Phi, to(kind, gram(back(Phi))), y, m=5, lam=0.01, seed=0)
    assert found.counts == (1, 1)
    np.testing.assert_allclose(back(found.weights), back(ridge_weights(Phi, y, 0.01)), **SQUARED)
    # No evidence of compression: almost all of the kernel is lost.
    assert found.kernel_error > 0.5


@kinds
@pytest.mark.parametrize("m", [1, 5])
def test_target_aware_gradients_keep_the_kernel_and_the_exact_predictor(kind, m):
    Phi, y = axis(kind)
    K = to(kind, gram(back(Phi)))
    found = gd.METHODS["target-aware"](Phi, K, y, m=m, lam=0.01, seed=0)
    np.testing.assert_allclose(back(found.weights), back(ridge_weights(Phi, y, 0.01)), **SQUARED)
    eigen = gd.METHODS["top eigenvectors"](Phi, K, y, m=m, lam=0.01, seed=0)
    assert not np.allclose(
        back(eigen.weights), back(found.weights), rtol=TOL["apart"]
    )  # the kernel alone is not enough
    if m > 1:
        fewer = gd.METHODS["top eigenvectors"](Phi, K, y, m=m - 1, lam=0.01, seed=0)
        assert fewer.captured_energy <= found.captured_energy <= eigen.captured_energy
        one = gd.METHODS["exact one gradient"](Phi, K, y, m=m, lam=0.01, seed=0)
        assert found.kernel_error < one.kernel_error


def test_top_eigenvectors_lead_the_table_and_the_restricted_solve_its_twin():
    Phi, y = axis("numpy")
    rows = {name: method(Phi, gram(Phi), y, m=5, lam=0.1, seed=0) for name, method in gd.METHODS.items()}
    best = rows["top eigenvectors"]
    assert all(row.captured_energy <= best.captured_energy + TOL["float64"] for row in rows.values())
    assert all(row.kernel_error >= best.kernel_error - TOL["float64"] for row in rows.values())
    plain, restricted = (
        objective(Phi, y, rows[name].weights, 0.1) for name in ("local-global", "restricted local-global")
    )
    assert (restricted <= plain + TOL["float64"]).all()
    assert (restricted < plain - TOL["apart"]).any()  # not the same solve under two names
    assert set(gd.METHODS) > gd.RANDOM_METHODS


def test_a_prepared_kernel_keeps_one_grid_for_each_seed():
    prepared = gd.PreparedKernel(gram(axis("numpy")[0]))
    assert prepared.local_global(1) is prepared.local_global(1)
    assert prepared.local_global(1) is not prepared.local_global(2)


def test_random_methods_change_with_the_seed_and_only_with_it():
    Phi, y = axis("numpy", n=30)
    for name in gd.RANDOM_METHODS:
        one, same, other = (gd.METHODS[name](Phi, gram(Phi), y, m=4, lam=0.1, seed=s).weights for s in (0, 0, 1))
        np.testing.assert_array_equal(one, same)
        assert np.abs(one - other).max() > TOL["apart"]


@kinds
def test_a_float32_kernel_is_formed_again_in_float64(kind):
    Phi, y = axis(kind, "float32")
    rounded = to(kind, gram(back(Phi)), "float32")
    wide = [back(part).astype("float64") for part in (Phi, y)]
    for name in ("random", "top eigenvectors", "exact one gradient"):
        found = gd.METHODS[name](Phi, rounded, y, m=5, lam=1e-5, seed=2)
        expected = gd.METHODS[name](wide[0], gram(wide[0]), wide[1], m=5, lam=1e-5, seed=2).weights
        assert_same_kind(found.weights, Phi)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(back(found.weights) / scale, expected / scale, **ROUNDED)


@pytest.mark.gpu
@gpu_kinds
def test_methods_on_a_device_agree_with_numpy(kind):
    Phi, y = axis("numpy", C=3, n=40, k=60)
    for name, method in gd.METHODS.items():
        found = method(to(kind, Phi), to(kind, gram(Phi)), to(kind, y), m=5, lam=0.1, seed=0)
        expected = method(Phi, gram(Phi), y, m=5, lam=0.1, seed=0)
        assert_same_kind(found.weights, to(kind, Phi))
        np.testing.assert_allclose(back(found.weights), expected.weights, err_msg=name, **SQUARED)


PHI, Y, K = np.ones((2, 3, 4)), np.ones((2, 3)), np.stack([np.eye(3)] * 2)
LABELS = np.zeros(3, dtype=int)


def synthesise(features=PHI, targets=Y, labels=LABELS, tau_v=0.9, tau_g=0.5):
    return gd.local_global_synthesis(features, targets, labels=labels, tau_v=tau_v, tau_g=tau_g)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: synthesise(PHI[0]), ValueError, r"features: expected 3 axes, got shape \(3, 4\)"),
        (lambda: synthesise(0 * PHI), ValueError, r"features: expected a gradient that is not zero in every class"),
        (lambda: synthesise(targets=Y[:1]), ValueError, r"targets: expected shape \(2, 3\), got shape \(1, 3\)"),
        (lambda: synthesise(labels=LABELS[:2]), ValueError, r"labels: expected shape \(3,\)"),
        (lambda: synthesise(tau_v=0.0), ValueError, r"tau_v: expected a number above 0"),
        (lambda: synthesise(tau_g=1.5), ValueError, r"tau_g: expected a number in \[0, 1\]"),
        (lambda: gd.spectral_clusters(K, 4, seed=0), ValueError, r"clusters: expected an integer in \[1, 3\], got 4"),
        (lambda: gd.spectral_clusters(K, 2, seed=0, affinity="rbf"), ValueError, r"affinity: expected one of positive"),
        (lambda: gd.random_rows(3, 4, seed=0), ValueError, r"m: expected an integer in \[1, 3\], got 4"),
        (lambda: gd.leverage_rows(0 * K, 1, lam=1.0, seed=0), ValueError, r"m: expected an integer in \[1, 0\], got 1"),
        (lambda: gd.kmeans_rows(K, 2, seed=0.5), TypeError, r"seed: expected an integer, got 0.5"),
        (lambda: gd.farthest_point_rows(K, 1, start=3), ValueError, r"start: expected an integer in \[0, 2\], got 3"),
        (lambda: gd.selection(3, np.asarray([0, 0])), ValueError, r"rows: expected distinct integers in \[0, 2\]"),
        (lambda: gd.selection(3, np.asarray([0, 3])), ValueError, r"rows: expected distinct integers in \[0, 2\]"),
        (lambda: gd.selection(3, np.asarray([0.0])), TypeError, r"rows: expected integers, got dtype float64"),
        (lambda: gd.selection(3, [0]), TypeError, r"rows: expected an array, got list"),
        (lambda: gd.top_eigenvectors(K, 0), ValueError, r"m: expected an integer in \[1, 3\], got 0"),
        (lambda: gd.sketched_weights(PHI, Y, K[:, :2], 1.0), ValueError, r"synthesis: expected shape \(2, 3, any\)"),
        (lambda: gd.restricted_weights(PHI, Y, K, -1.0), ValueError, r"lam: expected a number above 0, got -1.0"),
        (lambda: gd.exact_gradient(PHI, Y, 1.0), ValueError, r"features: expected 2 axes, got shape \(2, 3, 4\)"),
        (lambda: gd.captured_energy(0 * K, K), ValueError, r"kernel: expected a trace above 0, got 0"),
        (lambda: gd.kernel_error(0 * K, K), ValueError, r"kernel: expected a norm above 0, got 0"),
        (lambda: gd.local_global_budget(PHI, Y, 4, seed=0), ValueError, r"m: expected an integer in \[1, 3\], got 4"),
        (
            lambda: gd.sketched_weights(PHI, Y, np.ones((2, 3, 0)), 1.0),
            ValueError,
            r"synthesis: expected at least one entry along every axis, got shape \(2, 3, 0\)",
        ),
        (
            lambda: gd.restricted_weights(PHI, Y, np.ones((2, 3, 0)), 1.0),
            ValueError,
            r"synthesis: expected at least one entry along every axis, got shape \(2, 3, 0\)",
        ),
        (
            lambda: gd.METHODS["random"](PHI, K[:, :2, :2], Y, 1, 1.0, 0),
            ValueError,
            r"kernel: expected shape \(2, 3, 3\)",
        ),
        (
            lambda: gd.METHODS["random"](PHI, gd.PreparedKernel(K[:1]), Y, 1, 1.0, 0),
            ValueError,
            r"kernel: expected shape \(2, 3, 3\), got shape \(1, 3, 3\)",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
