"""One synthetic gradient per logit, the dual Cholesky and the primal eigendecomposition: one predictor on digits."""

import numpy as np
import pytest
import torch

from dntk_fast.distillation.gradient_distillation import exact_gradient
from dntk_fast.kernels.ridge import ridge_grid, ridge_path
from dntk_fast.tangent.features import tangent_features
from dntk_fast.workflow.data import load
from dntk_fast.workflow.models import build
from dntk_fast.workflow.training import train
from dntk_ref import ridge as reference
from tests.tolerances import TOL


@pytest.fixture(scope="module")
def digits():
    data = load("digits")
    model = train(build("conv8", seed=0), data.x_train[:600], data.y_train[:600], epochs=3, seed=0).model.double()
    rows, held_out = data.x_train[:150].double(), data.x_test[:60].double()
    values = [tangent_features(model, x, k=256, seed=1).values for x in (rows, held_out)]
    with torch.no_grad():
        return *values, model(rows).T


def relative(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


@pytest.mark.parametrize("share", [1e-6, 1e-3, 1e-1])
def test_one_gradient_equals_both_solvers_on_held_out_digits(digits, share):
    """1e-8 relative, as promised; both solvers lose about eps / share of the mean diagonal, 2e-10 at the smallest."""
    features, test, targets = digits
    for c in range(0, 10, 3):
        phi, phi_test, y = features[c], test[c], targets[c]
        lam = share * float(phi.square().sum(1).mean())
        one = exact_gradient(phi, y, lam)
        assert one.features.shape[0] == 1
        g, target = one.features[0], one.targets[0]
        single = (phi_test @ g * target / (g @ g + lam)).numpy()
        alpha = reference.dual_coefficients((phi @ phi.T).numpy(), y.numpy(), lam)
        dual = (phi_test @ phi.T).numpy() @ alpha
        path = ridge_path(phi, y, torch.tensor([lam], dtype=torch.float64))
        primal = (phi_test @ path.reshape(-1)).numpy()
        assert relative(single, dual) < TOL["squared_kernel"]
        assert relative(single, primal) < TOL["squared_kernel"]
        twin = (phi_test @ g * target / (g @ g)).numpy()  # the ridge forgotten
        assert relative(twin, dual) > 1e-8


def test_the_grid_spans_the_stated_multiples_of_the_mean_diagonal(digits):
    features = digits[0]
    kernel = features @ features.mT
    grid = np.asarray(ridge_grid(kernel))
    scale = float(kernel.diagonal(dim1=1, dim2=2).mean())
    np.testing.assert_allclose(grid / scale, 10.0 ** np.arange(-6, 2), rtol=TOL["float64"])
