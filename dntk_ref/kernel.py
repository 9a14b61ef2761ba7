"""The tangent kernel and its projections: Eqs (1), (7), (9), (10), (14), (15) and the arithmetic of section 3.1.

Sources: the kernel [JacotGabrielHongler2018], its distillation [DNTK2026].

Rows are examples: `features` is (n, P), its row i the gradient phi_c(x_i) of one logit; a Jacobian of all logits is
(C, n, P), its entry [c, i] the same row.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dntk_ref import _check
from dntk_ref._check import Array
from dntk_ref._nystrom import parts

__all__ = [
    "KernelResidual",
    "ResidualFactor",
    "ResourceCounts",
    "class_kernels",
    "contraction_kernel_bound_r1",
    "cross_gram",
    "differential",
    "full_ntk",
    "gram",
    "inducing_point_kernel",
    "inducing_point_kernel_by_inverse",
    "kernel_bound_r1_printed",
    "kernel_bound_r2_printed",
    "kernel_bound_r3_printed",
    "kernel_residual_norms",
    "ntk_block",
    "projected_kernel",
    "residual_factor",
    "residual_factor_norms",
    "resource_counts",
    "ridged_inducing_point_kernel",
    "riemannian_kernel",
    "riemannian_kernel_without_inverse",
]


def gram(features: Any) -> Array:
    """Kernel of one logit on its own inputs.

    K = Phi Phi^T  (Eq 1, one class).

    Parameters: `features` (n, P). Returns: (n, n), positive semi-definite. Raises: ValueError, TypeError.

    >>> gram([[1.0, 0.0], [3.0, 4.0]])
    array([[ 1.,  3.],
           [ 3., 25.]])
    """
    Phi = _check.matrix("features", features)
    return Phi @ Phi.T


def cross_gram(a: Any, b: Any) -> Array:
    """Kernel of one logit between two sets of inputs.

    K(a, b) = Phi_a Phi_b^T  (Eq 1).

    Parameters: `a` (n, P), `b` (m, P). Returns: (n, m). Raises: ValueError, TypeError.

    >>> cross_gram([[1.0, 2.0]], [[3.0, 4.0], [0.0, 1.0]])
    array([[11.,  2.]])
    """
    Phi_a = _check.matrix("a", a)
    Phi_b = _check.matrix("b", b, columns=Phi_a.shape[1])
    return Phi_a @ Phi_b.T


def ntk_block(jacobian: Any) -> Array:
    """Kernel of all pairs of logits, the cross-class blocks included.

    K[c, c', i, j] = <phi_c(x_i), phi_c'(x_j)>, so that K[:, :, i, j] = J(x_i) J(x_j)^T  (Eq 1).

    Parameters: `jacobian` (C, n, P). Returns: (C, C, n, n). Raises: ValueError, TypeError.

    >>> ntk_block([[[1.0, 0.0]], [[2.0, 1.0]]])[:, :, 0, 0]
    array([[1., 2.],
           [2., 5.]])
    """
    J = _check.array("jacobian", jacobian, 3)
    return np.asarray(np.einsum("aip,bjp->abij", J, J))


def full_ntk(jacobian: Any) -> Array:
    """Kernel of all logits as one matrix, the logits of an input side by side.

    K = J J^T with J the (nC, P) stack of the J(x_i), row (i, c)  (Eq 1).

    Parameters: `jacobian` (C, n, P). Returns: (nC, nC). Raises: ValueError, TypeError.

    >>> full_ntk([[[1.0, 0.0]], [[2.0, 1.0]]])
    array([[1., 2.],
           [2., 5.]])
    """
    J = _check.array("jacobian", jacobian, 3)
    C, n, P = J.shape
    stacked = J.transpose(1, 0, 2).reshape(n * C, P)
    return stacked @ stacked.T


def class_kernels(jacobian: Any) -> Array:
    """Kernels of the single logits: the diagonal blocks of the full kernel.

    K_c = Phi_c Phi_c^T  (Eq 1).

    Parameters: `jacobian` (C, n, P). Returns: (C, n, n). Raises: ValueError, TypeError.

    >>> class_kernels([[[1.0, 0.0]], [[2.0, 1.0]]]).ravel()
    array([1., 5.])
    """
    J = _check.array("jacobian", jacobian, 3)
    return np.stack([gram(Phi) for Phi in J])


def differential(features: Any, direction: Any) -> Array:
    """First-order change of the logit along a direction of the parameters.

    (dF delta)(x_i) = <phi(x_i), delta>  (Eq 14).

    Parameters: `features` (n, P), `direction` (P,). Returns: (n,). Raises: ValueError, TypeError.

    >>> differential([[1.0, 2.0]], [3.0, 1.0])
    array([5.])
    """
    Phi = _check.matrix("features", features)
    return Phi @ _check.vector("direction", direction, Phi.shape[1])


def _metric(metric: Any, size: int) -> Array:
    G = _check.kernel("metric", metric, size=size)
    lowest = float(np.linalg.eigvalsh(G)[0])
    if lowest <= 0:
        raise ValueError(f"metric: expected a positive definite matrix, got smallest eigenvalue {lowest:.3g}")
    return G


def riemannian_kernel(differentials: Any, metric: Any) -> Array:
    """Kernel under a Riemannian metric of the parameters; it does not depend on the coordinates.

    K = D G^{-1} D^T: gradients are G^{-1} df, and <grad, grad>_G = df G^{-1} df  (Eq 15).

    Parameters: `differentials` (n, P) rows of partial derivatives, `metric` (P, P) positive definite.
    Returns: (n, n). Raises: ValueError, TypeError.

    >>> riemannian_kernel([[2.0]], [[4.0]])
    array([[1.]])
    """
    D = _check.matrix("differentials", differentials)
    return D @ np.linalg.solve(_metric(metric, D.shape[1]), D.T)


def riemannian_kernel_without_inverse(differentials: Any, metric: Any) -> Array:
    """Eq (15) read with the metric itself in place of its inverse: this one changes with the coordinates.

    D G D^T  (Eq 15, the reading that fails).

    Parameters: `differentials` (n, P), `metric` (P, P) positive definite.
    Returns: (n, n). Raises: ValueError, TypeError.

    >>> riemannian_kernel_without_inverse([[2.0]], [[4.0]])
    array([[16.]])
    """
    D = _check.matrix("differentials", differentials)
    return D @ _metric(metric, D.shape[1]) @ D.T


def projected_kernel(features: Any, projector: Any) -> Array:
    """Kernel of the gradients as seen through a projector or a contraction of parameter space.

    K_Pi = Phi Pi Phi^T  (Eq 7).

    Parameters: `features` (n, P), `projector` (P, P) symmetric. Returns: (n, n). Raises: ValueError, TypeError.

    >>> projected_kernel([[1.0, 2.0]], [[1.0, 0.0], [0.0, 0.0]])
    array([[1.]])
    """
    Phi = _check.matrix("features", features)
    return Phi @ _check.kernel("projector", projector, size=Phi.shape[1]) @ Phi.T


def _across(features: Any, inducing: Any) -> Array:
    """K_XS, with inducing gradients of the features' length."""
    Phi = _check.matrix("features", features)
    return cross_gram(Phi, _check.matrix("inducing", inducing, columns=Phi.shape[1]))


def inducing_point_kernel(features: Any, inducing: Any, *, rtol: float = 1e-12) -> Array:
    """Kernel through the span of the inducing gradients, from kernel entries alone.

    K_{Pi_S} = K_XS K_SS^+ K_SX  (Eq 9 with the pseudo-inverse).

    Parameters: `features` (n, P), `inducing` (m, P), `rtol` the share of the largest eigenvalue of K_SS below which
    an eigenvalue counts as zero. Returns: (n, n). Raises: ValueError, TypeError.

    >>> inducing_point_kernel([[3.0, 4.0]], [[1.0, 0.0], [2.0, 0.0]]).round(12)
    array([[9.]])
    """
    K_XS = _across(features, inducing)
    K, K_SS, n = gram(features), gram(inducing), len(K_XS)
    # The joint kernel of both sets; longer or shorter inducing gradients span the same, and equal lengths lose no digits.
    s = float(np.sqrt(np.trace(K) / (np.trace(K_SS) or 1.0)))
    joint = np.block([[K, s * K_XS], [s * K_XS.T, s**2 * K_SS]])
    kept = parts(joint, np.eye(len(joint))[:, n:], rtol).kept[:n]
    return np.asarray(kept @ kept.T)


def inducing_point_kernel_by_inverse(features: Any, inducing: Any) -> Array:
    """Eq (9) as it reads with a plain inverse: undefined as soon as two inducing gradients are dependent (CEX-5).

    K_XS K_SS^{-1} K_SX  (Eq 9, the reading that fails).

    Parameters: `features` (n, P), `inducing` (m, P). Returns: (n, n).
    Raises: ValueError where K_SS is singular to working precision, TypeError.

    >>> inducing_point_kernel_by_inverse([[3.0, 4.0]], [[2.0, 0.0]])
    array([[9.]])
    """
    K_XS = _across(features, inducing)
    K_SS = gram(inducing)
    if np.linalg.matrix_rank(K_SS, hermitian=True) < len(K_SS):
        raise ValueError("inducing: expected independent gradients, got a singular K_SS; use inducing_point_kernel")
    return K_XS @ np.linalg.solve(K_SS, K_XS.T)


def ridged_inducing_point_kernel(features: Any, inducing: Any, ridge: float) -> Array:
    """Kernel through inducing gradients with a ridge in place of the pseudo-inverse.

    K_XS (K_SS + ridge I)^{-1} K_SX = Phi Pi_ridge Phi^T with a contraction 0 <= Pi_ridge <= Pi_S  (Eq 9, ridged).

    Parameters: `features` (n, P), `inducing` (m, P), `ridge` > 0. Returns: (n, n). Raises: ValueError, TypeError.

    >>> ridged_inducing_point_kernel([[1.0]], [[1.0]], 1.0)
    array([[0.5]])
    """
    K_XS = _across(features, inducing)
    K_SS = gram(inducing)
    return K_XS @ np.linalg.solve(K_SS + _check.positive("ridge", ridge) * np.eye(len(K_SS)), K_XS.T)


@dataclass(frozen=True)
class KernelResidual:
    """Norms of E = K - K_Pi: Frobenius, spectral, and the trace."""

    frobenius: float
    spectral: float
    trace: float


def kernel_residual_norms(features: Any, projector: Any) -> KernelResidual:
    """Norms of what a projector or contraction removes from the kernel: the left side of Eq (10).

    E = K - K_Pi  (Eq 10).

    Parameters: `features` (n, P), `projector` (P, P) with 0 <= Pi <= I. Returns: KernelResidual.
    Raises: ValueError, TypeError.

    >>> kernel_residual_norms([[1.0, 2.0]], [[1.0, 0.0], [0.0, 0.0]])
    KernelResidual(frobenius=4.0, spectral=4.0, trace=4.0)
    """
    Phi = _check.matrix("features", features)
    E = gram(Phi) - projected_kernel(Phi, _contraction(projector, Phi.shape[1]))
    return KernelResidual(float(np.linalg.norm(E)), float(np.linalg.norm(E, 2)), float(np.trace(E)))


def _contraction(value: Any, size: int) -> Array:
    Pi = _check.kernel("projector", value, size=size)
    low, high = np.linalg.eigvalsh(Pi)[[0, -1]]
    if low < -_check.ROUNDING or high > 1 + _check.ROUNDING:
        raise ValueError(f"projector: expected eigenvalues in [0, 1], got [{low:.6g}, {high:.6g}]")
    return Pi


def residual_factor(features: Any, projector: Any) -> Array:
    """A factor of the kernel residual, valid for projectors and for contractions.

    R = Phi (I - Pi)^{1/2}, E = K - K_Pi = R R^T; for a projector R = Phi (I - Pi).

    Parameters: `features` (n, P), `projector` (P, P) with 0 <= Pi <= I. Returns: (n, P). Raises: ValueError, TypeError.

    >>> residual_factor([[1.0]], [[0.75]])
    array([[0.5]])
    """
    Phi = _check.matrix("features", features)
    values, vectors = np.linalg.eigh(_contraction(projector, Phi.shape[1]))
    return np.asarray(Phi @ vectors * np.sqrt(np.clip(1 - values, 0, None)) @ vectors.T)


@dataclass(frozen=True)
class ResidualFactor:
    """Squared Frobenius and spectral norm of R = Phi (I - Pi)^{1/2}, its rank, and the lower bound on |E|_F."""

    frobenius_squared: float
    spectral_squared: float
    rank: int
    frobenius_lower: float


def residual_factor_norms(features: Any, projector: Any, *, rtol: float = 1e-12) -> ResidualFactor:
    """The other side of the exact relations between the kernel residual and its factor.

    tr E = |R|_F^2, |E|_2 = |R|_2^2, |R|_F^2 / sqrt(rank R) <= |E|_F <= |R|_F^2  (after Eq 10).

    Parameters: `features` (n, P), `projector` (P, P) with 0 <= Pi <= I, `rtol` the share of |R|_2^2 below which a
    squared singular value counts as zero. Returns: ResidualFactor. Raises: ValueError, TypeError.

    >>> residual_factor_norms([[1.0, 2.0]], [[1.0, 0.0], [0.0, 0.0]])
    ResidualFactor(frobenius_squared=4.0, spectral_squared=4.0, rank=1, frobenius_lower=4.0)
    """
    squared = np.linalg.svd(residual_factor(features, projector), compute_uv=False) ** 2
    total = float(squared.sum())
    rank = int(np.count_nonzero(squared > _check.fraction("rtol", rtol) * squared[0]))
    return ResidualFactor(total, float(squared[0]), rank, total / max(rank, 1) ** 0.5)


def _removed(features: Any, projector: Any) -> Array:
    Phi = _check.matrix("features", features)
    return Phi - Phi @ _check.kernel("projector", projector, size=Phi.shape[1])


def kernel_bound_r1_printed(features: Any, projector: Any) -> float:
    """Right side of Eq (10), first reading: holds for projectors, fails for contractions.

    |K - K_Pi|_F <= |Phi (I - Pi)|_F^2  (Eq 10, R1).

    Parameters: `features` (n, P), `projector` (P, P). Returns: float. Raises: ValueError, TypeError.

    >>> kernel_bound_r1_printed([[1.0]], [[0.5]])
    0.25
    """
    return float(np.sum(_removed(features, projector) ** 2))


def contraction_kernel_bound_r1(features: Any, projector: Any) -> float:
    """Right side of Eq (10), first reading, in the form that holds for every contraction.

    |K - K_Pi|_F <= |Phi (I - Pi)^{1/2}|_F^2  (Eq 10, R1 corrected).

    Parameters: `features` (n, P), `projector` (P, P) with 0 <= Pi <= I. Returns: float. Raises: ValueError, TypeError.

    >>> round(contraction_kernel_bound_r1([[1.0]], [[0.5]]), 12)
    0.5
    """
    return float(np.sum(residual_factor(features, projector) ** 2))


def kernel_bound_r2_printed(features: Any, projector: Any) -> float:
    """Right side of Eq (10), second reading.

    |K - K_Pi|_F <= |Phi|_2 |Phi - Phi Pi|_F  (Eq 10, R2).

    Parameters: `features` (n, P), `projector` (P, P). Returns: float. Raises: ValueError, TypeError.

    >>> kernel_bound_r2_printed([[3.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 1.0]])
    12.0
    """
    return float(np.linalg.norm(_check.matrix("features", features), 2) * np.linalg.norm(_removed(features, projector)))


def kernel_bound_r3_printed(features: Any, projector: Any) -> float:
    """Right side of Eq (10), third reading: the second with a factor two.

    |K - K_Pi|_F <= 2 |Phi|_2 |Phi - Phi Pi|_F  (Eq 10, R3).

    Parameters: `features` (n, P), `projector` (P, P). Returns: float. Raises: ValueError, TypeError.

    >>> kernel_bound_r3_printed([[3.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 1.0]])
    24.0
    """
    return 2 * kernel_bound_r2_printed(features, projector)


@dataclass(frozen=True)
class ResourceCounts:
    """Multiply-adds and numbers stored, exact integers; a float32 entry takes four bytes."""

    full_ntk_multiplications: int
    full_ntk_entries: int
    class_ntk_multiplications: int
    class_ntk_entries: int
    ridge_entries: int
    gradient_entries: int
    dense_map_entries: int
    dense_map_multiplications: int


def resource_counts(*, inputs: int, tests: int, classes: int, parameters: int, width: int) -> ResourceCounts:
    """What the kernel, the gradients and a dense random map cost, in multiply-adds and entries.

    n^2 C^2 P and n^2 C^2; C n^2 P and C n^2; C (n^2 + n n_test); C (n + n_test) P; P k; C n P k  (section 3.1).

    Parameters: `inputs` n >= 1, `tests` n_test >= 0, `classes` C >= 1, `parameters` P >= 1, `width` k >= 1.
    Returns: ResourceCounts. Raises: ValueError, TypeError.

    >>> resource_counts(inputs=2, tests=1, classes=3, parameters=5, width=4).full_ntk_multiplications
    180
    """
    n, C = _check.integer("inputs", inputs, 1), _check.integer("classes", classes, 1)
    t = _check.integer("tests", tests, 0)
    P, k = _check.integer("parameters", parameters, 1), _check.integer("width", width, 1)
    return ResourceCounts(
        full_ntk_multiplications=n * n * C * C * P,
        full_ntk_entries=n * n * C * C,
        class_ntk_multiplications=C * n * n * P,
        class_ntk_entries=C * n * n,
        ridge_entries=C * (n * n + n * t),
        gradient_entries=C * (n + t) * P,
        dense_map_entries=P * k,
        dense_map_multiplications=C * n * P * k,
    )
