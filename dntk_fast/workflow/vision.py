"""The one module that imports torchvision: its wheel beside a CPU-only torch cannot be imported directly."""

from __future__ import annotations

import sys
from types import ModuleType

import torch

__all__ = ["import_torchvision"]


def import_torchvision() -> ModuleType:
    """Give back torchvision, also where its compiled operators do not fit the installed torch.

    The extension of a CUDA wheel does not load beside a CPU-only torch; torchvision goes on without its operators,
    but then describes two of them to torch, which knows no such names and raises. Declaring the two first makes the
    import pass. What needs the compiled operators (`ops.nms`, `io.decode_image`) still fails when it is called.

    Returns
    -------
    module
        The package `torchvision`, whole: a second call gives the same module.

    Raises
    ------
    ImportError
        If torchvision is not installed.

    Example
    -------
    >>> import_torchvision().__name__
    'torchvision'
    """
    try:
        import torchvision
    except ModuleNotFoundError as error:
        raise ImportError("torchvision: expected the package to be installed (pip install 'dntk[vision]')") from error
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        torchvision = _import_with_declared_operators()
    return torchvision


def _import_with_declared_operators() -> ModuleType:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # left half-imported by the first attempt
    declarations = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            declarations.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

    torchvision._declarations = declarations  # a declaration lives as long as its library
    return torchvision
