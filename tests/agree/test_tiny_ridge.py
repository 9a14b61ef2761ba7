"""At a tiny ridge the fast certificates lie above exact arithmetic on the same numbers, and near it in float64."""

import numpy as np
import pytest
import torch
from flint import arb, ctx

from dntk_fast.certificates.certificate import FullProblem, SubsetResidual, held_out, residual, training_subset
from proofs_checks.references.balls import PRECISION, balls, eye, inverse, root

# Roundings of ten rows' products and one decomposition, times the condition number lambda_1 / lam of K_SS + lam I.
UNITS = 200


def made(seed, ratio, dtype):
    """A linear network, whose gradients are its inputs: features exact in float32, a residual, and half of the rows."""
    rng = np.random.default_rng(seed)
    n, k = ((4, 6), (6, 4), (5, 5))[seed % 3]
    Phi, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((n, k), (1, 1, k)))
    lam = ratio * float(np.linalg.norm(Phi, 2) ** 2)
    targets = torch.tensor(rng.standard_normal((1, n)), dtype=dtype)
    problem = FullProblem(torch.nn.Linear(k, 1, bias=False, dtype=dtype), torch.tensor(Phi, dtype=dtype), targets, lam)
    found = residual(problem, {"weight": torch.tensor(w, dtype=dtype)})
    return Phi.astype(float), problem, SubsetResidual(training_subset(problem, torch.arange(n // 2 + 1)), found)


def exact_forms(Phi, rows, lam, vectors):
    """x^T (Phi_S^T Phi_S + lam I)^-1 x in balls."""
    own = balls(Phi[rows])
    R = inverse(own.T @ own + eye(Phi.shape[1]) * arb(lam))
    return [np.sum(x * (R @ x)) for x in map(balls, vectors)]


@pytest.mark.parametrize("ratio", [1.0, 1e-6, 1e-10, 1e-12])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_energies_and_scales_are_never_below_the_exact_ones(ratio, dtype):
    for seed in range(3):
        Phi, problem, seen = made(seed, ratio, dtype)
        r = np.concatenate([v.double().numpy().ravel() for v in seen.residual.values.values()])
        scales = held_out(seen.subset, problem.x).scale[0].tolist()
        with ctx.workprec(PRECISION):
            energy, *forms = exact_forms(Phi, seen.subset.rows.numpy(), float(problem.ridge[0]), [r, *Phi])
            found, exact = [float(seen.energy(problem.ridge)[0]), *scales], [energy, *map(root, forms)]
            assert all(arb(a) >= b for a, b in zip(found, exact, strict=True))
            if dtype is torch.float64:
                unit = UNITS * 2.0**-52 / ratio
                assert all(float(arb(a) / b) <= 1 + unit for a, b in zip(found, exact, strict=True))
