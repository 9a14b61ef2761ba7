"""Predictors from kernels and from features are one predictor; scores mean what they are called."""

import numpy as np
import pytest
import torch

from dntk_fast.kernels.predictors import KernelProblem, fit_features, scores, weigh_rows
from tests.tolerances import TOL


def problem(n=40, k=25, C=3, t=15, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(C, n, k, generator=generator, dtype=torch.float64)
    test = torch.randn(C, t, k, generator=generator, dtype=torch.float64)
    weights = torch.randn(C, k, generator=generator, dtype=torch.float64)
    targets = torch.einsum("cnk,ck->cn", features, weights) + 0.3 * torch.randn(
        C, n, generator=generator, dtype=torch.float64
    )
    return features, targets, test


@pytest.mark.parametrize(("n", "k"), [(40, 25), (25, 40), (30, 30)])
@pytest.mark.parametrize("lam", [None, 0.5])
def test_kernel_and_features_give_one_predictor(n, k, lam):
    features, targets, test = problem(n, k)
    primal = fit_features(features, targets, test, lam=lam)
    dual = KernelProblem(features @ features.mT, test @ features.mT).fit(targets, lam=lam)
    assert primal.lam == pytest.approx(dual.lam, rel=TOL["float64"])
    assert primal.on_edge == dual.on_edge
    torch.testing.assert_close(
        primal.predictions, dual.predictions, rtol=0, atol=TOL["squared_kernel"] * float(targets.abs().max())
    )
    assert primal.effective_dimension == pytest.approx(dual.effective_dimension, rel=TOL["squared_kernel"])


def test_the_ridge_solves_its_equation():
    features, targets, test = problem()
    fit = fit_features(features, targets, test, lam=0.7)
    residual = torch.einsum("cnk,ck->cn", features, fit.weights) - targets
    gradient = torch.einsum("cnk,cn->ck", features, residual) + 0.7 * fit.weights
    assert float(gradient.abs().max()) < TOL["float64"] * float(features.abs().max() * targets.abs().sum())
    twin = torch.einsum("cnk,cn->ck", features, residual) - 0.7 * fit.weights  # the wrong sign of the ridge
    assert float(twin.abs().max()) > 0.1


def test_weighted_rows_solve_the_weighted_problem():
    """Against repeated rows: mass 3/4 and 1/4 on two rows is the first row three times and the second once."""
    features, targets, test = problem(2, 4)
    masses = torch.tensor([0.75, 0.25], dtype=torch.float64)
    rows, y = weigh_rows(features, targets, masses)
    repeated = fit_features(features[:, [0, 0, 0, 1]], targets[:, [0, 0, 0, 1]], test, lam=1.0)
    # the masses are taken over their mean: omega = (1.5, 0.5), half of the counts (3, 1), and so is the ridge
    weighted = fit_features(rows, y, test, lam=0.5)
    torch.testing.assert_close(weighted.predictions, repeated.predictions)
    assert not torch.allclose(fit_features(features, targets, test, lam=0.5).predictions, repeated.predictions)


def test_scores_are_counted_by_hand():
    logits = torch.tensor([[2.0, 0.0, 1.0, 0.0], [1.0, 3.0, 1.0, 1.0]])  # classes of the network: 0, 1, 0 (tie), 1
    guess = torch.tensor([[2.0, 5.0, 0.0, 0.0], [1.0, 3.0, 1.0, 1.0]])  # 0, 0, 1, 1
    found = scores(guess, logits, torch.tensor([0, 1, 1, 1]))
    assert (found.accuracy, found.fidelity) == (0.75, 0.5)
    assert found.mse == pytest.approx((25 + 1) / 8)
    assert found.mse_relative == pytest.approx(26 / 8 / np.var(logits.numpy().astype(float)))
