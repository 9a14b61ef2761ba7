"""The joint tangent space T_S of all logits (Eq 3) and ridge regression in it: one weight vector for every logit.

`jacobian` is (C, m, P): the gradients of C logits at m inputs. Its rows, stacked input by input (`stacked_gradients`),
span T_S; a block is the C x C matrix of one input with another. Each logit alone would have the span of its own m rows.
"""

import numpy as np
from numpy.typing import ArrayLike

from dntk_ref import _check
from dntk_ref._check import Array
from dntk_ref.ridge import dual_coefficients, dual_inverse
from dntk_ref.subspace import span_projector, stacked_gradients

__all__ = [
    "block_kernel",
    "captured_energy",
    "captured_energy_per_class",
    "cotangent_gradients",
    "cotangent_targets",
    "image_losses",
    "joint_coefficients",
    "joint_prediction",
    "joint_weights",
    "leave_one_image_out",
    "leave_one_image_out_by_refitting",
    "pooled_pca_energy",
    "stacked_targets",
]


def block_kernel(jacobian: ArrayLike, other: ArrayLike | None = None) -> Array:
    """The kernel with all its blocks, K = J_S J_S'^T, K_((i,c),(j,d)) = <phi_c(s_i), phi_d(s'_j)>  (Eqs 1, 3).

    Parameters: jacobian (C, m, P), other (C, t, P), by default the same. Returns: (m C, t C), rows ordered by input,
    then logit. Raises: ValueError for another number of parameters.

    >>> block_kernel([[[1.0, 0.0]], [[1.0, 2.0]]]).tolist()
    [[1.0, 1.0], [1.0, 5.0]]
    """
    J = stacked_gradients(jacobian)
    right = J if other is None else _check.matrix("other", stacked_gradients(other), columns=J.shape[1])
    return J @ right.T


def stacked_targets(targets: ArrayLike) -> Array:
    """Targets in the order of the stacked gradients: by input, then logit.

    Parameters: targets (C, m). Returns: (m C,). Raises: ValueError unless it is a matrix.

    >>> stacked_targets([[1.0, 2.0], [3.0, 4.0]]).tolist()
    [1.0, 3.0, 2.0, 4.0]
    """
    return _check.matrix("targets", targets).T.reshape(-1)


def joint_coefficients(jacobian: ArrayLike, targets: ArrayLike, lam: float) -> Array:
    """The coefficients of the joint solve, (J_S J_S^T + lam I) alpha = y with all logits of all inputs in y  (Eqs 3, 16).

    Parameters: jacobian (C, m, P), targets (C, m), lam > 0. Returns: (C, m). Raises: ValueError for shapes that do not
    fit or lam <= 0.

    >>> joint_coefficients([[[1.0, 0.0]], [[0.0, 1.0]]], [[4.0], [6.0]], 1.0).tolist()
    [[2.0], [3.0]]
    """
    J = _check.array("jacobian", jacobian, 3)
    y = stacked_targets(_check.matrix("targets", targets, rows=J.shape[0], columns=J.shape[1]))
    return np.asarray(dual_coefficients(block_kernel(J), y, lam).reshape(J.shape[1], J.shape[0]).T)


def joint_weights(jacobian: ArrayLike, targets: ArrayLike, lam: float) -> Array:
    """One weight vector in T_S for all logits: argmin_w sum_(i,c) (phi_c(s_i) . w - y_ci)^2 + lam |w|^2  (Eq 3).

    w = J_S^T (J_S J_S^T + lam I)^-1 y.
    Parameters: jacobian (C, m, P), targets (C, m), lam > 0. Returns: (P,). Raises: as `joint_coefficients`.

    >>> joint_weights([[[2.0, 0.0]], [[0.0, 1.0]]], [[5.0], [2.0]], 1.0).tolist()
    [2.0, 1.0]
    """
    alpha = joint_coefficients(jacobian, targets, lam)
    return np.asarray(np.einsum("cmp,cm->p", np.asarray(jacobian, float), alpha))


