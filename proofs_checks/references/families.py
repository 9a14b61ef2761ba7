"""Instances in float64 for the agreement of the reference with exact values, into the hard region.

Up to 40 rows and columns, fewer and more rows than columns, repeated rows, condition numbers of a kernel up to 1e12, ridges
down to 1e-12 of the largest eigenvalue, ties that float64 represents exactly, dependent synthesis columns.
"""

import numpy as np

from proofs_checks.references.agreement import Instance, seeded

__all__ = ["GRADIENTS", "KERNELS", "MEANS", "PARTS", "PROBLEMS", "TIED", "basis", "condition", "root_condition"]

SIZES = ((3, 2), (2, 3), (4, 4), (6, 5), (5, 7), (12, 9), (9, 12), (40, 30))
DECAYS = (0.5, 1.0, 3.0, 6.0)
RATIOS = (1.0, 1e-2, 1e-4, 1e-8, 1e-12)


def basis(rng: np.random.Generator, n: int, r: int) -> np.ndarray:
    """Return r orthonormal columns in R^n."""
    return np.linalg.qr(rng.standard_normal((n, r)))[0]


def symmetric(matrix: np.ndarray) -> np.ndarray:
    """Return the symmetric part, symmetric to the last bit."""
    return (matrix + matrix.T) / 2


def condition(case: Instance) -> float:
    """How much a rounding grows in a system K + lam I."""
    return 1 + case.top / case.lam


def root_condition(case: Instance) -> float:
    """How much a rounding grows where singular values of the features are used."""
    return float(np.sqrt(condition(case)))


