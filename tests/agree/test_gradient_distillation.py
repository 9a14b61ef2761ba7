"""Gradient distillation: the fast path and the reference say the same, class by class, seed for seed where both draw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dntk_fast.distillation import gradient_distillation as fast
from dntk_ref import gradient_distillation as reference
from tests.fast.sketches import BLOCKS, gram, problems, runs_with_gaps, sketches
from tests.kinds import CLOSE, ROUNDED, back, kernel_stacks, kinds, to
from tests.tolerances import TOL

SQUARED = {"rtol": TOL["squared_kernel"], "atol": TOL["squared_kernel"]}


@kinds
@given(run=runs_with_gaps())
def test_algorithm_1_agrees_from_clusters_to_gradients(kind, run):
    Phi, y, labels, settings = run
    found = fast.local_global_synthesis(to(kind, Phi), to(kind, y), labels=to(kind, labels), **settings)
    expected = reference.local_global_synthesis(Phi, y, labels=labels, **settings)
    for one, other, features, targets in zip(found, expected, Phi, y, strict=True):
        U, V = back(one.synthesis), other.synthesis
        assert U.shape == V.shape
        assert back(one.gap).tolist() == other.gap.tolist()
        np.testing.assert_allclose(U @ U.T, V @ V.T, **SQUARED)
        w = fast.sketched_weights(to(kind, features), to(kind, targets), one.synthesis, 0.1)
        np.testing.assert_allclose(back(w), reference.synthetic_weights(other, 0.1), **SQUARED)


@kinds
@given(sketch=sketches())
def test_solves_and_measures_agree(kind, sketch):
    Phi, y, U, lam = sketch
    K, given_U = to(kind, gram(Phi)), to(kind, U)
    classes = list(zip(Phi, y, U, strict=True))
    for name in ("sketched_weights", "restricted_weights"):
        found = getattr(fast, name)(to(kind, Phi), to(kind, y), given_U, lam)
        np.testing.assert_allclose(back(found), [getattr(reference, name)(*c, lam) for c in classes], **SQUARED)
    for name in ("synthesised_kernel", "captured_energy"):
        expected = [getattr(reference, name)(gram(c[0]), c[2]) for c in classes]
        np.testing.assert_allclose(back(getattr(fast, name)(K, given_U)), expected, **SQUARED)
    errors = [reference.kernel_error(gram(c[0]), c[2]) for c in classes]
    np.testing.assert_allclose(
        back(fast.kernel_error(K, given_U)), errors, rtol=TOL["squared_kernel"], atol=TOL["root"]
    )


@kinds
@given(kernels=kernel_stacks(), data=st.data())
def test_deterministic_choices_agree(kind, kernels, data):
    m = data.draw(st.integers(1, kernels.shape[-1]))
    rows = [reference.farthest_point_rows(K, m).tolist() for K in kernels]
    assert back(fast.farthest_point_rows(to(kind, kernels), m)).tolist() == rows
    start = data.draw(st.integers(0, kernels.shape[-1] - 1))
    rows = [reference.farthest_point_rows(K, m, start=start).tolist() for K in kernels]
    assert back(fast.farthest_point_rows(to(kind, kernels), m, start=start)).tolist() == rows
    U = back(fast.top_eigenvectors(to(kind, kernels), m))
    V = np.stack([reference.top_eigenvectors(K, m) for K in kernels])
    np.testing.assert_allclose(U @ U.swapaxes(1, 2), V @ V.swapaxes(1, 2), **CLOSE)
    rows = reference.random_rows(kernels.shape[-1], m, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(
        back(fast.selection(kernels.shape[-1], to(kind, rows))), reference.selection(kernels.shape[-1], rows)
    )


@kinds
@given(kernels=kernel_stacks(), data=st.data(), seed=st.integers(0, 999))
def test_draws_agree_seed_for_seed(kind, kernels, data, seed):
    n = kernels.shape[-1]
    m = data.draw(st.integers(1, n))
    assert (
        fast.random_rows(n, m, seed=seed).tolist()
        == reference.random_rows(n, m, rng=np.random.default_rng(seed)).tolist()
    )
    found = back(fast.leverage_rows(to(kind, kernels), m, lam=0.1, seed=seed))
    for rows, K in zip(found, kernels, strict=True):
        expected = reference.leverage_rows(K, m, lam=0.1, rng=np.random.default_rng(seed))
        assert rows.tolist() == expected.tolist()


@kinds
def test_clear_clusters_agree_though_the_k_means_differ(kind):
    rng = np.random.default_rng(0)
    order = rng.permutation(12)
    K = BLOCKS[np.ix_(order, order)]
    labels = reference.spectral_clusters(K, 3, rng=rng)
    assert back(fast.spectral_clusters(to(kind, K), 3, seed=0)).tolist() == labels.tolist()
    points = np.concatenate([100 * h + rng.standard_normal((7, 2)) for h in range(3)])
    rows = reference.kmeans_rows(gram(points), 3, rng=rng)
    assert back(fast.kmeans_rows(to(kind, gram(points)), 3, seed=0, starts=10)).tolist() == rows.tolist()


@kinds
@given(problem=problems(), lam=st.sampled_from([0.01, 1.0]))
def test_the_exact_gradient_agrees(kind, problem, lam):
    for Phi, y in zip(*problem, strict=True):
        found, expected = fast.exact_gradient(to(kind, Phi), to(kind, y), lam), reference.exact_gradient(Phi, y, lam)
        for name in ("synthesis", "features", "targets", "labels", "gap"):
            np.testing.assert_allclose(back(getattr(found, name)), getattr(expected, name), **SQUARED)


@kinds
@given(sketch=sketches())
def test_float32_gives_the_answer_to_its_own_numbers(kind, sketch):
    Phi, y, U = (part.astype("float32") for part in sketch[:3])
    for name in ("sketched_weights", "restricted_weights"):
        found = back(getattr(fast, name)(*(to(kind, part, "float32") for part in (Phi, y, U)), 1.0))
        for w, c in zip(found, zip(Phi, y, U, strict=True), strict=True):
            expected = getattr(reference, name)(*(part.astype("float64") for part in c), 1.0)
            scale = max(1.0, np.abs(expected).max())
            np.testing.assert_allclose(w / scale, expected / scale, **ROUNDED)


@pytest.mark.parametrize("name", ["sketched_weights_printed", "sketched_weights"])
def test_a_twin_without_the_gram_would_be_seen(name):
    Phi, y, U = np.eye(2), np.asarray([1.0, 0.0]), np.asarray([[1.0, 1.0], [0.0, 1.0]])
    apart = np.abs(fast.sketched_weights(Phi, y, U, 1.0) - getattr(reference, name)(Phi, y, U, 1.0)).max()
    assert (apart > TOL["apart"]) == name.endswith("printed")


@kinds
@pytest.mark.parametrize("m", [1, 4])
def test_target_aware_gradients_agree(kind, m):
    rng = np.random.default_rng(0)
    Phi, y = rng.standard_normal((2, 7, 9)), rng.standard_normal((2, 7))
    found = fast.METHODS["target-aware"](to(kind, Phi), to(kind, gram(Phi)), to(kind, y), m=m, lam=0.1, seed=0)
    for U, K, targets in zip(back(found.synthesis), gram(Phi), y, strict=True):
        V = reference.target_aware_synthesis(K, targets, m, 0.1)
        np.testing.assert_allclose(U @ U.T, V @ V.T, **SQUARED)
