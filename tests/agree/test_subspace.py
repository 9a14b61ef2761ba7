"""Spans, energy gaps and angles: the fast path and the reference say the same, class by class."""

import numpy as np
from hypothesis import given

from dntk_fast.kernels import subspace as fast
from dntk_ref import subspace as reference
from tests.fast.stacks import pairs
from tests.kinds import CLOSE, ROUNDED, back, kinds, to


@kinds
@given(pair=pairs())
def test_residuals_and_gaps_agree(kind, pair):
    Phi, S = (to(kind, part) for part in pair)
    found = fast.energy_gap(Phi, S)
    expected = [reference.energy_gap(*parts) for parts in zip(*pair, strict=True)]
    for name in ("residual", "tail", "misalignment", "rank", "total"):
        np.testing.assert_allclose(back(getattr(found, name)), [getattr(one, name) for one in expected], **CLOSE)
    residuals = [reference.projection_residual(*parts) for parts in zip(*pair, strict=True)]
    np.testing.assert_allclose(back(fast.projection_residual(Phi, S)), residuals, **CLOSE)


@kinds
@given(pair=pairs())
def test_angles_agree(kind, pair):
    found = back(fast.principal_angles(*(to(kind, part) for part in pair)))
    for angles, parts in zip(found, zip(*pair, strict=True), strict=True):
        expected = reference.principal_angles(*parts)
        np.testing.assert_allclose(angles[: len(expected)], expected, **CLOSE)
        assert np.isnan(angles[len(expected) :]).all()


@kinds
@given(pair=pairs())
def test_float32_gives_the_answer_to_its_own_numbers(kind, pair):
    rounded = [part.astype("float32") for part in pair]
    found = fast.energy_gap(*(to(kind, part, "float32") for part in rounded))
    for c, parts in enumerate(zip(*(part.astype("float64") for part in rounded), strict=True)):
        expected = reference.energy_gap(*parts)
        for name in ("residual", "tail", "misalignment"):
            value = back(getattr(found, name))[c]
            np.testing.assert_allclose(value / expected.total, getattr(expected, name) / expected.total, **ROUNDED)
