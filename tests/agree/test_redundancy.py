"""Redundancy: the fast path and the reference say the same, class by class."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dntk_fast.kernels import redundancy as fast
from dntk_ref import redundancy as reference
from tests.kinds import CLOSE, ROUNDED, back, kernel_stacks, kinds, to
from tests.strategies import epsilons, spectra


@kinds
@given(kernels=kernel_stacks(), epsilon=epsilons, data=st.data())
def test_every_quantity_agrees(kind, kernels, epsilon, data):
    K, r = to(kind, kernels), data.draw(st.integers(0, kernels.shape[-1]))
    np.testing.assert_allclose(back(fast.spectrum(K)), [reference.spectrum(k) for k in kernels], **CLOSE)
    ranks = [reference.truncation_rank(k, epsilon) for k in kernels]
    assert back(fast.truncation_rank(K, epsilon)).tolist() == ranks
    ratios = [reference.participation_ratio(k) for k in kernels]
    np.testing.assert_allclose(back(fast.participation_ratio(K)), ratios, **CLOSE)
    errors = [reference.parameter_redundancy(k, r) for k in kernels]
    np.testing.assert_allclose(back(fast.parameter_redundancy(K, r)), errors, **CLOSE)


@kinds
def test_what_is_relative_agrees_at_any_scale(kind):
    for scale in (1e-200, 1e-160, 1e160):
        K = scale * np.stack([np.diag([4.0, 3.0]), np.eye(2), np.zeros((2, 2))])
        for name, more in (("parameter_redundancy", (1,)), ("participation_ratio", ())):
            expected = [getattr(reference, name)(k, *more) for k in K]
            np.testing.assert_allclose(back(getattr(fast, name)(to(kind, K), *more)), expected, **CLOSE)


@kinds
@given(spectrum=spectra(), epsilon=epsilons)
def test_ranks_agree_on_tied_flat_and_singular_spectra(kind, spectrum, epsilon):
    expected = reference.truncation_rank_of_spectrum(spectrum, epsilon)
    assert int(fast.truncation_rank_of_spectrum(to(kind, spectrum), epsilon)) == expected


@kinds
@given(kernels=kernel_stacks())
def test_float32_gives_the_answer_to_its_own_numbers(kind, kernels):
    rounded = kernels.astype("float32")
    expected = [reference.spectrum(k) for k in rounded.astype("float64")]
    np.testing.assert_allclose(back(fast.spectrum(to(kind, kernels, "float32"))), expected, **ROUNDED)
