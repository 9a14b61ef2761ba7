"""Ridge regression: the fast path and the reference say the same, class by class."""

from dataclasses import astuple

import numpy as np
from hypothesis import given

from dntk_fast.kernels import ridge as fast
from dntk_ref import ridge as reference
from tests.fast.ridge_problems import as_ridge, problems
from tests.kinds import CLOSE, ROUNDED, back, kinds, to
from tests.tolerances import TOL


def by_class(function, *stacks, lam):
    lams = np.broadcast_to(lam, len(stacks[0]))
    return np.stack([function(*parts, float(one)) for *parts, one in zip(*stacks, lams, strict=True)])


@kinds
@given(problem=problems())
def test_solves_agree(kind, problem):
    Phi, y, lam = problem
    K, given_ridge = Phi @ Phi.swapaxes(1, 2), as_ridge(kind, lam)
    pairs = [
        (
            fast.ridge_weights(to(kind, Phi), to(kind, y), given_ridge),
            by_class(reference.ridge_weights, Phi, y, lam=lam),
        ),
        (
            fast.dual_coefficients(to(kind, K), to(kind, y), given_ridge),
            by_class(reference.dual_coefficients, K, y, lam=lam),
        ),
        (fast.leave_one_out(to(kind, K), to(kind, y), given_ridge), by_class(reference.leave_one_out, K, y, lam=lam)),
        (fast.leverage(to(kind, K), given_ridge), by_class(reference.leverage, K, lam=lam)),
        (fast.effective_dimension(to(kind, K), given_ridge), by_class(reference.effective_dimension, K, lam=lam)),
        (fast.ridge_grid(to(kind, K)), reference.ridge_grid(K)),
    ]
    for found, expected in pairs:
        np.testing.assert_allclose(back(found), expected, **CLOSE)


@kinds
@given(problem=problems())
def test_truncated_solves_agree_where_the_leading_space_is_unique(kind, problem):
    Phi, y, lam = problem
    values = np.linalg.svd(Phi, compute_uv=False) ** 2
    for r in range(1, min(Phi.shape[1:]) + 1):
        following = values[:, r] if r < values.shape[1] else np.zeros(len(values))
        if (values[:, r - 1] - following).min() > TOL["apart"] ** 0.5:
            found = fast.rank_r_weights(to(kind, Phi), to(kind, y), as_ridge(kind, lam), r)
            expected = by_class(lambda P, t, one, r=r: reference.rank_r_weights(P, t, one, r), Phi, y, lam=lam)
            np.testing.assert_allclose(back(found), expected, **CLOSE)


@kinds
@given(problem=problems(rows=(2, 6)))
def test_the_choice_agrees(kind, problem):
    Phi, y, _ = problem
    K, grid = Phi @ Phi.swapaxes(1, 2), reference.ridge_grid(Phi @ Phi.swapaxes(1, 2))
    losses = back(fast.leave_one_out_path(to(kind, K), to(kind, y), to(kind, grid)) ** 2).mean(axis=1)
    found, expected = fast.choose_ridge(to(kind, losses), to(kind, grid)), reference.choose_ridge(losses, grid)
    assert astuple(found) == astuple(expected)


@kinds
@given(problem=problems())
def test_float32_gives_the_answer_to_its_own_numbers(kind, problem):
    Phi, y, lam = (np.asarray(part, dtype="float32") for part in problem)
    found = fast.ridge_weights(
        to(kind, Phi, "float32"), to(kind, y, "float32"), to(kind, lam, "float32") if lam.ndim else float(lam)
    )
    expected = by_class(reference.ridge_weights, Phi.astype("float64"), y.astype("float64"), lam=lam.astype("float64"))
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(back(found) / scale, expected / scale, **ROUNDED)
