"""Each refusal: what it lets through comes back unchanged as float64, what it refuses gives one line that says why."""

import numpy as np
import pytest

from dntk_ref import _check

REFUSED = [
    (_check.array, ("x", [[1.0]], 1), ValueError, r"^x: expected 1 axes, got shape \(1, 1\)$"),
    (_check.array, ("x", [], 1), ValueError, r"^x: expected at least one entry, got shape \(0,\)$"),
    (_check.array, ("x", [1.0, np.nan], 1), ValueError, "^x: expected finite entries, got 1 that are NaN or infinite$"),
    (_check.array, ("x", [np.inf, -np.inf], 1), ValueError, "^x: expected finite entries, got 2 that are NaN"),
    (_check.array, ("x", [1j], 1), TypeError, "^x: expected real numbers, got dtype complex128$"),
    (_check.array, ("x", ["a"], 1), TypeError, "^x: expected real numbers, got dtype <U1$"),
    (_check.array, ("x", [None], 1), TypeError, "^x: expected real numbers, got dtype object$"),
    (_check.array, ("x", [[1.0], [1.0, 2.0]], 2), TypeError, "^x: expected real numbers, got a ragged sequence$"),
    (_check.square, ("x", [[1.0, 2.0]]), ValueError, r"^x: expected a square matrix, got shape \(1, 2\)$"),
    (_check.kernel, ("x", [[1.0, 2.0], [3.0, 4.0]]), ValueError, "^x: expected a symmetric matrix, got .* up to 1$"),
    (_check.projector, ("x", [[2.0]]), ValueError, "^x: expected an orthogonal projector, got .* up to 2$"),
    (_check.basis, ("x", [[2.0]]), ValueError, "^x: expected orthonormal columns, got .* up to 3$"),
    (_check.basis, ("x", np.zeros((0, 0))), ValueError, "^x: expected at least one entry"),
    (_check.basis, ("x", np.zeros(0)), ValueError, "^x: expected 2 axes"),
    (_check.vector, ("x", [1.0], 2), ValueError, "^x: expected length 2, got length 1$"),
    (
        _check.probabilities,
        ("x", [1.5, -0.5], 2),
        ValueError,
        "^x: expected numbers .* with sum 1, got minimum -0.5 and",
    ),
    (_check.probabilities, ("x", [0.5, 0.4], 2), ValueError, "^x: expected numbers .* got minimum 0.4 and sum 0.9$"),
    (_check.probabilities, ("x", [0.5, 0.5], 3), ValueError, "^x: expected length 3, got length 2$"),
    (_check.basis, ("x", [[1j]]), TypeError, "^x: expected real numbers, got dtype complex128$"),
    (_check.partition, ("x", ["a"], 1), TypeError, "^x: expected real numbers, got dtype <U1$"),
    (_check.positive, ("x", np.nan), ValueError, "^x: expected finite entries"),
    (_check.nonnegative, ("x", np.nan), ValueError, "^x: expected finite entries"),
    (_check.fraction, ("x", np.nan), ValueError, "^x: expected finite entries"),
    (_check.below_one, ("x", np.nan), ValueError, "^x: expected finite entries"),
    (_check.scalar, ("x", [1.0]), ValueError, r"^x: expected 0 axes, got shape \(1,\)$"),
    (_check.positive, ("x", True), TypeError, "^x: expected a real number, got True$"),
    (_check.fraction, ("x", np.False_), TypeError, "^x: expected a real number, got np.False_$"),
    (_check.positive, ("x", 0.0), ValueError, "^x: expected a number above 0, got 0.0$"),
    (_check.nonnegative, ("x", -1.0), ValueError, "^x: expected a number that is 0 or above, got -1.0$"),
    (_check.fraction, ("x", 1.5), ValueError, r"^x: expected a number in \[0, 1\], got 1.5$"),
    (_check.fraction, ("x", -0.5), ValueError, r"^x: expected a number in \[0, 1\], got -0.5$"),
    (_check.below_one, ("x", 1.0), ValueError, r"^x: expected a number in \[0, 1\), got 1.0$"),
    (_check.below_one, ("x", -0.5), ValueError, r"^x: expected a number in \[0, 1\), got -0.5$"),
    (_check.integer, ("x", 1.0, 0), TypeError, "^x: expected an integer, got 1.0$"),
    (_check.integer, ("x", True, 0), TypeError, "^x: expected an integer, got True$"),
    (_check.integer, ("x", np.True_, 0), TypeError, "^x: expected an integer, got np.True_$"),
    (_check.integer, ("x", 0, 1), ValueError, r"^x: expected an integer in \[1, inf\], got 0$"),
    (_check.integer, ("x", 4, 1, 3), ValueError, r"^x: expected an integer in \[1, 3\], got 4$"),
    (_check.partition, ("x", [0.0, 1.0], 2), TypeError, "^x: expected integer labels, got dtype float64$"),
    (_check.partition, ("x", [True, False], 2), TypeError, "^x: expected integer labels, got dtype bool$"),
    (_check.partition, ("x", [0, 1], 3), ValueError, r"^x: expected shape \(3,\), got shape \(2,\)$"),
    (_check.generator, ("x", 0), TypeError, "^x: expected a numpy.random.Generator, got int$"),
    (_check.choice, ("x", "c", ("a", "b")), ValueError, "^x: expected one of a, b, got 'c'$"),
]


