"""Data and parameter redundancy on every array kind: hand-computed cases, defining properties, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dntk_fast.kernels import redundancy
from tests.kinds import CLOSE, assert_same_kind, back, kernel_stacks, kinds, to
from tests.strategies import epsilons, spectra
from tests.tolerances import TOL


@kinds
def test_cex_8_by_hand_and_the_case_of_nothing(kind):
    K = to(kind, np.asarray([[[1.0, 0.6], [0.6, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]))
    assert back(redundancy.truncation_rank(K, 0.2)).tolist() == [1, 0]
    assert back(redundancy.truncation_rank(K, 0.1)).tolist() == [2, 0]
    np.testing.assert_allclose(back(redundancy.spectrum(K)), [[1.6, 0.4], [0, 0]], **CLOSE)
    np.testing.assert_allclose(back(redundancy.participation_ratio(K)), [4 / 2.72, 0], **CLOSE)
    np.testing.assert_allclose(back(redundancy.parameter_redundancy(K, 1)), [0.4 / 2.72**0.5, 0], **CLOSE)


@given(spectrum=spectra(), epsilon=epsilons)
def test_the_truncation_rank_is_the_smallest_that_holds_enough(spectrum, epsilon):
    r = int(redundancy.truncation_rank_of_spectrum(spectrum, epsilon))
    wanted = (1 - epsilon) * spectrum.sum()
    assert spectrum[:r].sum() >= wanted * (1 - 1e-12)
    assert r == 0 or spectrum[: r - 1].sum() < wanted * (1 - 1e-12)
    assert r == int(redundancy.truncation_rank_of_spectrum(spectrum[::-1].copy(), epsilon))


def test_rounding_of_partial_sums_does_not_count_a_direction_too_many(monkeypatch):
    # Ten thirds: the computed half of their sum lies a rounding above the sum of five.
    assert int(redundancy.truncation_rank_of_spectrum(np.full(10, 1 / 3), 0.5)) == 5
    monkeypatch.setattr(redundancy, "COMPARISON", 0.0)
    assert int(redundancy.truncation_rank_of_spectrum(np.full(10, 1 / 3), 0.5)) == 6


@kinds
@given(kernels=kernel_stacks(), data=st.data())
def test_parameter_redundancy_is_the_error_of_the_top_subspace(kind, kernels, data):
    r = data.draw(st.integers(0, kernels.shape[-1]))
    found = back(redundancy.parameter_redundancy(to(kind, kernels), r))
    values, U = np.linalg.eigh(kernels)
    lead = U[..., ::-1][..., :r]
    K_r = (lead * values[..., ::-1][:, None, :r]) @ lead.swapaxes(1, 2)
    expected = np.linalg.norm(kernels - K_r, axis=(1, 2)) / np.linalg.norm(kernels, axis=(1, 2))
    np.testing.assert_allclose(found, expected, rtol=TOL["float64"], atol=TOL["root"])
    if r:  # the broken twin: one direction fewer
        assert (back(redundancy.parameter_redundancy(to(kind, kernels), r - 1)) - found > TOL["apart"]).all()


@kinds
def test_the_array_kind_dtype_and_device_come_back(kind):
    K = to(kind, np.stack([np.eye(3), 2 * np.eye(3)]), "float32")
    assert_same_kind(redundancy.spectrum(K), K)
    assert_same_kind(redundancy.participation_ratio(K), K)
    assert redundancy.spectrum(K).shape == (2, 3)
    assert redundancy.truncation_rank(K[0, ...], 0.0).shape == ()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: redundancy.spectrum([[1.0]]), TypeError, r"kernel: expected an array, got list"),
        (lambda: redundancy.spectrum(np.eye(2, dtype=int)), TypeError, r"kernel: expected real floating-point"),
        (lambda: redundancy.spectrum(np.ones((2, 3))), ValueError, r"kernel: expected square matrices"),
        (lambda: redundancy.spectrum(np.triu(np.ones((2, 2)))), ValueError, r"kernel: expected symmetric matrices"),
        (lambda: redundancy.spectrum(np.full((2, 2), np.nan)), ValueError, r"kernel: expected finite entries"),
        (lambda: redundancy.spectrum(np.ones((0, 0))), ValueError, r"kernel: expected at least one entry"),
        (lambda: redundancy.spectrum(-np.eye(2)), ValueError, r"kernel: expected no negative eigenvalue, got -1"),
        (lambda: redundancy.truncation_rank(np.eye(2), 1.5), ValueError, r"epsilon: expected a number in \[0, 1\]"),
        (lambda: redundancy.parameter_redundancy(np.eye(2), 3), ValueError, r"rank: expected an integer in \[0, 2\]"),
        (
            lambda: redundancy.truncation_rank_of_spectrum(np.asarray([1.0, -1.0]), 0.1),
            ValueError,
            r"eigenvalues: expected numbers that are 0 or above, got down to -1",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
