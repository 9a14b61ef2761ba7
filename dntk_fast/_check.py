"""The refusals: each function gives back what it checked, or raises one line that names the argument.

Arrays may be of any array-API kind (NumPy, torch, CuPy); they come back as they are, never converted or moved.
One file because refusals share one way to say what was expected and what came.
"""

from __future__ import annotations

import importlib
import operator
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

__all__ = [
    "CONSTANTS",
    "array",
    "array_like",
    "array_namespace",
    "choice",
    "dense",
    "dimension",
    "distinct",
    "fraction",
    "frozen_statistics",
    "inputs",
    "integer",
    "kernels",
    "labels",
    "logits",
    "module",
    "nonnegative",
    "numbers",
    "parameter",
    "partition",
    "path",
    "plain",
    "positive",
    "refuse",
    "ridge",
    "rows",
    "samples",
    "seed",
    "symmetric",
    "tensor",
    "tensors",
]


class ArgumentError(ValueError):
    """A ValueError of ours: its one line names the argument already."""


def refuse(name: str, expected: str, got: object, *, remedy: str = "") -> NoReturn:
    """Raise one line: the argument, what is expected, what came, and what to do where that does not follow from it.

    >>> refuse("k", "at most P = 9", 12, remedy="take all with k=None")
    Traceback (most recent call last):
    dntk_fast._check.ArgumentError: k: expected at most P = 9, got 12; take all with k=None
    """
    raise ArgumentError(f"{name}: expected {expected}, got {got}" + (f"; {remedy}" if remedy else ""))


# --- numbers and words ------------------------------------------------------------------------------------------------


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """An integer (no bool, no float) in [low, high]."""
    try:
        if isinstance(value, bool):
            raise TypeError
        found = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if found < low or (high is not None and found > high):
        refuse(name, f"an integer in [{low}, {'inf' if high is None else high}]", found)
    return found


def seed(value: Any) -> int:
    """A seed: an integer in [0, 2^63)."""
    return integer("seed", value, 0, 2**63 - 1)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool | str):
        raise TypeError(f"{name}: expected a real number, got {value!r}")
    try:
        found = float(value)
    except OverflowError:
        refuse(name, "a number that float64 holds", "a larger one")
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a real number, got {value!r}") from None
    if not abs(found) < float("inf"):
        refuse(name, "a finite number", found)
    return found


def positive(name: str, value: Any) -> float:
    """A finite number above zero."""
    found = _number(name, value)
    if found <= 0:
        refuse(name, "a number above 0", found)
    return found


def nonnegative(name: str, value: Any) -> float:
    """A finite number, zero or above."""
    found = _number(name, value)
    if found < 0:
        refuse(name, "a number that is 0 or above", found)
    return found


def fraction(name: str, value: Any) -> float:
    """A number in [0, 1]."""
    found = _number(name, value)
    if not 0 <= found <= 1:
        refuse(name, "a number in [0, 1]", found)
    return found


