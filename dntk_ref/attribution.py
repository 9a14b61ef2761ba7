"""What a network would say had it been trained without some images: ridge regression of labels with its tangent kernel.

Targets are labels, one-hot minus 1/C, and every class has its own kernel K_c; the ridge is un-normalised. What removing a
set of rows does is had by refitting, which is the definition, and by an exact downdate from blocks of the inverse.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp
from scipy.stats import rankdata

from dntk_ref import _check
from dntk_ref._check import Array, IntArray
from dntk_ref.ridge import dual_coefficients, dual_inverse, dual_prediction, leave_one_out, ridge_weights

__all__ = [
    "added_kernel",
    "first_order_without",
    "influence",
    "label_targets",
    "leave_one_out_predictions",
    "linear_datamodelling_score",
    "machine_margin",
    "machine_prediction",
    "mean_diagonal",
    "network_margin",
    "removal_effects",
    "reweighted",
    "trak_scores",
    "without_rows",
    "without_rows_by_features",
    "without_rows_by_refitting",
]


def label_targets(labels: ArrayLike, classes: int) -> Array:
    """The label targets: y_ci = 1[label_i = c] - 1/C, so that they sum to zero over the classes.

    Parameters: labels (n,) integers 0 ... C - 1, classes C >= 2. Returns: (C, n). Raises: ValueError for a label outside.

    >>> label_targets([1, 0], 2).tolist()
    [[-0.5, 0.5], [0.5, -0.5]]
    """
    C = _check.integer("classes", classes, 2)
    return np.asarray((np.arange(C)[:, None] == _classes(labels, np.size(labels), C)) - 1 / C)


def mean_diagonal(kernel: ArrayLike) -> float:
    """The mean of K_c(x_i, x_i) over classes and rows: the unit in which kernels are added and ridges are compared.

    Parameters: kernel (C, n, n). Returns: a number above 0. Raises: ValueError for a zero kernel.

    >>> mean_diagonal([[[2, 0], [0, 4]]])
    3.0
    """
    return _check.positive("mean of the kernel's diagonal", np.mean([np.diag(K) for K in _kernels(kernel)]))


def added_kernel(kernels: ArrayLike, scales: ArrayLike) -> Array:
    """The kernel of several networks together: sum_m K^(m) / scale_m, scale_m the mean diagonal of K^(m)(X, X).

    Parameters: kernels (M, C, t, n), the kernels themselves or their blocks against new inputs, scales (M,), each > 0.
    Returns: (C, t, n). Raises: ValueError for a scale that is not above 0 or another number of them.

    >>> added_kernel([[[[2.0]]], [[[9.0]]]], [2.0, 3.0]).tolist()
    [[[4.0]]]
    """
    K = _check.array("kernels", kernels, 4)
    units = [_check.positive("scales", s) for s in _check.vector("scales", scales, len(K))]
    return np.asarray(sum(part / unit for part, unit in zip(K, units, strict=True)))


def machine_prediction(cross: ArrayLike, kernel: ArrayLike, targets: ArrayLike, lam: float) -> Array:
    """The label-target kernel machine: f_c(x) = k_c(x)^T (K_c + lam I)^-1 y_c, Eq (16) for every class.

    Parameters: cross (C, t, n), kernel (C, n, n), targets (C, n), lam > 0. Returns: (C, t). Raises: ValueError for shapes
    that do not fit or lam <= 0.

    >>> machine_prediction([[[1, 3]]], [[[1, 0], [0, 3]]], [[2, 4]], 1.0).tolist()
    [[4.0]]
    """
    parts = _problem(cross, kernel, targets)
    return np.stack([dual_prediction(k, K, y, lam) for k, K, y in zip(*parts, strict=True)])


def without_rows_by_refitting(
    cross: ArrayLike, kernel: ArrayLike, targets: ArrayLike, lam: float, rows: ArrayLike
) -> Array:
    """The prediction without a set of rows, by its definition: the machine fitted on the others.

    Parameters: cross (C, t, n), kernel (C, n, n), targets (C, n), lam > 0, rows: distinct ones, not all of them. Returns:
    (C, t). Raises: ValueError for rows that are unknown, repeated or all there are.

    >>> without_rows_by_refitting([[[1, 1]]], [[[1, 1], [1, 1]]], [[2, 0]], 1.0, [1]).tolist()
    [[1.0]]
    """
    k, K, y = _problem(cross, kernel, targets)
    rest = np.setdiff1d(np.arange(y.shape[1]), _group(rows, y.shape[1]))
    return machine_prediction(k[:, :, rest], K[:, rest][:, :, rest], y[:, rest], lam)


def without_rows(cross: ArrayLike, kernel: ArrayLike, targets: ArrayLike, lam: float, rows: ArrayLike) -> Array:
    """The same by the downdate: f_-G(x) = f(x) - k(x)^T A_:G (A_GG)^-1 alpha_G, with A = (K + lam I)^-1, alpha = A y.

    By the inverse of a block, (K_RR + lam I)^-1 = A_RR - A_RG (A_GG)^-1 A_GR for the rest R, so that the coefficients
    without G are alpha - A_:G (A_GG)^-1 alpha_G: those of G become zero, those of R what a fit on R gives.
    Parameters, Returns, Raises: as `without_rows_by_refitting`.

    >>> without_rows([[[1, 1]]], [[[1, 1], [1, 1]]], [[2, 0]], 1.0, [1]).round(12).tolist()
    [[1.0]]
    """
    k, K, y = _problem(cross, kernel, targets)
    G = _group(rows, y.shape[1])

    def one(k_c: Array, K_c: Array, y_c: Array) -> Array:
        A = dual_inverse(K_c, lam)
        alpha = A @ y_c
        return np.asarray(k_c @ (alpha - A[:, G] @ np.linalg.solve(A[np.ix_(G, G)], alpha[G])))

    return np.stack([one(*parts) for parts in zip(k, K, y, strict=True)])


def without_rows_by_features(
    new: ArrayLike, features: ArrayLike, targets: ArrayLike, lam: float, rows: ArrayLike
) -> Array:
    """The same downdate in the primal: f_-G(x) = f(x) - phi^T H Phi_G^T (I - Phi_G H Phi_G^T)^-1 (y_G - Phi_G w).

    H = (Phi^T Phi + lam I)^-1 and w = H Phi^T y; by push-through Phi^T A = H Phi^T, and by Woodbury (17) lam A_GG = I -
    Phi_G H Phi_G^T and lam alpha_G = y_G - Phi_G w. Nothing of size n is left: a set of g rows costs g^2 k.
    Parameters: new (C, t, k), features (C, n, k), targets (C, n), lam > 0, rows. Returns: (C, t). Raises: as
    `without_rows_by_refitting`.

    >>> without_rows_by_features([[[1]]], [[[1], [1]]], [[2, 0]], 1.0, [1]).round(12).tolist()
    [[1.0]]
    """
    Phi = _check.array("features", features, 3)
    C, n, k = Phi.shape
    y, G = _check.matrix("targets", targets, rows=C, columns=n), _group(rows, n)
    phi = _check.array("new", new, 3)
    if phi.shape[0] != C or phi.shape[2] != k:
        raise ValueError(f"new: expected shape ({C}, t, {k}), got {phi.shape}")

    def one(phi_c: Array, Phi_c: Array, y_c: Array) -> Array:
        w = ridge_weights(Phi_c, y_c, lam)
        H = np.linalg.inv(Phi_c.T @ Phi_c + lam * np.eye(k))
        F = Phi_c[G]
        lost = np.linalg.solve(np.eye(G.size) - F @ H @ F.T, y_c[G] - F @ w)
        return np.asarray(phi_c @ (w - H @ F.T @ lost))

    return np.stack([one(*parts) for parts in zip(phi, Phi, y, strict=True)])


def leave_one_out_predictions(kernel: ArrayLike, targets: ArrayLike, lam: float) -> Array:
    """What the machine says of each row without it: f_-i(x_i) = y_i - alpha_i / A_ii (`attribution_leave_one_out`).

    Parameters: kernel (C, n, n), targets (C, n), lam > 0. Returns: (C, n). Raises: ValueError for lam <= 0 or another
    length.

    >>> leave_one_out_predictions([[[1, 1], [1, 1]]], [[2, 0]], 1.0).round(12).tolist()
    [[0.0, 1.0]]
    """
    K = _kernels(kernel)
    y = _check.matrix("targets", targets, rows=len(K), columns=K.shape[1])
    return y - np.stack([leave_one_out(K_c, y_c, lam) for K_c, y_c in zip(K, y, strict=True)])


def reweighted(
    cross: ArrayLike, kernel: ArrayLike, targets: ArrayLike, lam: float, rows: ArrayLike, share: float
) -> Array:
    """The prediction when the squared errors of a set of rows count 1 - share: share = 1 is without them.

    min_w sum_i omega_i (phi_i^T w - y_i)^2 + lam |w|^2 is solved by alpha = D (D K D + lam I)^-1 D y, D = diag omega^1/2.
    Parameters: as `without_rows_by_refitting`, share in [0, 1]. Returns: (C, t). Raises: as there.

    >>> reweighted([[[1]]], [[[1]]], [[3]], 1.0, [0], 0.5).round(12).tolist()
    [[1.0]]
    """
    k, K, y = _problem(cross, kernel, targets)
    root = np.ones(y.shape[1])
    root[_places(rows, root.size)] = np.sqrt(1 - _check.fraction("share", share))

    def one(k_c: Array, K_c: Array, y_c: Array) -> Array:
        return k_c @ (root * dual_coefficients(root[:, None] * K_c * root, root * y_c, lam))

    return np.stack([one(*parts) for parts in zip(k, K, y, strict=True)])


def influence(cross: ArrayLike, kernel: ArrayLike, targets: ArrayLike, lam: float) -> Array:
    """The influence of every row: df_c(x) / d omega_i = lam [k_c(x)^T A]_i alpha_i, at equal weights omega of the rows.

    Parameters: cross (C, t, n), kernel (C, n, n), targets (C, n), lam > 0. Returns: (C, t, n). Raises: ValueError for
    shapes that do not fit or lam <= 0.

    >>> influence([[[1]]], [[[1]]], [[4]], 1.0).tolist()
    [[[1.0]]]
    """
    parts = zip(*_problem(cross, kernel, targets), strict=True)
    return np.stack([lam * (k @ dual_inverse(K, lam)) * dual_coefficients(K, y, lam) for k, K, y in parts])


def first_order_without(cross: ArrayLike, kernel: ArrayLike, targets: ArrayLike, lam: float, rows: ArrayLike) -> Array:
    """The first-order form of removal: f(x) - sum_{i in G} df(x) / d omega_i, the downdate with I in place of lam A_GG.

    Parameters, Returns, Raises: as `without_rows_by_refitting`.

    >>> first_order_without([[[1]]], [[[1]]], [[4]], 1.0, [0]).tolist()
    [[1.0]]
    """
    effect = influence(cross, kernel, targets, lam)
    gone = effect[:, :, _places(rows, effect.shape[2])].sum(axis=2)
    return np.asarray(machine_prediction(cross, kernel, targets, lam) - gone)


def removal_effects(cross: ArrayLike, kernel: ArrayLike, targets: ArrayLike, lam: float) -> Array:
    """What each row alone contributes: f(x) - f_-i(x) = [k(x)^T A]_i alpha_i / A_ii = influence_i / (lam A_ii).

    Parameters: cross (C, t, n), kernel (C, n, n), targets (C, n), lam > 0. Returns: (C, t, n). Raises: as `influence`.

    >>> removal_effects([[[1]]], [[[1]]], [[4]], 1.0).tolist()
    [[[2.0]]]
    """
    diagonals = np.stack([np.diag(dual_inverse(K, lam)) for K in _kernels(kernel)])
    return influence(cross, kernel, targets, lam) / (lam * diagonals[:, None, :])


def machine_margin(outputs: ArrayLike, labels: ArrayLike) -> Array:
    """The margin of a kernel machine: the output of the labelled class minus the largest other one.

    Parameters: outputs (C, t), C >= 2, labels (t,) integers 0 ... C - 1. Returns: (t,). Raises: ValueError for a label
    outside.

    >>> machine_margin([[3.0], [1.0], [2.0]], [0]).tolist()
    [1.0]
    """
    own, others = _own_and_others("outputs", _check.matrix("outputs", outputs), labels)
    return np.asarray(own - others.max(axis=0))


def network_margin(logits: ArrayLike, labels: ArrayLike) -> Array:
    """The margin of a network: the logit of the labelled class minus log-sum-exp of the others, log p / (1 - p).

    Parameters: logits (C, t), C >= 2, labels (t,) integers 0 ... C - 1. Returns: (t,). Raises: ValueError for a label
    outside.

    >>> network_margin([[3.0], [1.0]], [0]).tolist()
    [2.0]
    """
    own, others = _own_and_others("logits", _check.matrix("logits", logits), labels)
    return np.asarray(own - logsumexp(others, axis=0))


def trak_scores(new: ArrayLike, features: ArrayLike, pulls: ArrayLike, lam: float) -> Array:
    """TRAK's linear form: s_i(x) = phi(x)^T (Phi^T Phi + lam I)^-1 phi_i q_i, the margin rising by about s_i with row i.

    phi is the gradient of the margin log p / (1 - p) of the labelled class, q_i = 1 - p_i how far row i is from certain;
    TRAK (Park et al. 2023) has lam = 0. Over several networks phi(x)^T (...)^-1 phi_i and q_i are averaged each.
    Parameters: new (t, k), features (n, k), pulls q (n,), lam > 0. Returns: (t, n). Raises: ValueError for shapes.

    >>> trak_scores([[2.0]], [[1.0]], [0.5], 1.0).tolist()
    [[0.5]]
    """
    Phi, lam = _check.matrix("features", features), _check.positive("lam", lam)
    phi, q = _check.matrix("new", new, columns=Phi.shape[1]), _check.vector("pulls", pulls, len(Phi))
    return np.asarray(phi @ np.linalg.solve(Phi.T @ Phi + lam * np.eye(Phi.shape[1]), Phi.T * q))


def linear_datamodelling_score(predicted: ArrayLike, retrained: ArrayLike) -> float:
    """LDS (Ilyas et al. 2022): the mean over inputs of Spearman's correlation, over subsets, of prediction and truth.

    Ranks of equal values are their mean.
    Parameters: predicted, retrained (S, t): margins of t inputs for S >= 2 subsets of the training set. Returns: a number
    in [-1, 1]. Raises: ValueError for an input whose margins are all equal, which have no correlation.

    >>> linear_datamodelling_score([[1, 5], [2, 4], [3, 3]], [[10, 1], [20, 2], [30, 3]])
    0.0
    """
    first = _check.matrix("predicted", predicted)
    second = _check.matrix("retrained", retrained, rows=first.shape[0], columns=first.shape[1])
    if len(first) < 2:
        raise ValueError(f"predicted: expected two subsets or more, got {len(first)}")
    columns = []
    for name, values in (("predicted", first), ("retrained", second)):
        ranks = rankdata(values, axis=0) - (len(values) + 1) / 2
        size = np.sqrt(np.sum(ranks**2, axis=0))
        if not size.all():
            raise ValueError(
                f"{name}: expected margins that vary over subsets, got equal ones for input {size.argmin()}"
            )
        columns.append(ranks / size)
    return float(np.mean(np.sum(columns[0] * columns[1], axis=0)))


def _kernels(value: ArrayLike) -> Array:
    """One symmetric matrix for each class, (C, n, n)."""
    return np.stack([_check.kernel("kernel", K) for K in _check.array("kernel", value, 3)])


def _problem(cross: ArrayLike, kernel: ArrayLike, targets: ArrayLike) -> tuple[Array, Array, Array]:
    """Blocks (C, t, n), kernels (C, n, n) and targets (C, n) that fit each other."""
    K = _kernels(kernel)
    C, n, _ = K.shape
    y = _check.matrix("targets", targets, rows=C, columns=n)
    k = _check.array("cross", cross, 3)
    if k.shape[0] != C or k.shape[2] != n:
        raise ValueError(f"cross: expected shape ({C}, t, {n}), got {k.shape}")
    return k, K, y


def _places(rows: ArrayLike, n: int) -> IntArray:
    """Distinct rows 0 ... n - 1, one at least."""
    G = _check.partition("rows", rows, np.size(rows))
    if G.size == 0 or G.min() < 0 or G.max() >= n or np.unique(G).size != G.size:
        raise ValueError(f"rows: expected distinct integers in [0, {n - 1}], at least one, got {G.tolist()}")
    return G


def _group(rows: ArrayLike, n: int) -> IntArray:
    """Such rows that leave others."""
    G = _places(rows, n)
    if G.size == n:
        raise ValueError(f"rows: expected some of the {n} rows to be left, got all of them")
    return G


def _classes(labels: ArrayLike, n: int, classes: int) -> IntArray:
    """One class 0 ... C - 1 for each of n rows."""
    found = _check.partition("labels", labels, n)
    if found.size == 0 or found.min() < 0 or found.max() >= classes:
        raise ValueError(f"labels: expected one at least, from 0 to {classes - 1}, got {np.unique(found).tolist()}")
    return found


def _own_and_others(name: str, outputs: Array, labels: ArrayLike) -> tuple[Array, Array]:
    """The labelled class's outputs (t,), and the others' (C - 1, t)."""
    C, t = outputs.shape
    if C < 2:
        raise ValueError(f"{name}: expected two classes or more, got {C}")
    own = np.arange(C)[:, None] == _classes(labels, t, C)
    return outputs.T[own.T], outputs.T[~own.T].reshape(t, C - 1).T