def joint_prediction(features: ArrayLike, jacobian: ArrayLike, targets: ArrayLike, lam: float) -> Array:
    """All logits from the one weight vector: f_c(x) = phi_c(x) . w.

    Parameters: features (C, t, P), the others as in `joint_weights`. Returns: (C, t). Raises: ValueError for another
    number of logits or parameters.

    >>> joint_prediction([[[1.0, 1.0]], [[0.0, 1.0]]], [[[2.0, 0.0]], [[0.0, 1.0]]], [[5.0], [2.0]], 1.0).tolist()
    [[3.0], [1.0]]
    """
    return _same_network(features, jacobian) @ joint_weights(jacobian, targets, lam)


# --- the ridge: leave out images, not rows ----------------------------------------------------------------------------


def leave_one_image_out(jacobian: ArrayLike, targets: ArrayLike, lam: float) -> Array:
    """The residuals of an input's logits by the fit without that input: e_i = ([(K + lam I)^-1]_ii)^-1 alpha_i.

    [.]_ii is the C x C block of input i. The rows of an input are dependent, so leaving out one of them would let the
    others tell its target.
    Parameters: jacobian (C, m, P), targets (C, m), lam > 0. Returns: (C, m). Raises: as `joint_coefficients`.

    >>> leave_one_image_out([[[1.0], [0.0]], [[1.0], [1.0]]], [[2.0, 0.0], [2.0, 0.0]], 1.0).round(9).tolist()
    [[2.0, 0.0], [2.0, -1.333333333]]
    """
    alpha = joint_coefficients(jacobian, targets, lam)
    C, m = alpha.shape
    inverse = dual_inverse(block_kernel(jacobian), lam).reshape(m, C, m, C)
    return np.column_stack([np.linalg.solve(inverse[i, :, i], alpha[:, i]) for i in range(m)])


def leave_one_image_out_by_refitting(jacobian: ArrayLike, targets: ArrayLike, lam: float) -> Array:
    """The same residuals by their definition: m fits, each without one input (m >= 2).

    Parameters: jacobian (C, m, P), targets (C, m), lam > 0. Returns: (C, m). Raises: ValueError for a single input.

    >>> leave_one_image_out_by_refitting([[[1.0], [1.0]]], [[2.0, 0.0]], 1.0).tolist()
    [[2.0, -1.0]]
    """
    J = _check.array("jacobian", jacobian, 3)
    y = _check.matrix("targets", targets, rows=J.shape[0], columns=J.shape[1])
    m = _check.integer("number of inputs", J.shape[1], 2)

    def residual(i: int) -> Array:
        rest = np.arange(m) != i
        return y[:, i] - joint_prediction(J[:, [i]], J[:, rest], y[:, rest], lam)[:, 0]

    return np.column_stack([residual(i) for i in range(m)])


def image_losses(residuals: ArrayLike) -> Array:
    """The loss of each input, the mean of its squared residuals over the logits: the examples of `ridge.choose_ridge`.

    Parameters: residuals (C, m). Returns: (m,). Raises: ValueError unless it is a matrix.

    >>> image_losses([[1.0, 0.0], [3.0, 2.0]]).tolist()
    [5.0, 2.0]
    """
    return np.asarray(np.mean(_check.matrix("residuals", residuals) ** 2, axis=0))


# --- how much of the gradients T_S holds ------------------------------------------------------------------------------


def captured_energy(features: ArrayLike, jacobian: ArrayLike) -> float:
    """The share of held-out gradient energy inside T_S: 1 - tr((I - Pi_S) A) / tr A  (Prop 3.6, docs/measures.md).

    A is the second moment of the gradients of all logits.
    Parameters: features (C, t, P) at held-out inputs, jacobian (C, m, P). Returns: a number in [0, 1]. Raises:
    ValueError for another network, or gradients that are all zero.

    >>> round(captured_energy([[[1.0, 0.0]], [[0.0, 2.0]]], [[[0.0, 5.0]], [[0.0, 1.0]]]), 12)
    0.8
    """
    Phi = _same_network(features, jacobian)
    return _share(Phi @ span_projector(stacked_gradients(jacobian)), Phi)


