"""What people bring to the estimator, as tensors where the model lives: arrays, batches of arguments, loaders, labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader

from dntk_fast import _check
from dntk_fast.tangent.batches import Outputs
from dntk_fast.tangent.loaders import arguments, joined, labelled, ordered

__all__ = ["batch_of", "batches_of", "class_numbers", "gives_numpy", "labelled_batch", "names_of_classes"]

_ARRAYS = "a torch tensor or a NumPy array, a tuple or dict of them, or a DataLoader"


def batch_of(name: str, X: Any, model: nn.Module) -> Any:
    """The inputs as tensors on the model's device, floating-point ones in its precision: a tensor, a tuple or a dict.

    Raises
    ------
    TypeError, ValueError
        What is no array, has no sample, or holds NaN or infinity.

    >>> batch_of("X", {"x": np.ones((2, 3)), "cached": False}, nn.Linear(3, 1))["x"].dtype
    torch.float32
    """
    if isinstance(X, PackedSequence) or (isinstance(X, list) and any(isinstance(part, Tensor) for part in X)):
        _check.tensors(name, X)  # which says what to do
    if isinstance(X, Mapping):
        found: Any = {key: _part(f"{name}[{key!r}]", part, model) for key, part in X.items()}
    elif isinstance(X, tuple):
        found = tuple(_part(f"{name}[{at}]", part, model) for at, part in enumerate(X))
    else:
        found = _part(name, X, model)
        if not isinstance(found, Tensor):
            raise TypeError(f"{name}: expected {_ARRAYS}, got {type(X).__name__}")
    return _check.inputs(name, found)


def _part(name: str, value: Any, model: nn.Module) -> Any:
    """One argument of the model; what is no array is left to the refusals, or to the model."""
    array = isinstance(value, Tensor | np.ndarray) or hasattr(value, "__array__")  # a data frame has one
    if not array:
        return value
    parameter, x = _check.parameter(model), tensor_of(name, value)
    if x.is_meta:
        return x
    own = x.clone() if x.is_inference() else x  # autograd can save nothing of what was made in inference mode
    return own.to(parameter.device, parameter.dtype) if x.is_floating_point() else own.to(parameter.device)


def tensor_of(name: str, value: Any) -> Tensor:
    """A tensor of the numbers of a tensor, an array or a list."""
    if isinstance(value, np.matrix):
        raise TypeError(f"{name}: expected an array, got a matrix (numpy.asarray makes it one)")
    if not isinstance(value, Tensor | np.ndarray) and hasattr(value, "__array__"):
        value = np.asarray(value)
    return _check.numbers(name, value)


def gives_numpy(X: Any) -> bool:
    """Whether the answer to these inputs is a NumPy array: where their first array is none of torch."""
    parts = list(X.values() if isinstance(X, Mapping) else X) if isinstance(X, Mapping | tuple) else [X]
    first = next((part for part in parts if isinstance(part, Tensor) or hasattr(part, "__array__")), None)
    return first is not None and not isinstance(first, Tensor)


# --- in pieces --------------------------------------------------------------------------------------------------------


def batches_of(name: str, X: Any, model: nn.Module, memory: int, outputs: Outputs = None) -> Iterator[Any]:
    """The inputs piece by piece as `batch_of` gives them, each within the memory: only a piece of an array is read at once.

    A loader gives its own batches.

    >>> [len(part) for part in batches_of("X", np.ones((5, 2)), nn.Linear(2, 1), memory=32)]
    [2, 2, 1]
    """
    if isinstance(X, DataLoader):
        for batch in ordered(name, X):
            yield batch_of(name, arguments(name, batch, model, outputs), model)
        return
    several = isinstance(X, Mapping | tuple) and not isinstance(X, PackedSequence)
    given = X.values() if isinstance(X, Mapping) else X if several else [X]
    parts = [part for part in given if _rows(part)]
    for part in parts:
        if isinstance(part, Tensor):
            _check.dense(name, part)
    n = max((len(part) for part in parts), default=0)
    if n < 2 or any(len(part) != n for part in parts):
        yield batch_of(name, X, model)
        return
    size = _check.parameter(model).element_size()
    row = sum(max(size, part[:1].itemsize) * int(np.prod(part.shape[1:])) for part in parts)
    step = max(1, memory // max(1, row))
    for at in range(0, n, step):
        yield batch_of(name, _some(X, slice(at, at + step)), model)


def _rows(part: Any) -> bool:
    return isinstance(part, Tensor | np.ndarray) and part.ndim > 0


def _some(X: Any, rows: slice) -> Any:
    if isinstance(X, Mapping):
        return {key: part[rows] if _rows(part) else part for key, part in X.items()}
    return tuple(part[rows] if _rows(part) else part for part in X) if isinstance(X, tuple) else X[rows]


def labelled_batch(name: str, X: Any, y: Any, model: nn.Module) -> tuple[Any, Any]:
    """All inputs and their labels; a loader gives them together, as pairs, or the inputs alone where labels are given."""
    if not isinstance(X, DataLoader):
        return batch_of(name, X, model), y
    if y is not None:
        return batch_of(name, joined(name, X, model, None), model), y
    inputs, labels = labelled(name, X)
    return batch_of(name, inputs, model), labels


# --- labels -----------------------------------------------------------------------------------------------------------


def names_of_classes(classes: Any, outputs: int) -> np.ndarray:
    """What the outputs stand for, in their order: 0 ... C - 1 where nothing is said.

    >>> names_of_classes(["cat", "dog"], 2).tolist()
    ['cat', 'dog']
    """
    if classes is None:
        return np.arange(outputs)
    if isinstance(classes, str) or not isinstance(classes, Sequence | np.ndarray | Tensor):
        raise TypeError(f"classes: expected the labels of the outputs in their order, or None, got {classes!r}")
    found = np.asarray(classes)
    if found.ndim != 1 or found.dtype.kind not in "iuUO" or len(set(found.tolist())) != len(found):
        _check.refuse("classes", "distinct integers or names", f"shape {found.shape} of {found.dtype}")
    if len(found) != outputs:
        _check.refuse("classes", f"{outputs} labels, one for each output", f"{len(found)}")
    return found


def class_numbers(y: Any, n: int, classes: np.ndarray, *, named: bool) -> Tensor:
    """The labels as numbers of outputs, int64 (n,); `named` says whether the caller named the classes.

    Raises
    ------
    TypeError, ValueError
        Labels that are none of the classes, or not one for each sample.

    >>> class_numbers(["b", "a"], 2, np.asarray(["a", "b"]), named=True).tolist()
    [1, 0]
    """
    array = not isinstance(y, Tensor) and (isinstance(y, list | tuple) or hasattr(y, "__array__"))
    words = np.asarray(y) if array else np.empty(0)
    if words.dtype.kind in "US" or (words.dtype == object and all(isinstance(word, str) for word in words.flat)):
        labels = _numbered(words, classes, named)
    else:
        labels = _integers(y)
        labels = _numbered(labels.numpy(force=True), classes, named) if named else labels.long()
    if len(labels) != n:
        raise ValueError(f"y: expected {n} classes, one for each row of X, got {len(labels)}")
    if n and not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
        got = f"classes from {int(labels.min())} to {int(labels.max())}"
        _check.refuse("y", f"classes 0 ... {len(classes) - 1}, the outputs of the model", got)
    return labels


def _integers(y: Any) -> Tensor:
    labels = tensor_of("y", y)
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"y: expected integer classes (n,), got shape {tuple(labels.shape)} and {labels.dtype}")
    return labels


def _numbered(labels: np.ndarray, classes: np.ndarray, named: bool) -> Tensor:
    """Places of the labels among the classes."""
    if not named:
        expected = "classes 0 ... C - 1, or classes=[...] that names the outputs in their order"
        _check.refuse("y", expected, f"names such as {labels.tolist()[0] if labels.ndim == 1 else labels.shape!r}")
    if labels.ndim != 1:
        _check.refuse("y", "labels (n,)", f"shape {labels.shape}")
    places = {label: at for at, label in enumerate(classes.tolist())}
    unknown = sorted({str(label) for label in labels.tolist() if label not in places})
    if unknown:
        _check.refuse("y", f"labels among classes={classes.tolist()[:8]}", unknown[0])
    return torch.tensor([places[label] for label in labels.tolist()], dtype=torch.int64)
