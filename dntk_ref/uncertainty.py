"""How sure the tangent kernel is: predictive variance, class probabilities averaged over it, and a score of shift.

The variance is that of a Gaussian process with covariance K and noise lam, in units in which the prior has amplitude 1.
It depends on the inputs alone: no labels, no targets.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax

from dntk_ref import _check
from dntk_ref._check import Array
from dntk_ref.ridge import dual_coefficients

__all__ = [
    "joint_variance",
    "joint_variance_by_features",
    "predictive_variance",
    "predictive_variance_by_features",
    "prior_amplitude",
    "probit_probabilities",
    "shift_score",
]


def predictive_variance(own: ArrayLike, cross: ArrayLike, kernel: ArrayLike, lam: float) -> Array:
    """The predictive variance in the dual: v_c(x) = K_c(x, x) - k_c(x)^T (K_c + lam I)^-1 k_c(x).

    Parameters: own (C, t) the values K_c(x, x), cross (C, t, n), kernel (C, n, n), lam > 0. Returns: (C, t).
    Raises: ValueError for shapes that do not fit or lam <= 0.

    >>> predictive_variance([[4.0]], [[[2.0]]], [[[1.0]]], 1.0).tolist()
    [[2.0]]
    """
    K, lam = _check.array("kernel", kernel, 3), _check.positive("lam", lam)
    C, n, _ = K.shape
    k = _blocks("cross", cross, (C, None, n))
    d = _check.matrix("own", own, rows=C, columns=k.shape[1])

    def one(d_c: Array, k_c: Array, K_c: Array) -> Array:
        regularised = _check.kernel("kernel", K_c) + lam * np.eye(n)
        return np.asarray(d_c - np.sum(k_c * np.linalg.solve(regularised, k_c.T).T, axis=1))

    return np.stack([one(*parts) for parts in zip(d, k, K, strict=True)])


def predictive_variance_by_features(new: ArrayLike, features: ArrayLike, lam: float) -> Array:
    """The same in the primal: v_c(x) = lam phi_c(x)^T (Phi_c^T Phi_c + lam I)^-1 phi_c(x), by Woodbury (17).

    Parameters: new (C, t, k), features (C, n, k), lam > 0. Returns: (C, t). Raises: ValueError for shapes or lam <= 0.

    >>> predictive_variance_by_features([[[2.0]]], [[[1.0]]], 1.0).tolist()
    [[2.0]]
    """
    Phi, lam = _check.array("features", features, 3), _check.positive("lam", lam)
    C, _, k = Phi.shape
    phi = _blocks("new", new, (C, None, k))

    def one(phi_c: Array, Phi_c: Array) -> Array:
        return np.asarray(lam * np.sum(phi_c * np.linalg.solve(Phi_c.T @ Phi_c + lam * np.eye(k), phi_c.T).T, axis=1))

    return np.stack([one(*parts) for parts in zip(phi, Phi, strict=True)])


def joint_variance(own: ArrayLike, cross: ArrayLike, kernel: ArrayLike, lam: float) -> Array:
    """The predictive covariance of all logits, K(x, x) - K(x, X) (K(X, X) + lam I)^-1 K(X, x) with C x C blocks.

    One weight vector serves all logits, so that the gradient of one logit tells of another; per class they do not.
    Parameters: own (t, C, C), cross (t, C, n, C), kernel (n, C, n, C), lam > 0. Returns: (t, C, C), symmetric.
    Raises: ValueError for shapes that do not fit or lam <= 0.

    >>> joint_variance([[[4.0]]], [[[[2.0]]]], [[[[1.0]]]], 1.0).tolist()
    [[[2.0]]]
    """
    K, lam = _check.array("kernel", kernel, 4), _check.positive("lam", lam)
    n, C = K.shape[:2]
    if K.shape[2:] != (n, C):
        raise ValueError(f"kernel: expected shape ({n}, {C}, {n}, {C}), got {K.shape}")
    whole = _check.kernel("kernel", K.reshape(n * C, n * C)) + lam * np.eye(n * C)
    d = _blocks("own", own, (None, C, C))
    flat = _blocks("cross", cross, (len(d), C, n, C)).reshape(len(d), C, n * C)

    def one(d_x: Array, k_x: Array) -> Array:
        return np.asarray(_check.kernel("own", d_x, size=C) - k_x @ np.linalg.solve(whole, k_x.T))

    return np.stack([one(*parts) for parts in zip(d, flat, strict=True)])


def joint_variance_by_features(new: ArrayLike, jacobian: ArrayLike, lam: float) -> Array:
    """The same in the primal: lam J(x) (sum_i J(x_i)^T J(x_i) + lam I)^-1 J(x)^T.

    Parameters: new (t, C, P), jacobian (n, C, P), lam > 0. Returns: (t, C, C). Raises: ValueError for shapes or lam <= 0.

    >>> joint_variance_by_features([[[2.0]]], [[[1.0]]], 1.0).tolist()
    [[[2.0]]]
    """
    J, lam = _check.array("jacobian", jacobian, 3), _check.positive("lam", lam)
    rows = J.reshape(-1, J.shape[2])
    inverse = np.linalg.inv(rows.T @ rows + lam * np.eye(rows.shape[1]))
    return np.stack([lam * J_x @ inverse @ J_x.T for J_x in _blocks("new", new, (None, *J.shape[1:]))])


def prior_amplitude(kernel: ArrayLike, targets: ArrayLike, lam: float) -> Array:
    """The amplitude of the prior at which the targets are likeliest: a_c = y_c^T (K_c + lam I)^-1 y_c / n.

    Under y_c ~ N(0, a (K_c + lam I)) the likelihood is largest there; a variance is this times `predictive_variance`.
    Parameters: kernel (C, n, n), targets (C, n), lam > 0. Returns: (C,). Raises: ValueError for shapes or lam <= 0.

    >>> prior_amplitude([[[1.0, 0.0], [0.0, 1.0]]], [[2.0, 0.0]], 1.0).tolist()
    [1.0]
    """
    K = _check.array("kernel", kernel, 3)
    y = _check.matrix("targets", targets, rows=K.shape[0], columns=K.shape[1])
    return np.array([y_c @ dual_coefficients(K_c, y_c, lam) / y_c.size for K_c, y_c in zip(K, y, strict=True)])


def probit_probabilities(logits: ArrayLike, variance: ArrayLike) -> Array:
    """Class probabilities averaged over Gaussian logits, by the probit approximation: softmax_c f_c / (1 + pi v_c / 8)^1/2.

    MacKay (1992) for two classes, in its usual form for more; exact at variance zero.
    Parameters: logits (C, t), variance (C, t), none below 0. Returns: (C, t), columns summing to one.
    Raises: ValueError for a negative variance or shapes that do not fit.

    >>> probit_probabilities([[0.0], [0.0]], [[9.0], [9.0]]).tolist()
    [[0.5], [0.5]]
    """
    f = _check.matrix("logits", logits)
    v = _check.matrix("variance", variance, rows=f.shape[0], columns=f.shape[1])
    if v.min() < 0:
        raise ValueError(f"variance: expected numbers that are 0 or above, got {v.min():.6g}")
    return np.asarray(softmax(f / np.sqrt(1 + np.pi * v / 8), axis=0))


def shift_score(variance: ArrayLike) -> Array:
    """How unlike the training data an input is: the mean over classes of its predictive variance.

    Parameters: variance (C, t). Returns: (t,). Raises: ValueError unless it is a matrix.

    >>> shift_score([[1.0], [3.0]]).tolist()
    [2.0]
    """
    return np.asarray(_check.matrix("variance", variance).mean(axis=0))


def _blocks(name: str, value: ArrayLike, shape: tuple[int | None, ...]) -> Array:
    """An array of the stated shape, None standing for any length."""
    found = _check.array(name, value, len(shape))
    if any(want not in (None, got) for want, got in zip(shape, found.shape, strict=True)):
        expected = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{name}: expected shape ({expected}), got {found.shape}")
    return found