def captured_energy_per_class(features: ArrayLike, jacobian: ArrayLike) -> float:
    """The same where each logit has the span of its own gradients alone: sum_c |Phi_c Pi_c|_F^2 / sum_c |Phi_c|_F^2.

    Parameters, Returns, Raises: as `captured_energy`.

    >>> captured_energy_per_class([[[1.0, 0.0]], [[0.0, 2.0]]], [[[1.0, 0.0]], [[1.0, 0.0]]])
    0.2
    """
    Phi = _same_network(features, jacobian)
    own = [phi @ span_projector(rows) for phi, rows in zip(Phi, np.asarray(jacobian, float), strict=True)]
    return _share(np.stack(own), Phi)


def pooled_pca_energy(features: ArrayLike, gradients: int) -> float:
    """What no span of so many gradients exceeds: the share of the largest eigenvalues of the second moment (Cor 3.5).

    Parameters: features (C, t, P), gradients >= 0. Returns: a number in [0, 1]. Raises: ValueError for gradients that
    are all zero.

    >>> pooled_pca_energy([[[2.0, 0.0]], [[0.0, 1.0]]], 1)
    0.8
    """
    Phi = _check.array("features", features, 3)
    energy = np.linalg.svd(stacked_gradients(Phi), compute_uv=False) ** 2
    total = _check.positive("energy of the features", energy.sum())
    return float(energy[: _check.integer("gradients", gradients, 0)].sum() / total)


# --- one cotangent instead of all logits ------------------------------------------------------------------------------


def cotangent_gradients(jacobian: ArrayLike, cotangents: ArrayLike) -> Array:
    """One gradient for each input, J(s_i)^T v_i: that of the mixture of logits v_i . f(s_i), by one backward pass.

    Where E v v^T = I its second moment is that of all logits, E J^T v v^T J = J^T J; with one v for all inputs its
    kernel has the mean sum_c K_c.
    Parameters: jacobian (C, m, P), cotangents (C, m). Returns: (m, P). Raises: ValueError for shapes that do not fit.

    >>> cotangent_gradients([[[1.0, 0.0]], [[0.0, 1.0]]], [[2.0], [-1.0]]).tolist()
    [[2.0, -1.0]]
    """
    J = _check.array("jacobian", jacobian, 3)
    v = _check.matrix("cotangents", cotangents, rows=J.shape[0], columns=J.shape[1])
    return np.asarray(np.einsum("cm,cmp->mp", v, J))


def cotangent_targets(targets: ArrayLike, cotangents: ArrayLike) -> Array:
    """The targets that belong to them: v_i . y_i.

    Parameters: targets (C, m), cotangents (C, m). Returns: (m,). Raises: ValueError for shapes that do not fit.

    >>> cotangent_targets([[3.0], [4.0]], [[2.0], [-1.0]]).tolist()
    [2.0]
    """
    y = _check.matrix("targets", targets)
    return np.asarray(np.sum(y * _check.matrix("cotangents", cotangents, rows=y.shape[0], columns=y.shape[1]), axis=0))


def _same_network(features: ArrayLike, jacobian: ArrayLike) -> Array:
    """The features, of as many logits and parameters as the Jacobian."""
    Phi, J = _check.array("features", features, 3), _check.array("jacobian", jacobian, 3)
    if (Phi.shape[0], Phi.shape[2]) != (J.shape[0], J.shape[2]):
        raise ValueError(f"features: expected shape ({J.shape[0]}, t, {J.shape[2]}), got {Phi.shape}")
    return Phi


def _share(inside: Array, Phi: Array) -> float:
    return float(np.sum(inside**2) / _check.positive("energy of the features", np.sum(Phi**2)))
