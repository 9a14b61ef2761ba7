"""The array kinds that one code path serves, and what a test needs to go there and back.

`kinds` parametrises a test over NumPy, torch and the strict implementation of the standard; `gpu_kinds` over torch and
CuPy on a CUDA device.
"""

import importlib.util

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from dntk_ref import cases
from tests.strategies import generators
from tests.tolerances import TOL

CLOSE = {"rtol": TOL["float64"], "atol": TOL["float64"]}
# The core is float64: a float32 input gives the answer to its own numbers, rounded once.
ROUNDED = {"rtol": TOL["rounded_to_float32"], "atol": TOL["rounded_to_float32"]}

_strict = pytest.mark.skipif(importlib.util.find_spec("array_api_strict") is None, reason="array-api-strict is missing")
_cupy = pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is missing")
kinds = pytest.mark.parametrize("kind", ["numpy", "torch", pytest.param("strict", marks=_strict)])
gpu_kinds = pytest.mark.parametrize("kind", ["cuda", pytest.param("cupy", marks=_cupy)])


def to(kind, values, dtype="float64"):
    """A NumPy array (integers stay integers) as the kind."""
    values = np.asarray(values)
    if values.dtype.kind == "f":
        values = values.astype(dtype)
    if kind == "numpy":
        return values
    if kind in ("torch", "cuda"):
        return torch.asarray(values, device="cuda" if kind == "cuda" else "cpu")
    return importlib.import_module("array_api_strict" if kind == "strict" else "cupy").asarray(values)


def back(array):
    """The array as NumPy."""
    if isinstance(array, torch.Tensor):
        return array.cpu().numpy()
    return array.get() if type(array).__module__.startswith("cupy") else np.asarray(array)


def assert_same_kind(found, given):
    """The same array type, dtype and device came back."""
    assert type(found) is type(given)
    assert found.dtype == given.dtype
    assert found.device == given.device


@st.composite
def feature_stacks(draw, rows=(1, 6), columns=(1, 8), classes=(1, 3)):
    """Features (C, n, k) of a few classes, Gaussian, with a repeated row in some."""
    C, n, k = (draw(st.integers(*sizes)) for sizes in (classes, rows, columns))
    Phi = draw(generators()).standard_normal((C, n, k))
    if draw(st.booleans()):
        Phi[0, -1] = Phi[0, 0]
    return Phi


@st.composite
def kernel_stacks(draw, sizes=(2, 7), classes=(1, 3)):
    """Kernels (C, n, n) with simple, decaying spectra (condition up to about 1e3) and random eigenvectors."""
    C, n = draw(st.integers(*classes)), draw(st.integers(*sizes))
    rng, rates = draw(generators()), [draw(st.sampled_from([0.3, 0.7, 1.0])) for _ in range(C)]
    return np.stack([cases.kernel_with_spectrum(cases.exponential_spectrum(n, rate), rng=rng) for rate in rates])
