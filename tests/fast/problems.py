"""Ridge problems of small networks whose exact solution is formed by plain automatic differentiation."""

import torch
from torch import nn

from dntk_fast.certificates.certificate import (
    FullProblem,
    training_subset,
)
from dntk_fast.kernels.ridge import ridge_weights
from tests.fast.plain import features
from tests.tolerances import TOL


def flat(weights):
    return torch.cat([w.flatten(1) for w in weights.values()], 1)


def named(model, rows):
    parts = rows.split([p.numel() for p in model.parameters()], 1)
    pairs = zip(model.named_parameters(), parts, strict=True)
    return {name: part.reshape(len(rows), *p.shape) for (name, p), part in pairs}


def network(seed, dtype=torch.float64):
    torch.manual_seed(seed)
    layers = nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3).eval(), nn.Tanh(), nn.Flatten(), nn.Linear(9, 2)
    return nn.Sequential(*layers).to(dtype).eval()


class Case:
    """A small network, a full problem with one lam per class, weights, and everything formed."""

    def __init__(self, seed, n=5, t=3, m=2, dtype=torch.float64):
        self.model, self.x = network(seed, dtype), torch.randn(n, 2, 4, dtype=dtype)
        self.test = torch.randn(t, 2, 4, dtype=dtype)
        y, self.lam = torch.randn(2, n, dtype=dtype), torch.tensor([0.3, 3.0], dtype=dtype)
        self.problem = FullProblem(self.model, self.x, y, self.lam)
        exact = network(seed)
        exact.load_state_dict({k: v.double() for k, v in self.model.state_dict().items()})
        self.Phi, self.Phi_t = features(exact, self.x.double()), features(exact, self.test.double())
        self.y, self.ridge = y.double(), self.lam.double()
        self.star = ridge_weights(self.Phi, self.y, self.ridge)
        self.w = torch.randn_like(self.star).to(dtype)
        self.subset = training_subset(self.problem, torch.randperm(n)[:m])

    def product(self, matrix, vector):
        return (matrix @ vector.double()[..., None])[..., 0]

    def true_residual(self, w):
        return self.product(self.Phi.mT, self.product(self.Phi, w) - self.y) + self.ridge[:, None] * w.double()

    def errors(self, w):
        """Held-out errors (C, t), training RMS (C,), excess (C,), distance (C,)."""
        d = w.double() - self.star
        r = self.true_residual(w)
        return (
            self.product(self.Phi_t, d),
            self.product(self.Phi, d).square().mean(1).sqrt(),
            (r * d).sum(1) / 2,
            d.norm(dim=1),
        )


def at_most(truth, bound):
    return bool((truth <= bound * (1 + TOL["float64"]) + TOL["float64"]).all())