def _features(rng: np.random.Generator, i: int) -> np.ndarray:
    n, P = SIZES[i % len(SIZES)]
    r, decay = min(n, P), DECAYS[(i // 2) % len(DECAYS)]
    sigma = 10.0 ** (-decay * np.arange(r) / max(r - 1, 1))
    Phi = basis(rng, n, r) * sigma @ basis(rng, P, r).T
    if i % 4 == 3:
        Phi[-1] = Phi[0]
    return Phi


def _problem(rng: np.random.Generator, i: int) -> Instance:
    """A ridge problem, its kernel, test rows (the first a training row), any weights, a subset and a projector."""
    Phi = _features(rng, i)
    n, P = Phi.shape
    top = float(np.linalg.norm(Phi, 2) ** 2)
    X = rng.standard_normal((3, P))
    X[0] = Phi[0]
    K, Q = symmetric(Phi @ Phi.T), basis(rng, P, max(1, P // 2))
    Pi = symmetric(Q @ Q.T)
    return Instance(
        Phi=Phi,
        K=K,
        X=X,
        k=X @ Phi.T,
        kappa=np.sum(X**2, axis=1),
        y=rng.standard_normal(n),
        w=rng.standard_normal(P),
        alpha=rng.standard_normal(n),
        beta=rng.standard_normal(3),
        own=symmetric(X @ X.T),
        top=top,
        lam=RATIOS[i % 5] * top,
        subset=np.arange(max(1, n // 2)),
        n=n,
        P=P,
        Pi=Pi,
        low=symmetric(Phi @ Pi @ Phi.T),
        r=max(1, min(n, P) // 2),
        Z=basis(rng, n, max(1, n // 2)),
        A=rng.standard_normal((P, 3)) / np.sqrt(3),
        scales=rng.uniform(0.5, 2.0, n),
        U=rng.standard_normal((n, max(1, min(n, P) // 2))),
        i=i,
        step=rng.standard_normal(P),
    )


def _kernel(rng: np.random.Generator, i: int) -> Instance:
    """A kernel without ties, features of it, a share epsilon, a second kernel, projectors and a contraction."""
    n, P = ((3, 4), (4, 3), (5, 5), (6, 4), (4, 7), (8, 6), (6, 8), (10, 9))[i % 8]
    r, decay = min(n, P), DECAYS[i % 4]
    sigma = 10.0 ** (-decay * np.arange(r) / (r - 1)) * 2.0
    Phi = basis(rng, n, r) * sigma @ basis(rng, P, r).T
    Q, G = basis(rng, P, max(1, P // 2)), rng.standard_normal((P, P))
    V, A = basis(rng, P, P), rng.standard_normal((P, 5)) / np.sqrt(5)
    S = rng.standard_normal((max(1, P // 2), P))
    full = symmetric(basis(rng, n, n) * np.linspace(3, 1, n) @ basis(rng, n, n).T)
    full = symmetric(full @ full.T)
    return Instance(
        Phi=Phi,
        K=symmetric(Phi @ Phi.T),
        n=n,
        P=P,
        r=max(1, r - 1),
        epsilon=float((0.25, 0.125, 0.02, 0.5)[i % 4]),
        Pi=symmetric(Q @ Q.T),
        rank=Q.shape[1],
        G=symmetric(G @ G.T) + np.eye(P),
        half=symmetric(V * np.linspace(0, 0.9, P) @ V.T),
        A=A,
        low=symmetric(Phi @ A @ A.T @ Phi.T),
        S=S,
        repeated=np.vstack([S, S[:1]]),
        full=full,
        mu=0.5 + rng.random(),
        rows=np.arange(min(2, n)),
        w=rng.standard_normal(P),
        Z=basis(rng, n, max(1, n // 2)),
        i=i,
        X=rng.standard_normal((3, P)),
        hidden=rng.standard_normal((n, 2)),
        hidden_S=rng.standard_normal((len(S), 2)),
        probes=rng.standard_normal((4, n)),
        moment=symmetric(full),
        probabilities=np.array([0.5, 0.25, *([0.25 / (n - 2)] * (n - 2))]) if n > 2 else np.ones(n) / n,
        U=np.column_stack([rng.standard_normal((n, 2)), np.ones(n)])[:, : max(1, min(n, P) // 2)],
    )


HADAMARD = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2.0
TIES = ((2, 1, 1, 0), (4, 4, 1, 1), (1, 1, 1, 1), (4, 2, 1, 1), (8, 4, 2, 2), (2, 2, 0, 0), (1, 0, 0, 0), (6, 1, 1, 0))


def _tied(rng: np.random.Generator, i: int) -> Instance:
    """A kernel with equal eigenvalues whose partial sums meet a share of the trace exactly, in float64 too."""
    values = np.array(TIES[i % 8], dtype=float)
    return Instance(
        K=HADAMARD * values @ HADAMARD.T,
        values=values,
        Phi=HADAMARD * np.sqrt(values),
        epsilon=(0.25, 0.2, 0.5, 0.25, 0.25, 0.5, 0.5, 0.125)[i % 8],
        n=4,
        i=i,
        order=rng.permutation(4),
        Z=HADAMARD[:, :2],
    )


def _gradients(rng: np.random.Generator, i: int) -> Instance:
    """Gradients of C logits at m inputs, logits, labels, tasks with probabilities, a loss and a step."""
    C, m = ((2, 2), (3, 2), (2, 3), (3, 1), (4, 2), (2, 1), (3, 3), (2, 4))[i % 8]
    P = C * m + 1 + i % 3
    Q, H = basis(rng, P, max(1, P // 2)), rng.standard_normal((P, P)) / np.sqrt(P)
    raw = rng.random((C, m)) + 0.1
    p = rng.random(4) + 0.1
    p = p / p.sum()
    return Instance(
        J=rng.standard_normal((C, m, P)),
        z=3 * rng.standard_normal((C, m)),
        y=raw / raw.sum(axis=0),
        s=rng.standard_normal((C, m)),
        g=rng.standard_normal(P),
        d=rng.standard_normal(P),
        Pi=symmetric(Q @ Q.T),
        L=0.5 + float(rng.random()) * 3,
        rate=float(rng.random()) + 0.1,
        value=float(rng.standard_normal()),
        theta=rng.standard_normal(P),
        H=symmetric(H @ H.T),
        tasks=rng.standard_normal((4, P)),
        p=p,
        C=C,
        m=m,
        P=P,
        rows=rng.standard_normal((5, P)),
        S=rng.standard_normal((2, P)),
        moment=symmetric(np.cov(rng.standard_normal((5, 9)))),
        r=max(1, P // 2),
    )


def _parts(rng: np.random.Generator, i: int) -> Instance:
    """A kernel without ties, a partition, orthonormal global and padded local directions."""
    counts = ((2, 2), (2, 3), (3, 1), (2, 2, 2), (4, 2), (3, 3), (1, 2, 3), (4, 4))[i % 8]
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    n = len(labels)
    Phi = rng.standard_normal((n, n + 1)) * 0.7 ** np.arange(n + 1)
    K = symmetric(Phi @ Phi.T)
    local = np.zeros((n, len(counts)))
    for h in range(len(counts)):
        block = K[np.ix_(labels == h, labels == h)]
        local[labels == h, h] = np.linalg.eigh(block)[1][:, -1]
    U = np.linalg.eigh(K)[1][:, ::-1][:, : max(2, n // 2)]
    return Instance(
        K=K,
        labels=labels,
        n=n,
        U=U,
        B=local,
        epsilon=float((0.05, 0.2, 0.35, 0.1)[i % 4]),
        wide=float((0.2, 0.05, 0.1, 0.3)[i % 4]),
        tau=float((0.5, 0.8, 0.95, 0.25)[i % 4]),
        q=1 + i % 2 + (i % 8 > 5),
        counts=counts,
        Phi=Phi,
        coverage=np.array([0.5, 0.25, 0.75, 1.0, 0.125]),
        threshold=float((0.5, 0.25, 0.75, 1.0)[i % 4]),
    )


def _means(rng: np.random.Generator, i: int) -> Instance:
    """Points in groups far apart, support points, batches, and what belongs to a barycentre of two points."""
    d = 1 + i % 3
    centres = np.arange(2)[:, None] * 100.0 + rng.standard_normal((2, d))
    labels = np.repeat([0, 1], (2 + i % 3, 3))
    points = centres[labels] + rng.standard_normal((len(labels), d))
    return Instance(
        points=points,
        labels=labels,
        support=centres + rng.standard_normal((2, d)),
        few=points[:3] + 0.0,
        d=d,
        mean=rng.standard_normal(4),
        spread=rng.random(4),
        target_mean=rng.standard_normal(4),
        target_spread=rng.random(4),
        batches=rng.standard_normal((3, 4, d)),
        features=rng.standard_normal((3, d)),
        targets=rng.standard_normal((3, d)),
    )


PROBLEMS, KERNELS, TIED = seeded(_problem), seeded(_kernel), seeded(_tied)
GRADIENTS, PARTS, MEANS = seeded(_gradients), seeded(_parts), seeded(_means)
