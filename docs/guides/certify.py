"""Certify: how far a distilled predictor is from the kernel machine on all data, without forming its kernel."""

import torch

import dntk_fast as dntk

# %% The full problem: all images, all parameters, targets from the network. Nothing of it is formed.
digits = dntk.load("digits")
x, y, new = digits.x_train[:60], digits.y_train[:60], digits.x_test[:10]
model = dntk.train(dntk.build("conv8", seed=0), x, y, epochs=6, seed=0).model
targets = model(x).detach().T
lam = 1e-2 * float(dntk.Jacobian(model).diagonal(x).mean())
problem = dntk.FullProblem(model, x, targets, lam)

# %% A distilled predictor, its residual by products, and bounds through a third of the training rows.
weights = dntk.DistilledNTK(model, per_class=3, seed=0).fit(x, y).parameter_weights()
subset = dntk.training_subset(problem, torch.arange(0, 60, 3))
test = dntk.held_out(subset, new)
measured = dntk.SubsetResidual(subset, dntk.residual(problem, weights))
bounds = dntk.held_out_bounds(measured, test)
weights_bound = dntk.certify(measured).weights
print("bound on the error of the weights, first logits:", weights_bound[:3].round(decimals=2).tolist())

# %% Small enough to look: the exact kernel machine on the same inputs.
J = dntk.Jacobian(model)
K, cross = J.kernel(x), J.kernel(new, x)
shifted = K + lam * torch.eye(60, dtype=torch.float64)
alpha = torch.linalg.solve(shifted, targets.double()[..., None])
exact = (cross @ alpha)[..., 0]
error = (problem.predict(weights, new).double() - exact).square().mean(1).sqrt()
print(f"held-out RMS: true {float(error.max()):.3f}, certified at most {float(bounds.rms.max()):.3f}")
assert (error <= bounds.rms).all()

# %% Not near enough? Certified conjugate gradients go to the full predictor, and say when they are there.
better = dntk.refine(problem, weights, subset, test, rms=1e-2, steps=30)
print("converged:", better.converged, f"certified RMS {float(better.held_out.rms.max()):.4f}")
assert better.converged
