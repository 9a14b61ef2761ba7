"""The kernel of your own network: exact blocks, products, one number checked by hand."""

import torch
from torch import nn

from dntk_fast import Jacobian

# %% Any module with logits (n, C) will do, as long as it treats each sample by itself.
torch.manual_seed(0)
body = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU()
model = nn.Sequential(*body, nn.Flatten(), nn.Linear(256, 10)).eval()
x, new = torch.randn(12, 1, 8, 8), torch.randn(5, 1, 8, 8)

# %% The model is looked at once, then asked.
J = Jacobian(model)
K = J.kernel(x)  # (10, 12, 12): one kernel for each logit
cross = J.kernel(new, x)  # (10, 5, 12)
total = J.kernel_sum(x)  # (12, 12): their sum
norms = J.diagonal(x)  # (10, 12): squared norms of the gradients
print("kernels", tuple(K.shape), "symmetric:", bool((K.mT == K).all()))
values = torch.linalg.eigvalsh(K)
print(f"least eigenvalue over the largest: {float(values.amin() / values.amax()):.1e}")

# %% One entry by plain automatic differentiation: the inner product of two gradients of logit 3.
parameters = list(model.parameters())
one, two = (torch.autograd.grad(model(x[i : i + 1])[0, 3], parameters) for i in (0, 7))
by_hand = sum((a.double() * b.double()).sum() for a, b in zip(one, two, strict=True))
apart = float((K[3, 0, 7] - by_hand).abs() / by_hand.abs())
print(f"entry (0, 7) of logit 3, relative difference: {apart:.0e}")
assert torch.allclose(K[3, 0, 7], by_hand, rtol=1e-4)

# %% Nothing of size n x P is held: weights go in by name, products come out.
w = {name: torch.randn(p.shape) for name, p in model.named_parameters()}
moved = J.matvec(x, w)  # (10, 12): how each logit moves along w
back = J.rmatvec(x, torch.ones(10, 12))  # name -> (10, *shape): a sum of gradients
print("products", tuple(moved.shape), tuple(back["0.weight"].shape))

# %% A model that changed under it is refused, never silently answered for.
with torch.no_grad():
    model[5].bias.add_(1.0)
try:
    J.kernel(x)
except ValueError as error:
    print("refused:", str(error)[:60], "...")
