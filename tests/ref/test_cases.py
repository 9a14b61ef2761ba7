"""The seeded instances are what their names say, and the counterexamples hold what they claim to hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dntk_ref import cases, network
from tests.ref.sides import CLOSE, HAND, differs
from tests.strategies import generators, spectra
from tests.tolerances import TOL


@given(st.integers(1, 6), st.data(), generators())
def test_orthonormal_columns(rows, data, rng):
    columns = data.draw(st.integers(0, rows))
    Q = cases.orthonormal(rows, columns, rng=rng)
    assert Q.shape == (rows, columns)
    np.testing.assert_allclose(Q.T @ Q, np.eye(columns), **CLOSE)


def test_orthonormal_columns_are_uniform():
    # Haar: each entry of Q in R^3 has mean 0 and mean square 1/3; plain QR has the first row's sign fixed.
    rng = np.random.default_rng(0)
    draws = np.array([cases.orthonormal(3, 2, rng=rng) for _ in range(2000)])
    # Standard errors: sqrt(1/3 / 2000) = 0.013 of the mean, sqrt(4/45 / 2000) = 0.0067 of the mean square; five of them.
    assert np.abs(draws.mean(axis=0)).max() < 5 * 0.013
    assert np.abs((draws**2).mean(axis=0) - 1 / 3).max() < 5 * 0.0067
    assert np.abs((draws[:, :, 0] * draws[:, :, 1]).mean(axis=0)).max() < 5 * 0.0067


@given(spectra(), st.integers(0, 3), generators())
def test_features_and_kernels_have_the_spectrum_asked_for(values, more, rng):
    Phi = cases.features_with_spectrum(values, len(values) + more, rng=rng)
    assert Phi.shape == (len(values), len(values) + more)
    np.testing.assert_allclose(np.linalg.eigvalsh(Phi @ Phi.T)[::-1], np.sort(values)[::-1], **CLOSE)
    K = cases.kernel_with_spectrum(values, rng=rng)
    np.testing.assert_array_equal(K, K.T)
    np.testing.assert_allclose(np.linalg.eigvalsh(K)[::-1], np.sort(values)[::-1], **CLOSE)


@given(st.integers(1, 6), st.data(), generators())
def test_random_projectors(P, data, rng):
    rank = data.draw(st.integers(0, P))
    Pi = cases.random_projector(P, rank, rng=rng)
    np.testing.assert_allclose(Pi @ Pi, Pi, **CLOSE)
    np.testing.assert_allclose(Pi, Pi.T, **CLOSE)
    assert np.trace(Pi) == pytest.approx(rank, abs=TOL["float64"])


def test_the_spectra_by_hand():
    np.testing.assert_allclose(cases.exponential_spectrum(3, 0.5), np.exp([0, -0.5, -1]), **HAND)
    np.testing.assert_allclose(cases.power_spectrum(3, 2.0), [1, 1 / 4, 1 / 9], **HAND)
    np.testing.assert_array_equal(cases.flat_spectrum(3), [1, 1, 1])
    np.testing.assert_array_equal(cases.tied_spectrum(5, 3), [2, 1, 1, 1, 0])
    np.testing.assert_allclose(cases.near_singular_spectrum(3, 1e4), [1, 1e-2, 1e-4], **HAND)


@given(st.integers(3, 8), st.data())
def test_a_tied_spectrum_is_tied_at_its_rank(n, data):
    rank = data.draw(st.integers(2, n - 1))
    values = cases.tied_spectrum(n, rank)
    assert values.shape == (n,)
    assert values[rank - 1] == values[rank] > 0


def test_duplicated_and_clustered_features():
    rows = cases.duplicated_features(3, 2, 4, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(rows[::2], rows[1::2])
    assert np.linalg.matrix_rank(rows) == 3
    found = cases.clustered_features(3, 4, 5, spread=0.0, rng=np.random.default_rng(0))
    assert found.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    np.testing.assert_array_equal(found.features[::4].repeat(4, axis=0), found.features)
    near = cases.clustered_features(3, 400, 5, spread=0.1, rng=np.random.default_rng(0))
    inside = near.features - np.array([near.features[near.labels == h].mean(axis=0) for h in near.labels])
    # 6000 draws: the relative standard error of a standard deviation is 1 / sqrt(12000) = 0.009; five of them.
    assert inside.std() == pytest.approx(0.1, rel=5 * 0.009)


@pytest.mark.parametrize(("make", "count", "shape"), [(cases.tiny_mlp, 43, (3, 6)), (cases.tiny_conv_net, 89, (3, 4))])
def test_the_tiny_networks(make, count, shape):
    case = make(rng=np.random.default_rng(0))
    assert case.network.parameter_count == count
    assert network.forward(case.network, case.inputs).shape == shape
    assert differs(case.inputs, make(rng=np.random.default_rng(1)).inputs)


def test_the_counterexamples_are_read_only_and_say_what_they_refute():
    assert set(cases.COUNTEREXAMPLES) == {
        *(f"CEX-{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, "11a", "11b", 28, 30)),
        *("contraction", "completion"),
    }
    for case in cases.COUNTEREXAMPLES.values():
        assert case.refutes
        for name, value in case.arrays.items():
            assert case[name] is value
            assert value.dtype == (np.int64 if name == "labels" else np.float64)
            with pytest.raises(ValueError, match="read-only"):
                value[...] = 0
    with pytest.raises(TypeError, match="does not support item assignment"):
        cases.COUNTEREXAMPLES["CEX-1"].arrays["theta"] = 0


def test_the_kernel_of_cex_10_is_built_as_stated():
    a, b = np.zeros((5, 10)), np.zeros((5, 10))
    for h in range(5):
        a[h, 2 * h : 2 * h + 2] = np.array([1, 1]) / np.sqrt(2)
        b[h, 2 * h : 2 * h + 2] = np.array([1, -1]) / np.sqrt(2)
    z = a[0] / 2 + b[1] + b[2] + b[3] + b[4]
    K = 3 * sum(np.outer(a[h], a[h]) for h in range(1, 5)) + np.outer(z, z)
    np.testing.assert_allclose(cases.COUNTEREXAMPLES["CEX-10"]["kernel"], K, **HAND)
    values, vectors = np.linalg.eigh(K)
    assert abs(vectors[:, -1] @ z) / np.sqrt(z @ z) == pytest.approx(1.0, rel=TOL["hand"])
    assert values[-1] > values[-2] + 1


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cases.orthonormal(2, 3, rng=RNG), ValueError, r"columns: expected an integer in \[0, 2\], got 3"),
        (lambda: cases.orthonormal(0, 0, rng=RNG), ValueError, r"rows: expected an integer in \[1, inf\], got 0"),
        (lambda: cases.orthonormal(2, 1, rng=None), TypeError, "rng: expected a numpy.random.Generator, got NoneType"),
        (
            lambda: cases.features_with_spectrum([1.0, 1.0], 1, rng=RNG),
            ValueError,
            r"parameters: expected an integer in \[2",
        ),
        (
            lambda: cases.features_with_spectrum([-1.0], 1, rng=RNG),
            ValueError,
            "eigenvalues: expected numbers that are 0",
        ),
        (
            lambda: cases.kernel_with_spectrum([-1.0], rng=RNG),
            ValueError,
            "eigenvalues: expected numbers that are 0 or",
        ),
        (lambda: cases.random_projector(2, 3, rng=RNG), ValueError, r"rank: expected an integer in \[0, 2\], got 3"),
        (lambda: cases.exponential_spectrum(0, 1.0), ValueError, r"n: expected an integer in \[1, inf\], got 0"),
        (lambda: cases.exponential_spectrum(1, -1.0), ValueError, "rate: expected a number that is 0 or above"),
        (lambda: cases.power_spectrum(1, -1.0), ValueError, "exponent: expected a number that is 0 or above"),
        (lambda: cases.flat_spectrum(0), ValueError, r"n: expected an integer in \[1, inf\], got 0"),
        (lambda: cases.tied_spectrum(2, 2), ValueError, r"n: expected an integer in \[3, inf\], got 2"),
        (lambda: cases.tied_spectrum(3, 3), ValueError, r"rank: expected an integer in \[2, 2\], got 3"),
        (lambda: cases.near_singular_spectrum(2, 0.0), ValueError, "condition: expected a number above 0"),
        (lambda: cases.duplicated_features(1, 0, 1, rng=RNG), ValueError, r"copies: expected an integer in \[1, inf\]"),
        (
            lambda: cases.duplicated_features(1, 1, 1, rng=0),
            TypeError,
            "rng: expected a numpy.random.Generator, got int",
        ),
        (
            lambda: cases.clustered_features(1, 1, 1, spread=-1.0, rng=RNG),
            ValueError,
            "spread: expected a number that is 0 or above",
        ),
        (
            lambda: cases.clustered_features(0, 1, 1, spread=1.0, rng=RNG),
            ValueError,
            "clusters: expected an integer in",
        ),
        (lambda: cases.tiny_mlp(rng=0), TypeError, "rng: expected a numpy.random.Generator, got int"),
        (lambda: cases.tiny_conv_net(rng=0), TypeError, "rng: expected a numpy.random.Generator, got int"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()