def choice(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """One of the allowed words."""
    if value not in allowed:
        refuse(name, f"one of {', '.join(map(str, allowed))}", repr(value))
    return value


def path(name: str, value: Any) -> Path:
    """The path that a string or a path object names; none is named by an empty string."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name}: expected a path, got {type(value).__name__}")
    if value == "" or "\0" in str(value):
        refuse(name, "a path", repr(value))
    return Path(value)


def dimension(k: Any, parameters: int) -> int:
    """A projection size: an integer in [1, P]."""
    return integer("k", k, 1, parameters)


# --- arrays of any kind -----------------------------------------------------------------------------------------------


def array_namespace(value: Any) -> Any:
    """The array-API namespace of an array; its package is asked for here alone, for the tangent part does without."""
    return importlib.import_module("array_api_compat").array_namespace(value)


def _namespace(name: str, value: Any) -> Any:
    if isinstance(value, np.matrix):  # its products are of another kind
        raise TypeError(f"{name}: expected an array, got a matrix (numpy.asarray makes it one)")
    if isinstance(value, np.ma.MaskedArray):  # the mask would be lost on the way
        raise TypeError(f"{name}: expected an array without a mask, got a MaskedArray")
    try:
        return array_namespace(value)
    except TypeError:
        raise TypeError(f"{name}: expected an array, got {type(value).__name__}") from None


def tensor(name: str, value: Any) -> Tensor:
    """A torch tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a torch tensor, got {type(value).__name__}")
    return value


def dense(name: str, value: Tensor) -> None:
    """Refuse tensors on which torch computes nothing, or not with others.

    >>> dense("x", torch.eye(2).to_sparse())
    Traceback (most recent call last):
        ...
    dntk_fast._check.ArgumentError: x: expected a dense tensor, got one of layout torch.sparse_coo
    """
    if value.is_meta:
        refuse(name, "a tensor that holds numbers", "one on the meta device")
    if value.is_nested:
        refuse(name, "samples of one length (torch.nested.to_padded_tensor, and a mask)", "a nested tensor")
    if value.layout != torch.strided:
        refuse(name, "a dense tensor", f"one of layout {value.layout}")
    if value.is_quantized:
        refuse(name, "numbers that are not quantised", f"dtype {value.dtype}")
    if value.is_floating_point() and value.dtype.itemsize == 1:
        raise TypeError(f"{name}: expected numbers of two bytes or more, got dtype {value.dtype}")


def plain(name: str, value: Tensor) -> Tensor:
    """The numbers of a tensor as torch's own kind: of no subclass, without a sign or a history that is still to be applied.

    What looks at functions of a model as they are called does not see those of a subclass.

    >>> type(plain("x", torch.ones(2).as_subclass(type("Named", (Tensor,), {})))).__name__
    'Tensor'
    """
    if value.is_meta:
        refuse(name, "a tensor that holds numbers", "one on the meta device")
    kind = type(value)
    if kind not in (Tensor, nn.Parameter) and not value.is_nested:
        if kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:
            raise TypeError(f"{name}: expected a plain torch tensor, got a {kind.__name__}")
        with torch._C.DisableTorchFunctionSubclass():
            value = value.as_subclass(Tensor)
    if value.layout == torch.strided:
        value = value.resolve_conj().resolve_neg()
    return value.detach() if value.requires_grad else value


def numbers(name: str, value: Any) -> Tensor:
    """A plain tensor of the numbers of a tensor, an array or a list; a NumPy array is not changed, and may be read-only.

    >>> numbers("y", np.array([1, 2], ">i2")).tolist()
    [1, 2]
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected an array without a mask, got a MaskedArray")
    try:
        if isinstance(value, np.ndarray):  # torch takes neither negative strides nor another machine's order of bytes
            given, value = value, np.asarray(value, value.dtype.newbyteorder("="), order="C")
            value = value if value.flags.writeable else given.astype(value.dtype)  # torch warns of what is read-only
        found = torch.as_tensor(value, device=value.device if isinstance(value, Tensor) else "cpu")
    except (TypeError, ValueError, RuntimeError):
        got = getattr(value, "dtype", type(value).__name__)
        raise TypeError(f"{name}: expected numbers in an array, got {got}") from None
    dense(name, found)
    return plain(name, found)


def _finite(value: Any) -> bool:
    # torch looks at one entry at a time; a NaN or an infinity anywhere shows in the sum, which is an order cheaper. A sum
    # that is not finite may have overflowed: only then every entry is looked at.
    if isinstance(value, Tensor):
        return bool(torch.isfinite(value.detach().sum())) or bool(torch.isfinite(value.detach()).all())
    xp = array_namespace(value)
    return bool(xp.all(xp.isfinite(value)))


def array(name: str, value: Any, *, ndim: int | None = None, least: int = 1) -> Any:
    """A finite real floating-point array with exactly `ndim` axes, or at least `least` of them."""
    if isinstance(value, Tensor):
        dense(name, value)
    xp = _namespace(name, value)
    if not xp.isdtype(value.dtype, "real floating"):
        raise TypeError(f"{name}: expected real floating-point numbers, got dtype {value.dtype}")
    if (ndim is not None and value.ndim != ndim) or value.ndim < least:
        expected = f"{ndim} axes" if ndim is not None else f"at least {least} axes"
        refuse(name, expected, f"shape {tuple(value.shape)}")
    if not _finite(value):
        refuse(name, "finite entries", "some that are NaN or infinite")
    return value


def kernels(name: str, value: Any) -> Any:
    """One finite square matrix, or one for each of leading classes: (..., n, n)."""
    found = array(name, value, least=2)
    if found.shape[-1] != found.shape[-2]:
        refuse(name, "square matrices (..., n, n)", f"shape {tuple(found.shape)}")
    return found


def partition(name: str, value: Any, n: int) -> Any:
    """One integer cluster label for each of n rows."""
    if isinstance(value, Tensor):
        dense(name, value)
    xp = _namespace(name, value)
    if not xp.isdtype(value.dtype, "integral"):
        raise TypeError(f"{name}: expected integer labels, got dtype {value.dtype}")
    if value.dtype in (torch.uint16, torch.uint32, torch.uint64):  # torch has no comparisons of them
        raise TypeError(f"{name}: expected integers that torch compares (int64), got dtype {value.dtype}")
    if tuple(value.shape) != (n,):
        refuse(name, f"shape ({n},)", f"shape {tuple(value.shape)}")
    return value


def labels(name: str, value: Any, n: int, classes: int | None = None) -> Tensor:
    """Integer classes from 0 on, one for each of n rows, in a plain tensor: below `classes`, or as many as there are.

    Raises
    ------
    ValueError
        Other numbers; without `classes`, a class below the largest of which there is no row.

    >>> labels("y", torch.tensor([0, 2]), 2)
    Traceback (most recent call last):
        ...
    dntk_fast._check.ArgumentError: y: expected rows of every class 0 ... 2, got none of class 1
    """
    found = plain(name, partition(name, tensor(name, value), n))
    if int(found.min()) < 0:
        refuse(name, "labels from 0 on", int(found.min()))
    if classes is not None and int(found.max()) >= classes:
        refuse(name, f"labels below {classes}, the outputs of the model", int(found.max()))
    if classes is None:
        missing = (torch.bincount(found.long()) == 0).nonzero().flatten().tolist()
        if missing:
            refuse(name, f"rows of every class 0 ... {int(found.max())}", f"none of class {missing[0]}")
    return found


# --- models and their inputs ------------------------------------------------------------------------------------------


# What may stand beside the tensors of a batch, the same for every sample: flags, numbers, words, nothing.
CONSTANTS = (bool, int, float, str, type(None))


def tensors(name: str, value: Any) -> list[Tensor]:
    """The tensors of a batch: itself, or those of a tuple or mapping of arguments, flags and None left out."""
    if isinstance(value, PackedSequence):
        refuse(
            name, "padded samples beside their lengths (pad_packed_sequence), packed by the model", "a PackedSequence"
        )
    several = isinstance(value, tuple | Mapping)
    parts = list(value.values() if isinstance(value, Mapping) else value) if several else [value]
    found = [part for part in parts if isinstance(part, Tensor)]
    odd = [part for part in parts if not isinstance(part, (Tensor, *CONSTANTS))]
    if not found or odd:
        raise TypeError(f"{name}: expected {_BATCH}, got {_kind(odd[0] if several and odd else value)}")
    if any(part.is_nested for part in found):
        refuse(name, "samples of one length (torch.nested.to_padded_tensor, and a mask)", "a nested tensor")
    return found


_BATCH = "a tensor, or a tuple or dict of tensors"


def _kind(value: Any) -> str:
    """The type of what is no batch, and what to do about lists."""
    lists = isinstance(value, list) and value and all(isinstance(part, Tensor) for part in value)
    how = " of tensors (torch.stack joins them; pad_sequence, and a mask, where their lengths differ)" if lists else ""
    return f"{type(value).__name__}{how}"


def samples(name: str, value: Any) -> int:
    """The number of samples of a tensor, or of a tuple or mapping of tensors that agree on it."""
    parts = tensors(name, value)
    lengths = sorted({part.shape[0] if part.ndim else 0 for part in parts})
    if len(lengths) > 1:
        refuse(name, "the same number of samples in every tensor", lengths)
    if lengths[0] == 0:
        refuse(name, "at least one sample", f"shapes {[tuple(part.shape) for part in parts]}")
    return lengths[0]


def inputs(name: str, value: Any) -> Any:
    """A tensor, or a tuple or dict of tensors, with one finite entry per sample along the first axis."""
    samples(name, value)
    for part in tensors(name, value):
        dense(name, part)
        if part.is_floating_point() and not _finite(part):
            refuse(name, "finite entries", "some that are NaN or infinite")
    return value


# Everything in torch.nn that draws random numbers while training; what is not a leaf is reached through its parts.
_DROPOUT = (nn.modules.dropout._DropoutNd, nn.RReLU)
_BATCH_NORM = nn.modules.batchnorm._NormBase


def _moves(module: nn.Module) -> str | None:
    """Why a module's output is no fixed function of one sample, or None."""
    if isinstance(module, _BATCH_NORM):
        per_sample = isinstance(module, nn.modules.instancenorm._InstanceNorm)
        if module.training and (module.track_running_stats or not per_sample):
            return "uses batch statistics"
        if module.running_mean is None and not per_sample:
            return "has no running statistics and uses batch statistics even in evaluation mode"
    if module.training:
        if isinstance(module, _DROPOUT) and getattr(module, "p", 1.0) > 0:
            return "draws random numbers"
        if isinstance(module, nn.MultiheadAttention | nn.RNNBase) and module.dropout > 0:
            return "draws random numbers"
        if isinstance(module, nn.FractionalMaxPool2d | nn.FractionalMaxPool3d):
            return "draws random numbers"
    return None


def module(model: Any) -> nn.Module:
    """A torch module."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    return model


def parameter(model: Any) -> nn.Parameter:
    """The first parameter of a torch module, which says where the module lives and in what precision.

    >>> parameter(nn.Linear(2, 1)).shape
    torch.Size([1, 2])
    """
    found = next(module(model).parameters(), None)
    return refuse("model", "at least one parameter", "none") if found is None else found


def frozen_statistics(model: Any) -> nn.Module:
    """A module whose output is a fixed function of each sample: plain layers in training mode are accepted.

    >>> frozen_statistics(nn.Linear(2, 1)).training
    True
    """
    for name, part in module(model).named_modules():
        reason = _moves(part)
        if reason is not None:
            kind = type(part).__name__
            refuse("model", "evaluation mode (call model.eval())", f"{kind} {name or '(itself)'} that {reason}")
    for name, p in model.named_parameters():
        if isinstance(p, nn.parameter.UninitializedParameter):
            refuse("model", "parameters with shapes (run the model once)", f"{name} without one")
        if hasattr(p, "full_tensor"):
            expected = (
                "whole parameters (get_model_state_dict with full_state_dict=True, loaded into a model of its own)"
            )
            refuse("model", expected, f"{name} in shards, a {type(p).__name__}")
        if p.is_meta:
            refuse("model", "parameters that hold numbers", f"{name} on the meta device")
    return model


def logits(value: Any, n: int) -> Tensor:
    """The output of a model on n samples: one real tensor (n, C)."""
    hint = "or outputs=(model, batch) -> (n, C)"
    if not isinstance(value, Tensor):
        hint = f"an output tensor (n, C), {hint}"
        raise TypeError(f"model: expected {hint}, got {type(value).__name__}")
    if value.ndim != 2 or value.shape[0] != n or value.shape[1] == 0:
        refuse("model", f"outputs of shape ({n}, C), {hint}", f"shape {tuple(value.shape)}")
    if not value.is_floating_point():
        raise TypeError(f"model: expected real floating-point outputs, got dtype {value.dtype}")
    if not _finite(value):
        refuse("model", "finite outputs", "some that are NaN or infinite")
    return value


# --- feature matrices, kernels and what goes with them ----------------------------------------------------------------


def rows(name: str, value: Any, *, least: int = 2, ndim: int | None = None) -> Any:
    """A finite floating-point array without an empty axis: (n, k) for one class, (C, n, k) for all."""
    found = array(name, value, least=least, ndim=ndim)
    if 0 in found.shape:
        refuse(name, "at least one entry along every axis", f"shape {tuple(found.shape)}")
    return found


def symmetric(name: str, value: Any, *, ndim: int | None = None) -> Any:
    """Finite symmetric matrices (..., n, n); their sign is judged where eigenvalues are computed."""
    found = kernels(name, rows(name, value, ndim=ndim))
    xp = array_namespace(found)
    # Two routes to one product differ by a few units of rounding, in its dtype or in float32 before widening; a mix-up
    # differs by far more.
    allowed = max(1e-6, float(xp.finfo(found.dtype).eps) ** 0.5) * float(xp.max(xp.abs(found)))
    asymmetry = float(xp.max(xp.abs(found - xp.matrix_transpose(found))))
    if asymmetry > allowed:
        refuse(name, "symmetric matrices", f"|K - K^T| up to {asymmetry:.3g}")
    return found


def array_like(name: str, value: Any, like: Any, shape: tuple[int | None, ...]) -> Any:
    """A finite array of the same kind as `like` and of the stated shape (None: any length)."""
    found = array(name, value, least=0)
    if array_namespace(found) is not array_namespace(like):
        raise TypeError(f"{name}: expected an array of the kind {type(like).__name__}, got {type(found).__name__}")
    if found.ndim != len(shape) or any(s is not None and s != t for s, t in zip(shape, found.shape, strict=True)):
        expected = ", ".join("any" if s is None else str(s) for s in shape)
        refuse(name, f"shape ({expected})", f"shape {tuple(found.shape)}")
    return found


def ridge(name: str, value: Any, like: Any, leading: tuple[int, ...]) -> Any:
    """A ridge above zero, one number or one per class, as float64 of the kind of `like`; it broadcasts over classes."""
    xp = array_namespace(like)
    if getattr(value, "ndim", 0) == 0:
        place = importlib.import_module("array_api_compat").device(like)
        return xp.asarray(positive(name, value), dtype=xp.float64, device=place)
    found = xp.astype(array_like(name, value, like, leading), xp.float64)
    if not bool(xp.all(found > 0)):
        refuse(name, "numbers above 0", f"down to {float(xp.min(found))}")
    return found


def distinct(name: str, value: Any, n: int) -> Any:
    """Row numbers (..., m) in [0, n), none twice along the last axis."""
    xp = _namespace(name, value)
    if not xp.isdtype(value.dtype, "integral"):
        raise TypeError(f"{name}: expected integers, got dtype {value.dtype}")
    if value.ndim == 0 or 0 in value.shape:
        refuse(name, "at least one row", f"shape {tuple(value.shape)}")
    ordered = xp.sort(value, axis=-1)
    if bool(xp.any(ordered < 0)) or bool(xp.any(ordered >= n)) or bool(xp.any(ordered[..., 1:] == ordered[..., :-1])):
        refuse(name, f"distinct integers in [0, {n - 1}]", "one outside or twice")
    return value
