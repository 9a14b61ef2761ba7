"""The whole pipeline, small: barycentres, the images nearest to them, projected gradients, ridge, logits at new points."""

import numpy as np

import dntk_ref.network as ref
from dntk_fast.estimator import DistilledNTK
from dntk_fast.tangent.features import feature_plan
from dntk_ref.barycenter import barycenter
from dntk_ref.ridge import ridge_weights

from .common import SEED, Pair, grid, tensor
from .networks import reference_network, twin

LAM = 1.0


class WholePipeline(Pair):
    """`DistilledNTK.fit(...).logits(...)` with real images kept as they are (no updates), and the same by definition.

    Images of a class lie in m well separated groups, so that both find the one optimal quantisation.
    """

    params = [grid(n=(200, 600, 1800), m=(2, 4), k=(128, 256), dtype=("float64", "float32"))]

    def work(self, rng, size):
        network = reference_network("mlp", rng)
        labels = np.arange(size.n) % 10
        centres = 3 * rng.standard_normal((10, size.m, 64))
        x, new = (
            centres[labels, np.arange(size.n) // 10 % size.m] + 0.1 * rng.standard_normal((size.n, 64)) for _ in "ab"
        )
        model, images, points = twin(network, size.dtype), tensor(x, size.dtype), tensor(new, size.dtype)
        matrix = feature_plan(model, images, k=size.k, seed=SEED).sketch.matrix().cpu().double().numpy()
        y, setting = tensor(labels, "int64"), {"per_class": size.m, "k": size.k, "seed": SEED, "lam": LAM, "steps": 0}
        setting |= {"images": "wmdd", "solve": "per class"}
        return (
            lambda: by_definition(network, x, labels, new, size.m, matrix),
            lambda: DistilledNTK(model, **setting).fit(images, y).logits(points),
        )


def by_definition(network, x, labels, new, m, matrix):
    """Logits (n, C) of the reference."""
    hidden, kept, masses = ref.penultimate(network, x), [], []
    for c in range(10):
        own = np.flatnonzero(labels == c)
        found = barycenter(hidden[own], m, rng=np.random.default_rng(SEED))
        distances = np.linalg.norm(hidden[own][:, None] - found.points, axis=2)
        kept.extend(own[distances.argmin(0)])
        masses.extend(found.weights)
    root = np.sqrt(np.array(masses) / np.mean(masses))
    rows, targets = root[:, None] * projected(network, x[kept], matrix), ref.forward(network, x[kept]) * root
    weights = [ridge_weights(Phi, y, LAM) for Phi, y in zip(rows, targets, strict=True)]
    return np.einsum("cnk,ck->nc", projected(network, new, matrix), weights)


def projected(network, x, matrix):
    """Features (C, n, k + d_h + 1): the body's gradient times the sketch's own matrix, the head's as it is."""
    body, h = ref.head_slice(network).start, ref.penultimate(network, x)
    head = np.broadcast_to(np.column_stack([h, np.ones(len(x))]), (10, len(x), h.shape[1] + 1))
    return np.concatenate([ref.jacobian(network, x)[..., :body] @ matrix, head], axis=2)
