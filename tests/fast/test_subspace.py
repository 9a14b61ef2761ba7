"""Spans, energy gaps and angles of all classes: hand-computed cases, defining properties, refusals, on every kind."""

import numpy as np
import pytest
from hypothesis import given

from dntk_fast.kernels import subspace
from tests.fast.stacks import pairs
from tests.kinds import CLOSE, ROUNDED, assert_same_kind, back, gpu_kinds, kinds, to
from tests.tolerances import TOL


@kinds
def test_two_classes_by_hand(kind):
    Phi = to(kind, np.asarray([[[2.0, 0.0], [0.0, 1.0]], [[3.0, 4.0], [0.0, 0.0]]]))
    S = to(kind, np.asarray([[[0.0, 5.0]], [[0.0, 0.0]]]))
    gap = subspace.energy_gap(Phi, S)
    np.testing.assert_allclose(back(gap.residual), [4, 25], **CLOSE)
    np.testing.assert_allclose(back(gap.tail), [1, 25], **CLOSE)
    np.testing.assert_allclose(back(gap.misalignment), [3, 0], **CLOSE)
    assert back(gap.rank).tolist() == [1, 0]
    np.testing.assert_allclose(back(gap.total), [5, 25], **CLOSE)


@kinds
@given(pair=pairs())
def test_the_residual_is_that_of_least_squares(kind, pair):
    Phi, S = pair
    expected = [np.sum((P - (np.linalg.lstsq(s.T, P.T)[0].T @ s)) ** 2) for P, s in zip(Phi, S, strict=True)]
    found = back(subspace.projection_residual(to(kind, Phi), to(kind, S)))
    np.testing.assert_allclose(found, expected, **CLOSE)
    # The broken twin: the rows taken for an orthonormal basis.
    twin = np.sum((Phi - Phi @ S.swapaxes(1, 2) @ S) ** 2, axis=(1, 2))
    assert (np.abs(twin - expected) > TOL["apart"]).all()


@kinds
@given(pair=pairs())
def test_the_identity_of_proposition_3_6_and_its_sign(kind, pair):
    gap = subspace.energy_gap(*(to(kind, part) for part in pair))
    residual, tail, misalignment = (back(x) for x in (gap.residual, gap.tail, gap.misalignment))
    np.testing.assert_allclose(residual, tail + misalignment, **CLOSE)
    assert (misalignment >= -TOL["float64"] * back(gap.total)).all()


@kinds
@given(pair=pairs())
def test_rows_that_span_everything_leave_nothing(kind, pair):
    Phi, _ = pair
    assert (back(subspace.projection_residual(to(kind, Phi), to(kind, Phi))) < TOL["float64"]).all()


@kinds
@pytest.mark.parametrize("angle", [1e-9, 0.3, np.pi / 2])
def test_angles_of_planes_by_hand(kind, angle):
    # In R^4 the plane (e1, e2) against (cos a e1 + sin a e3, e2): angles 0 and a. An arccos would lose 1e-9.
    a, b = np.eye(4)[:2], np.eye(4)[:2]
    b[0] = [np.cos(angle), 0, np.sin(angle), 0]
    found = back(subspace.principal_angles(to(kind, np.stack([a, 5 * a])), to(kind, np.stack([b, b[::-1].copy()]))))
    np.testing.assert_allclose(found, [[0, angle]] * 2, rtol=TOL["squared_kernel"], atol=TOL["hand"])


@kinds
def test_spans_of_different_rank_are_padded_with_nan(kind):
    a = np.asarray([[[1.0, 0, 0], [0, 1, 0]], [[1, 0, 0], [2, 0, 0]]])
    b = np.asarray([[[0.0, 0, 1], [0, 1, 0], [1, 1, 0]], [[1, 1, 0], [0, 0, 1], [1, 1, 1]]])
    expected = [[0, 0], [np.pi / 4, np.nan]]
    np.testing.assert_allclose(back(subspace.principal_angles(to(kind, a), to(kind, b))), expected, **CLOSE)
    np.testing.assert_allclose(back(subspace.principal_angles(to(kind, b), to(kind, a))), expected, **CLOSE)


@kinds
def test_the_array_kind_dtype_and_device_come_back(kind):
    Phi = np.random.default_rng(0).standard_normal((2, 5, 3)).astype("float32")
    features = to(kind, Phi, "float32")
    gap = subspace.energy_gap(features, features[:, :2, :])
    for part in (gap.residual, gap.tail, gap.misalignment, gap.total, subspace.principal_angles(features, features)):
        assert_same_kind(part, features)
    expected = subspace.energy_gap(Phi.astype("float64"), Phi[:, :2].astype("float64"))
    np.testing.assert_allclose(back(gap.misalignment), expected.misalignment, **ROUNDED)


@pytest.mark.gpu
@gpu_kinds
def test_a_device_agrees_with_numpy(kind):
    rng = np.random.default_rng(1)
    Phi, S = rng.standard_normal((3, 30, 50)), rng.standard_normal((3, 7, 50))
    found, expected = subspace.energy_gap(to(kind, Phi), to(kind, S)), subspace.energy_gap(Phi, S)
    np.testing.assert_allclose(back(found.misalignment), expected.misalignment, **CLOSE)
    angles = subspace.principal_angles(to(kind, Phi), to(kind, S))
    np.testing.assert_allclose(back(angles), subspace.principal_angles(Phi, S), **CLOSE)


PHI = np.ones((2, 3, 4))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: subspace.energy_gap([[1.0]], PHI), TypeError, r"features: expected an array, got list"),
        (lambda: subspace.energy_gap(PHI[0, 0], PHI), ValueError, r"features: expected at least 2 axes"),
        (lambda: subspace.energy_gap(PHI, PHI[..., :3]), ValueError, r"inducing: expected shape \(2, any, 4\), got"),
        (lambda: subspace.energy_gap(PHI, to("torch", PHI)), TypeError, r"inducing: expected an array of the kind nda"),
        (lambda: subspace.energy_gap(PHI, PHI[:, :0]), ValueError, r"inducing: expected at least one entry"),
        (lambda: subspace.projection_residual(PHI, PHI, rtol=2.0), ValueError, r"rtol: expected a number in \[0, 1\]"),
        (lambda: subspace.principal_angles(PHI, np.inf * PHI), ValueError, r"b: expected finite entries"),
        (lambda: subspace.principal_angles(PHI[..., :3], PHI), ValueError, r"a: expected shape \(2, any, 4\), got"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
