"""How far a predictor is from the network itself, from features that keep the head (`head_preserving`): any arrays."""

from __future__ import annotations

from dntk_fast import _check
from dntk_fast._arrays import Array, apply, double, gram, identity, namespace, solve_positive, transpose

__all__ = ["certified", "fidelity_bound", "fidelity_error"]

# Test points whose features are worked on at a time.
_POINTS = 256


def fidelity_error(rows: Array, network_weights: Array, test: Array, lam: float | Array) -> Array:
    """The exact error against the network: f - f_hat = lam phi^T (Phi^T Phi + lam I)^-1 w_0, for targets y = Phi w_0.

    Parameters: rows (C, m, k), network_weights (0; W_c, b_c) (C, k), test (C, t, k), lam > 0. Returns: (C, t), float64.
    Raises: ValueError, TypeError for what does not fit.
    Source: `head_preserving`.

    >>> import torch
    >>> fidelity_error(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[2.0, 5.0]]), torch.eye(2)[None], 1.0)
    tensor([[1., 5.]], dtype=torch.float64)
    """
    Phi, test = _feature_stacks(rows, test)
    w = double(_check.array_like("network_weights", network_weights, rows, (Phi.shape[0], Phi.shape[2])))
    parts = [apply(_shrunk(Phi, part, lam, rows), w) for part in _in_parts(test)]
    return namespace(Phi).concat(parts, axis=1)


def fidelity_bound(rows: Array, network_norm: Array, test: Array, lam: float | Array) -> Array:
    """The network-fidelity certificate |f - f_hat| <= |(W_c, b_c)| |phi - Phi^T a|, a = (K + lam I)^-1 Phi phi.

    For head-preserving features, targets y = f(X) on any inputs (real or distilled) and any synthesis U, Phi = U^T Phi~.
    |phi - Phi^T a|^2 = kappa - 2 k^T a + a^T K a, without the cancellation.
    Parameters: rows (C, m, k), network_norm (C,), test (C, t, k), lam > 0. Returns: (C, t), float64. Raises: ValueError,
    TypeError for what does not fit.
    Source: `head_preserving`.

    >>> import torch
    >>> fidelity_bound(torch.tensor([[[1.0, 0.0]]]), torch.tensor([5.0]), torch.eye(2)[None], 1.0)
    tensor([[2.5000, 5.0000]], dtype=torch.float64)
    """
    Phi, test = _feature_stacks(rows, test)
    norm = double(_check.array_like("network_norm", network_norm, rows, (Phi.shape[0],)))
    if bool(namespace(norm).any(norm < 0)):
        _check.refuse("network_norm", "numbers that are 0 or above", float(namespace(norm).min(norm)))
    xp = namespace(Phi)
    lengths = [xp.sqrt(xp.sum(_shrunk(Phi, part, lam, rows) ** 2, axis=-1)) for part in _in_parts(test)]
    return norm[:, None] * xp.concat(lengths, axis=1)


def certified(predictions: Array, bounds: Array) -> Array:
    """Where the predicted class is proven: f_c1 - B_c1 > f_c + B_c for all c but the predicted c1 (`certificate_held_out`).

    Parameters: predictions (C, t), bounds (C, t) >= 0 on the error of each. Returns: (t,) of booleans. Raises: ValueError,
    TypeError for another shape or a negative bound.

    >>> import torch
    >>> certified(torch.tensor([[3.0, 3.0], [1.0, 1.0]]), torch.tensor([[0.5, 1.0], [0.5, 1.0]])).tolist()
    [True, False]
    """
    f = double(_check.rows("predictions", predictions, ndim=2))
    B = double(_check.array_like("bounds", bounds, predictions, tuple(f.shape)))
    xp = namespace(f)
    if bool(xp.any(B < 0)):
        _check.refuse("bounds", "numbers that are 0 or above", float(xp.min(B)))
    first = xp.argmax(f, axis=0, keepdims=True)
    rivals = xp.arange(f.shape[0], device=f.device)[:, None] != first
    least = xp.take_along_axis(f - B, first, axis=0)[0, ...]
    return least > xp.max(xp.where(rivals, f + B, -xp.inf * xp.ones_like(f)), axis=0)


def _feature_stacks(rows: Array, test: Array) -> tuple[Array, Array]:
    Phi = double(_check.rows("rows", rows, ndim=3))
    found = _check.rows("test", test, ndim=3)
    return Phi, double(_check.array_like("test", found, rows, (Phi.shape[0], None, Phi.shape[2])))


def _in_parts(test: Array) -> list[Array]:
    t = test.shape[1]
    return [test[:, at : min(at + _POINTS, t), :] for at in range(0, t, _POINTS)]


def _shrunk(Phi: Array, phi: Array, lam: float | Array, like: Array) -> Array:
    """Rows of (Phi^T Phi / lam + I)^-1 phi = phi - Phi^T (K + lam I)^-1 Phi phi, (C, t, k).

    Refined once: the two terms agree in all but a share lam / lambda of their digits, and so the rest has as few.
    """
    ridge = _check.ridge("lam", lam, like, (Phi.shape[0],))[..., None, None]
    inside = gram(Phi) + ridge * identity(Phi.shape[1], Phi)

    def once(b: Array) -> Array:
        return b - transpose(solve_positive(inside, Phi @ transpose(b))) @ Phi

    found = once(phi)
    return found + once(phi - found - found @ transpose(Phi) @ Phi / ridge)
