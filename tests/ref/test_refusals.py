"""Every public function refuses what is wrong with any argument, by the name of that argument, in one line.

The table holds one good value for each argument name; a function is called with good values and one bad one.
"""

import inspect
import re
from importlib import import_module

import numpy as np
import pytest

from dntk_ref import cases

RNG = np.random.default_rng(7)
PI = np.diag([1.0, 1.0, 0.0, 0.0])
MLP = cases.tiny_mlp(rng=RNG)

GOOD = {
    "a": RNG.standard_normal((3, 4)),
    "b": RNG.standard_normal((2, 4)),
    "basis": np.eye(3)[:, :2],
    "channels": None,
    "classes": 2,
    "clusters": 2,
    "columns": 2,
    "condition": 10.0,
    "copies": 2,
    "cost": 1.0,
    "coverage": np.array([0.2, 0.8]),
    "coverage_threshold": 0.5,
    "differentials": RNG.standard_normal((3, 4)),
    "direction": RNG.standard_normal(4),
    "distinct": 2,
    "eigenvalues": np.array([2.0, 1.0, 0.5]),
    "epsilon": 0.1,
    "epsilon_global": 0.1,
    "epsilon_local": 0.1,
    "exponent": 1.0,
    "features": RNG.standard_normal((3, 4)),
    "gamma": 2.0,
    "global_basis": np.eye(3)[:, :2],
    "global_rank": 2,
    "gradient": RNG.standard_normal(4),
    "gradients": RNG.standard_normal((3, 4)),
    "hidden": RNG.standard_normal((3, 2)),
    "hidden_inducing": RNG.standard_normal((2, 2)),
    "inducing": RNG.standard_normal((2, 4)),
    "inputs": 2,
    "jacobian": RNG.standard_normal((3, 2, 4)),
    "kernel": cases.kernel_with_spectrum([3.0, 2.0, 1.0], rng=RNG),
    "labels": np.array([0, 1, 1]),
    "lipschitz": 1.0,
    "local_basis": np.eye(3)[:, :1],
    "logits": RNG.standard_normal((3, 2)),
    "loss": lambda theta: float(theta @ theta),
    "metric": np.eye(4),
    "moment": np.eye(4),
    "n": 4,
    "parameters": 5,
    "probabilities": np.full(3, 1 / 3),
    "projected": cases.kernel_with_spectrum([3.0, 2.0, 1.0], rng=RNG),
    "projector": PI,
    "q": 1,
    "r": 1,
    "rank": 2,
    "rate": 0.5,
    "ridge": 0.5,
    "rng": np.random.default_rng(0),
    "rows": RNG.standard_normal((2, 4)),
    "rtol": 1e-12,
    "sensitivity": RNG.standard_normal((3, 2)),
    "sensitivity_moment": np.eye(2),
    "size": 1,
    "smoothness": 2.0,
    "spread": 0.5,
    "step": PI @ RNG.standard_normal(4),
    "steps": np.array([0.1, 0.01]),
    "targets": RNG.standard_normal((3, 2)),
    "tests": 1,
    "theta": RNG.standard_normal(4),
    "threshold": 0.5,
    "value": 1.0,
    "width": 3,
}
OTHERWISE = {
    "cases.orthonormal": {"rows": 3},
    "network.forward": {"network": MLP.network, "inputs": MLP.inputs},
    "network.jacobian": {"network": MLP.network, "inputs": MLP.inputs},
    "network.penultimate": {"network": MLP.network, "inputs": MLP.inputs},
    "network.taylor_remainder": {"network": MLP.network, "inputs": MLP.inputs, "direction": np.ones(43)},
    "network.unflatten": {"network": MLP.network, "theta": np.ones(43)},
    "redundancy.data_redundant_r2": {"gamma": 0.5},
    "redundancy.subset_residual": {"rows": np.array([0, 2])},
}
# Their arguments are tuples or whole networks, and have tests of their own.
ELSEWHERE = {"network.mlp", "network.conv_net", "network.flatten", "network.head_slice"}


def functions():
    for module_name in ("kernel", "subspace", "regret", "redundancy", "locality", "network", "cases"):
        module = import_module(f"dntk_ref.{module_name}")
        for name in module.__all__:
            function = getattr(module, name)
            if inspect.isfunction(function) and f"{module_name}.{name}" not in ELSEWHERE:
                yield f"{module_name}.{name}", function


FUNCTIONS = dict(functions())


def good_call(path):
    """Good values for all arguments of a function."""
    names = inspect.signature(FUNCTIONS[path]).parameters
    return {name: OTHERWISE.get(path, {}).get(name, GOOD.get(name)) for name in names}


def bad_values(value):
    """What is wrong in kind with a value, whatever the function."""
    if isinstance(value, np.ndarray):
        poisoned = value.astype(object if value.dtype.kind == "i" else float)
        poisoned.flat[0] = "a" if value.dtype.kind == "i" else np.nan
        return [poisoned, value[..., None], np.zeros((*value.shape[:-1], 0), dtype=value.dtype), value.astype(complex)]
    if isinstance(value, int):
        return [float(value), -1, True]
    if isinstance(value, float):
        return [np.nan, np.array([value]), "a"]
    return [0] if isinstance(value, np.random.Generator) else []


ARGUMENTS = [(path, name) for path in FUNCTIONS for name, value in good_call(path).items() if bad_values(value)]
OPTIONAL_COLUMNS = {"global_basis", "local_basis", "basis", "coverage"}  # none of them is a good value


@pytest.mark.parametrize("path", FUNCTIONS)
def test_good_values_are_let_through(path):
    FUNCTIONS[path](**good_call(path))


@pytest.mark.parametrize(("path", "name"), ARGUMENTS)
def test_each_bad_value_is_refused_by_the_name_of_its_argument(path, name):
    call = good_call(path)
    for bad in bad_values(call[name]):
        if name in OPTIONAL_COLUMNS and isinstance(bad, np.ndarray) and bad.size == 0:
            continue
        with pytest.raises((TypeError, ValueError), match=rf"^{name}: expected ") as refusal:
            FUNCTIONS[path](**{**call, name: bad})
        assert "\n" not in str(refusal.value)


def grown(value):
    """The same array with one more along one axis, or along all of them."""
    for axes in [*range(value.ndim), tuple(range(value.ndim))]:
        widths = [(0, int(axis in np.atleast_1d(axes))) for axis in range(value.ndim)]
        yield np.pad(value, widths, mode="edge")
        if value.ndim == 2:
            yield np.pad(value, widths)


ARRAYS = [(path, name) for path, name in ARGUMENTS if isinstance(good_call(path)[name], np.ndarray)]


@pytest.mark.parametrize(("path", "name"), ARRAYS)
def test_a_size_that_does_not_fit_is_never_left_to_numpy_to_find(path, name):
    call = good_call(path)
    for value in grown(call[name]):
        complaint = "x: expected a size that fits, got one"
        try:
            FUNCTIONS[path](**{**call, name: value})
        except ValueError as refusal:
            complaint = str(refusal)
        # Where the larger array is let through, it fits; where it is not, the words are ours.
        assert re.match(r"^\w+: expected .*, got .*", complaint)
