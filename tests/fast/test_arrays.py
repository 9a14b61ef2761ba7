"""The array helpers: one answer on every kind, in float64, and refusals that name what is wrong."""

import numpy as np
import pytest
from hypothesis import given

from dntk_fast import _arrays
from dntk_fast.kernels.nystrom import nystrom_factor
from tests.kinds import CLOSE, back, feature_stacks, kernel_stacks, kinds, to
from tests.tolerances import TOL


@kinds
def test_numpy_and_back_keeps_values_dtype_and_kind(kind):
    like = to(kind, np.ones(2), "float32")
    found = _arrays.from_numpy(np.asarray([0.5, 2.0]), like)
    assert type(found) is type(like)
    assert found.dtype == like.dtype
    np.testing.assert_array_equal(_arrays.to_numpy(found), [0.5, 2.0])
    assert "int64" in str(_arrays.from_numpy(np.asarray([1, 2]), like).dtype)


@kinds
@given(kernels=kernel_stacks())
def test_eigh_descends_and_rebuilds_the_kernel(kind, kernels):
    values, vectors = (back(x) for x in _arrays.eigh(to(kind, kernels)))
    assert (np.diff(values) <= 0).all()
    np.testing.assert_allclose((vectors * values[:, None, :]) @ vectors.swapaxes(1, 2), kernels, **CLOSE)
    np.testing.assert_allclose(back(_arrays.eigenvalues(to(kind, kernels))), values, **CLOSE)
    # The broken twin: eigenvectors in ascending order beside descending eigenvalues.
    twin = (vectors[..., ::-1] * values[:, None, :]) @ vectors[..., ::-1].swapaxes(1, 2)
    assert np.abs(twin - kernels).max() > TOL["apart"]


@kinds
def test_a_float32_matrix_is_decomposed_in_float64(kind):
    K = np.diag([1.0, 1e-4, 1e-7])
    values, _ = _arrays.eigh(to(kind, K, "float32"))
    assert "float64" in str(values.dtype)
    # float32 eigenvalues would keep 6e-8 of the largest, so less than one digit of the smallest.
    np.testing.assert_allclose(back(values), np.diag(K).astype("float32"), rtol=TOL["float64"])


@kinds
def test_negative_eigenvalues_are_refused_and_rounding_is_not(kind):
    with pytest.raises(ValueError, match=r"kernel: expected no negative eigenvalue, got -1"):
        _arrays.eigh(to(kind, np.diag([2.0, -1.0])))
    assert float(_arrays.eigenvalues(to(kind, np.diag([2.0, -1e-9])))[1]) == 0.0


@kinds
@given(stack=feature_stacks())
def test_orthonormal_rows_span_the_rows(kind, stack):
    basis, rank = (back(x) for x in _arrays.orthonormal_rows(to(kind, stack)))
    np.testing.assert_allclose(stack @ basis.swapaxes(1, 2) @ basis, stack, **CLOSE)
    np.testing.assert_allclose(np.trace(basis @ basis.swapaxes(1, 2), axis1=1, axis2=2), rank, **CLOSE)
    assert (rank == np.linalg.matrix_rank(stack, rtol=TOL["rank"])).all()


@kinds
def test_orthonormal_rows_of_nothing_are_nothing(kind):
    basis, rank = _arrays.orthonormal_rows(to(kind, np.zeros((2, 3))))
    assert int(rank) == 0
    assert not back(basis).any()


@kinds
def test_pack_columns_by_hand(kind):
    columns, keep = np.arange(12.0).reshape(2, 2, 3), np.asarray([[False, True, True], [False, False, True]])
    packed = back(_arrays.pack_columns(to(kind, columns), to(kind, keep)))
    np.testing.assert_array_equal(packed, [[[1, 2], [4, 5]], [[8, 0], [11, 0]]])
    assert _arrays.pack_columns(to(kind, columns), to(kind, keep & False)).shape == (2, 2, 0)


@kinds
@given(kernels=kernel_stacks())
def test_solve_positive_solves(kind, kernels):
    right = np.cos(np.arange(kernels[:, :, :2].size)).reshape(kernels[:, :, :2].shape)
    found = back(_arrays.solve_positive(to(kind, kernels), to(kind, right)))
    np.testing.assert_allclose(kernels @ found, right, **CLOSE)


@kinds
def test_solve_positive_refuses_what_is_not_positive_definite(kind):
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite in float64: give a larger lam"):
        _arrays.solve_positive(to(kind, np.diag([1.0, -1.0])), to(kind, np.ones((2, 1))))


@kinds
def test_the_nystrom_factor_by_hand(kind):
    # K_U for U = e_1 is k k^T / K_11 with k the first column; a zero column of U changes nothing.
    K = np.asarray([[4.0, 2.0], [2.0, 2.0]])
    F = back(nystrom_factor(to(kind, K), to(kind, np.asarray([[1.0, 0.0], [0.0, 0.0]]))))
    np.testing.assert_allclose(F @ F.T, [[4, 2], [2, 1]], **CLOSE)
