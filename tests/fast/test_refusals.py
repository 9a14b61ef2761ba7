"""Every public function on arrays refuses what is wrong with any argument, by the name of that argument, in one line.

The table holds one good value for each argument name; a function is called with good values and one bad one.
"""

import inspect
import re
from importlib import import_module

import numpy as np
import pytest

MODULES = (
    "certificates.fidelity",
    "distillation.barycenter",
    "distillation.gradient_distillation",
    "distillation.local_global",
    "distillation.row_samplers",
    "kernels.locality",
    "kernels.redundancy",
    "kernels.ridge",
    "kernels.subspace",
)
RNG = np.random.default_rng(11)
C, N, K = 2, 4, 3
FEATURES = RNG.standard_normal((C, N, K))
KERNEL = FEATURES @ FEATURES.swapaxes(1, 2)
KERNEL = (KERNEL + KERNEL.swapaxes(1, 2)) / 2
TARGETS = RNG.standard_normal((C, N))

GOOD = {
    "a": FEATURES,
    "b": FEATURES[:, :2],
    "clusters": 2,
    "coverage_threshold": 0.5,
    "eigenvalues": np.asarray([[3.0, 2.0, 1.0]] * C),
    "epsilon": 0.1,
    "epsilon_global": 0.1,
    "epsilon_local": 0.1,
    "features": FEATURES,
    "global_basis": np.broadcast_to(np.eye(N)[:, :2], (C, N, 2)).copy(),
    "grid": [0.1, 1.0],
    "inducing": FEATURES[:, :2],
    "kernel": KERNEL,
    "labels": np.asarray([0, 0, 1, 1]),
    "lam": 0.5,
    "local_basis": np.broadcast_to(np.eye(N)[:, :1], (C, N, 1)).copy(),
    "losses": RNG.standard_normal((2, 5)) ** 2,
    "m": 2,
    "n": N,
    "network_norm": np.ones(C),
    "network_weights": RNG.standard_normal((C, K)),
    "points": FEATURES[0],
    "predictions": TARGETS,
    "bounds": np.ones((C, N)),
    "q": 1,
    "r": 2,
    "rank": 2,
    "rows": FEATURES,
    "seed": 0,
    "support": FEATURES[0, :2],
    "synthesis": np.broadcast_to(np.eye(N)[:, :2], (C, N, 2)).copy(),
    "targets": TARGETS,
    "tau_g": 0.7,
    "tau_v": 0.9,
    "test": FEATURES[:, :2] + 1.0,
}
# Where a name means something else.
OTHERWISE = {
    "distillation.gradient_distillation.exact_gradient": {"features": FEATURES[0], "targets": TARGETS[0]},
    "distillation.row_samplers.selection": {"rows": np.asarray([0, 2])},
}
# They take what a public function has checked.
UNCHECKED = {
    "distillation.row_samplers.draw_rows",
    "distillation.row_samplers.feature_points",
    "distillation.row_samplers.medoid_rows",
    "kernels.ridge.grid_at",
    "kernels.ridge.leverage_of",
    "kernels.ridge.regularised_solve",
}


def functions():
    for name in MODULES:
        module = import_module(f"dntk_fast.{name}")
        for public in module.__all__:
            function, path = getattr(module, public), f"{name}.{public}"
            if inspect.isfunction(function) and function.__module__ == module.__name__ and path not in UNCHECKED:
                yield path, function


FUNCTIONS = dict(functions())


def good_call(path):
    """Good values for all arguments of a function that have no default."""
    own, parameters = OTHERWISE.get(path, {}), inspect.signature(FUNCTIONS[path]).parameters.values()
    return {p.name: own.get(p.name, GOOD.get(p.name)) for p in parameters if p.default is p.empty}


def bad_values(value):
    """What is wrong in kind with a value, whatever the function."""
    if isinstance(value, np.ndarray):
        poisoned = value.astype(float)
        poisoned.flat[0] = np.nan
        return [poisoned, value.astype(complex), "a"]
    if isinstance(value, int):
        return [value + 0.5, -1, True]
    if isinstance(value, float):
        return [np.nan, -1.0, "a"]
    return ["a", [], 0.5]


ARGUMENTS = [(path, name) for path in FUNCTIONS for name in good_call(path)]


@pytest.mark.parametrize("path", FUNCTIONS)
def test_good_values_are_let_through(path):
    FUNCTIONS[path](**good_call(path))


@pytest.mark.parametrize(("path", "name"), ARGUMENTS)
def test_each_bad_value_is_refused_by_the_name_of_its_argument(path, name):
    good = good_call(path)
    for bad in bad_values(good[name]):
        with pytest.raises((ValueError, TypeError)) as refused:
            FUNCTIONS[path](**{**good, name: bad})
        line = str(refused.value)
        assert re.match(rf"{name}\b[^\n]* expected [^\n]*$|{name}: expected [^\n]*$", line), (bad, line)


def test_the_table_has_a_value_for_every_argument():
    assert [pair for pair in ARGUMENTS if good_call(pair[0])[pair[1]] is None] == []
