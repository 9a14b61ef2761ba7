"""Certify: how far a distilled predictor is from the kernel machine on all data, without forming its kernel."""

import torch

from dntk_fast import (
    DistilledNTK,
    FullProblem,
    Jacobian,
    SubsetResidual,
    build,
    certify,
    held_out,
    held_out_bounds,
    load,
    refine,
    residual,
    train,
    training_subset,
)

# %% The full problem: all images, all parameters, targets from the network. Nothing of it is formed.
digits = load("digits")
x, y, new = digits.x_train[:100], digits.y_train[:100], digits.x_test[:20]
model = train(build("conv8", seed=0), x, y, epochs=6, seed=0).model
targets = model(x).detach().T
lam = 1e-2 * float(Jacobian(model).diagonal(x).mean())
problem = FullProblem(model, x, targets, lam)

# %% A distilled predictor, its residual by products, and bounds through a third of the training rows.
weights = DistilledNTK(model, per_class=3, seed=0).fit(x, y).parameter_weights()
subset = training_subset(problem, torch.arange(0, 100, 3))
test = held_out(subset, new)
measured = SubsetResidual(subset, residual(problem, weights))
bounds = held_out_bounds(measured, test)
print("bound on the error of the weights, per logit:", [round(float(b), 2) for b in certify(measured).weights[:3]])

# %% Small enough to look: the exact kernel machine on the same inputs.
K, cross = Jacobian(model).kernel(x), Jacobian(model).kernel(new, x)
alpha = torch.linalg.solve(K + lam * torch.eye(100, dtype=torch.float64), targets.double()[..., None])
exact = (cross @ alpha)[..., 0]
error = (problem.predict(weights, new).double() - exact).square().mean(1).sqrt()
print(f"held-out RMS: true {float(error.max()):.3f}, certified at most {float(bounds.rms.max()):.3f}")
assert (error <= bounds.rms).all()

# %% Not near enough? Certified conjugate gradients go to the full predictor, and say when they are there.
better = refine(problem, weights, subset, test, rms=1e-2, steps=30)
print("converged:", better.converged, f"certified RMS {float(better.held_out.rms.max()):.4f}")
assert better.converged