@pytest.mark.parametrize(("check", "arguments", "error", "message"), REFUSED)
def test_what_is_refused_says_why_in_one_line(check, arguments, error, message):
    with pytest.raises(error, match=message) as refusal:
        check(*arguments)
    assert "\n" not in str(refusal.value)


def test_sizes_are_refused_by_name():
    with pytest.raises(ValueError, match=r"^x: expected 2 rows, got shape \(1, 3\)$"):
        _check.matrix("x", np.ones((1, 3)), rows=2)
    with pytest.raises(ValueError, match=r"^x: expected 2 columns, got shape \(1, 3\)$"):
        _check.matrix("x", np.ones((1, 3)), columns=2)
    for check in (_check.square, _check.kernel, _check.projector):
        with pytest.raises(ValueError, match=r"^x: expected 3 rows, got shape \(2, 2\)$"):
            check("x", np.eye(2), size=3)
    with pytest.raises(ValueError, match=r"^x: expected 3 rows, got shape \(2, 1\)$"):
        _check.basis("x", [[1.0], [0.0]], rows=3)
    with pytest.raises(ValueError, match=r"^x: expected at least one entry, got shape \(2, 0\)$"):
        _check.basis("x", np.zeros((2, 0)), rows=3)


LET_THROUGH = [
    (_check.array, ("x", [[[1]]], 3)),
    (_check.matrix, ("x", np.ones((1, 3), dtype=np.float32))),
    (_check.square, ("x", [[1, 2], [3, 4]])),
    (_check.kernel, ("x", [[1.0, 2.0], [2.0, 4.0]])),
    (_check.kernel, ("x", [[1.0, 2.0], [2.0 + 1e-9, 4.0]])),
    (_check.kernel, ("x", np.zeros((2, 2)))),
    (_check.projector, ("x", [[0.5, 0.5], [0.5, 0.5]])),
    (_check.projector, ("x", np.zeros((2, 2)))),
    (_check.basis, ("x", [[0.6], [0.8]])),
    (_check.basis, ("x", np.zeros((3, 0)))),
    (_check.vector, ("x", np.array([True, False]))),
    (_check.probabilities, ("x", [0.0, 1.0], 2)),
]


@pytest.mark.parametrize(("check", "arguments"), LET_THROUGH)
def test_what_is_let_through_comes_back_as_float64(check, arguments):
    found = check(*arguments)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, arguments[1])


def test_float64_is_not_copied():
    given = np.eye(2)
    assert _check.kernel("x", given) is given


def test_sizes_that_fit_are_let_through():
    for check in (_check.square, _check.kernel, _check.projector):
        np.testing.assert_array_equal(check("x", np.eye(2), size=2), np.eye(2))
    assert _check.matrix("x", np.ones((1, 3)), rows=1, columns=3).shape == (1, 3)
    assert _check.basis("x", np.zeros((3, 0)), rows=3).shape == (3, 0)
    assert _check.vector("x", [1.0, 2.0], 2).shape == (2,)


def test_numbers_come_back_as_python_numbers():
    assert _check.scalar("x", np.float32(0.5)) == 0.5
    assert _check.positive("x", 2) == 2.0
    assert _check.nonnegative("x", 0) == 0.0
    assert (_check.fraction("x", 0), _check.fraction("x", 1)) == (0.0, 1.0)
    assert _check.below_one("x", 0) == 0.0
    assert all(type(check("x", 0.5)) is float for check in (_check.scalar, _check.positive, _check.fraction))
    assert _check.integer("x", np.int32(3), 3, 3) == 3
    assert type(_check.integer("x", np.int32(3), 3)) is int


def test_the_rest_comes_back_as_it_is():
    rng = np.random.default_rng(0)
    assert _check.generator("rng", rng) is rng
    assert _check.choice("x", "b", ("a", "b")) == "b"
    labels = _check.partition("x", np.array([3, 1], dtype=np.int8), 2)
    assert labels.dtype == np.int64
    assert labels.tolist() == [3, 1]
    assert _check.probabilities("x", None, 4).tolist() == [0.25] * 4


def test_the_tolerance_of_symmetry_is_relative():
    _check.kernel("x", [[1e12, 1e3], [1e3 + 1, 1e12]])
    with pytest.raises(ValueError, match="symmetric"):
        _check.kernel("x", [[1e-12, 0.0], [1e-12, 1e-12]])
