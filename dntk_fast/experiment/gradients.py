"""The real gradients on which the ledger looks."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast.files.atomic import write_atomically
from dntk_fast.tangent.head import final_linear, penultimate
from dntk_fast.tangent.kernel import tangent_kernel
from dntk_fast.workflow.config import Config
from dntk_fast.workflow.data import Dataset, load
from dntk_fast.workflow.models import build
from dntk_fast.workflow.training import train

__all__ = ["eigen_factor", "real_gradients", "write_arrays"]

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can name: equal arrays make equal files


def real_gradients(*, seed: int = 0, epochs: int = Config.epochs, per_class: int = 20) -> dict[str, np.ndarray]:
    """Train conv8 on digits and take the exact float64 kernels of its logits on the first images of every class.

    K_c = Phi_c Phi_c^T (Eq 1) of n = 10 per_class training images, as a factor F_c with F_c F_c^T = K_c.

    Parameters
    ----------
    seed
        Seed of the Config whose network seed starts the weights and the order of training.
    epochs
        Training epochs.
    per_class
        Images of each class, the first of the training split.

    Returns
    -------
    dict
        `factor` (10, n, n), columns by descending eigenvalue; `hidden` (n, 64); `weight` (10, 64) and `bias` (10,) of
        the head; `logits` (10, n), all float64; `labels` and `rows` (n,), int64, rows counting in the training split;
        `accuracy` () on the held-out images.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Example
    -------
    >>> made = real_gradients(epochs=1, per_class=1)
    >>> made["factor"].shape, made["hidden"].shape
    ((10, 10, 10), (10, 64))
    """
    data, config = load("digits"), Config(seed=seed, epochs=epochs)
    rows = _first_of_each_class(data.y_train, _check.integer("per_class", per_class, 1))
    start = build("conv8", seed=config.seeds["network"])
    model = train(start, data.x_train, data.y_train, epochs=epochs, seed=config.seeds["network"]).model
    accuracy = _accuracy(model, data)
    model, x = model.double(), data.x_train[rows].double()
    with torch.no_grad():
        logits, hidden = model(x).T, penultimate(model, x)
    _, head = final_linear(model, x)
    kernel = tangent_kernel(model, x, dtype=torch.float64)
    arrays = {
        "factor": eigen_factor(kernel), "hidden": hidden, "weight": head.weight, "bias": head.bias, "logits": logits,
        "labels": data.y_train[rows], "rows": rows, "accuracy": torch.tensor(accuracy, dtype=torch.float64),
    }  # fmt: skip
    return {name: value.detach().contiguous().numpy() for name, value in arrays.items()}


def eigen_factor(kernel: Tensor) -> Tensor:
    """Give F = U Lambda^1/2 with F F^T = K, columns by descending eigenvalue; rounding below zero counts as zero.

    >>> eigen_factor(torch.diag(torch.tensor([1.0, 4.0]))).abs().tolist()
    [[0.0, 1.0], [2.0, 0.0]]
    """
    values, vectors = torch.linalg.eigh(kernel)
    return (vectors * values.clamp(min=0).sqrt().unsqueeze(-2)).flip(-1)


def write_arrays(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Write named arrays as a compressed .npz that carries no time: equal arrays make equal files."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as file:
        for name, value in arrays.items():
            content = io.BytesIO()
            np.save(content, value, allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy", EPOCH), content.getvalue(), zipfile.ZIP_DEFLATED, 9)
    write_atomically(path, whole.getvalue())


def _first_of_each_class(labels: Tensor, per_class: int) -> Tensor:
    places = [torch.nonzero(labels == c).flatten() for c in range(int(labels.max()) + 1)]
    fewest = min(len(place) for place in places)
    _check.integer("per_class", per_class, 1, fewest)
    return torch.cat([place[:per_class] for place in places]).sort().values


def _accuracy(model: nn.Module, data: Dataset) -> float:
    with torch.no_grad():
        return float((model(data.x_test).argmax(1) == data.y_test).double().mean())
