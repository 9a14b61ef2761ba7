"""Every public function refuses what is wrong with any argument, by the name of that argument, in one line.

The table holds one good value for each argument name; a function is called with good values and one bad one.
"""

import inspect
import pkgutil
import re
from importlib import import_module

import numpy as np
import pytest

import dntk_ref
from dntk_ref import cases, error, gradient_distillation, projection_error

RNG = np.random.default_rng(7)
PI = np.diag([1.0, 1.0, 0.0, 0.0])
MLP = cases.tiny_mlp(rng=RNG)
KERNEL = cases.kernel_with_spectrum([3.0, 2.0, 1.0], rng=RNG)
WHOLE = error.population(RNG.standard_normal((3, 4)), RNG.standard_normal(3))
ERRORS = error.expected_squares(WHOLE, 2, 0.5)
PROBLEM = projection_error.projected_problem(
    RNG.standard_normal((3, 4)), RNG.standard_normal(4), RNG.standard_normal((4, 2)), RNG.standard_normal(3), 0.5
)
CLASSES = {"features": RNG.standard_normal((2, 3, 4)), "targets": RNG.standard_normal((2, 3))}
SYNTHETIC = gradient_distillation.exact_gradient(RNG.standard_normal((3, 4)), RNG.standard_normal(3), 0.5)

GOOD = {
    "P": 6,
    "U": RNG.standard_normal((2, 3)),
    "V": RNG.standard_normal((2, 3)),
    "a": RNG.standard_normal((3, 4)),
    "affinity": "positive",
    "approximation": KERNEL / 2,
    "b": RNG.standard_normal((2, 4)),
    "basis": np.eye(3)[:, :2],
    "batches": RNG.standard_normal((2, 3, 4)),
    "beta": 2.0,
    "bias": RNG.standard_normal(2),
    "bijective": False,
    "body": 2,
    "bounds": np.ones((3, 2)),
    "channels": None,
    "classes": 2,
    "clusters": 2,
    "coefficients": RNG.standard_normal(3),
    "columns": 2,
    "condition": 10.0,
    "constant": 2.0,
    "copies": 2,
    "cosine": 0.5,
    "cost": 1.0,
    "count": 5,
    "coverage": np.array([0.2, 0.8]),
    "coverage_threshold": 0.5,
    "cross": RNG.standard_normal((2, 3)),
    "delta": 0.1,
    "diagonal": np.ones(2),
    "difference": RNG.standard_normal(4),
    "differentials": RNG.standard_normal((3, 4)),
    "direction": RNG.standard_normal(4),
    "directions": np.eye(3)[:, :2],
    "distinct": 2,
    "drawn": np.array([0, 2, 2]),
    "dual_residual": RNG.standard_normal(3),
    "effective_dimension": 2.0,
    "eigenvalues": np.array([2.0, 1.0, 0.5]),
    "embedding": 0.5,
    "epsilon": 0.1,
    "epsilon_global": 0.1,
    "epsilon_local": 0.1,
    "errors": ERRORS,
    "estimate": 2.0,
    "estimate_norm": 1.0,
    "exponent": 1.0,
    "features": RNG.standard_normal((3, 4)),
    "first": KERNEL,
    "found": np.eye(3),
    "gamma": 2.0,
    "global_basis": np.eye(3)[:, :2],
    "global_rank": 2,
    "gradient": RNG.standard_normal(4),
    "gradients": RNG.standard_normal((3, 4)),
    "grid": np.array([0.1, 1.0]),
    "head_norm": 1.0,
    "hessian_norm": 1.0,
    "hidden": RNG.standard_normal((3, 2)),
    "hidden_inducing": RNG.standard_normal((2, 2)),
    "images": RNG.standard_normal((3, 2)),
    "inducing": RNG.standard_normal((2, 4)),
    "inputs": 2,
    "jacobian": RNG.standard_normal((3, 2, 4)),
    "k": 2,
    "kernel": KERNEL,
    "kind": "gaussian",
    "labels": np.array([0, 1, 1]),
    "lam": 0.5,
    "lam_mean": 0.5,
    "lam_scaled": 0.5,
    "largest_term": 1.0,
    "layer_norms": np.ones(3),
    "lipschitz": 1.0,
    "local_basis": np.eye(3)[:, :1],
    "logits": RNG.standard_normal((3, 2)),
    "loss": lambda theta: float(theta @ theta),
    "losses": RNG.standard_normal((2, 3)),
    "m": 2,
    "mean": RNG.standard_normal(3),
    "metric": np.eye(4),
    "moment": np.eye(4),
    "mu": 0.5,
    "n": 4,
    "network_norm": 1.0,
    "network_weights": RNG.standard_normal(4),
    "noise_variance": 1.0,
    "nonzeros": 2,
    "norms": False,
    "own": np.eye(2),
    "p": PROBLEM,
    "parameters": 5,
    "points": RNG.standard_normal((3, 4)),
    "predictions": RNG.standard_normal((3, 2)),
    "probabilities": np.full(3, 1 / 3),
    "probes": 2,
    "projected": KERNEL,
    "projector": PI,
    "q": 1,
    "r": 1,
    "radius": 1.0,
    "rank": 2,
    "rate": 0.5,
    "residual": RNG.standard_normal(4),
    "ridge": 0.5,
    "rng": np.random.default_rng(0),
    "roundings": 3,
    "rows": RNG.standard_normal((2, 4)),
    "rtol": 1e-12,
    "s": 0.5,
    "sample": np.array([0, 1]),
    "scale": 1.0,
    "scales": np.ones(3),
    "second": KERNEL,
    "selected": np.array([0, 1]),
    "sensitivity": RNG.standard_normal((3, 2)),
    "sensitivity_moment": np.eye(2),
    "shape": (2, 3),
    "shift": 1.0,
    "size": 1,
    "smoothness": 2.0,
    "sparsity": 3.0,
    "spectrum": np.array([2.0, 1.0, 0.5]),
    "spread": 0.5,
    "squared_overlaps": np.eye(4),
    "stage_six": "orthonormal",
    "start": 0,
    "step": PI @ RNG.standard_normal(4),
    "steps": np.array([0.1, 0.01]),
    "subset": np.array([0, 2]),
    "support": RNG.standard_normal((2, 4)),
    "synthesis": RNG.standard_normal((3, 2)),
    "synthetic": SYNTHETIC,
    "target": RNG.standard_normal(4),
    "target_mean": RNG.standard_normal(3),
    "target_spread": np.ones(3),
    "targets": RNG.standard_normal((3, 2)),
    "tau_g": 0.5,
    "tau_v": 0.5,
    "test": RNG.standard_normal((2, 4)),
    "tests": 1,
    "theta": RNG.standard_normal(4),
    "threshold": 0.5,
    "top": 1.0,
    "true": np.eye(3),
    "u": RNG.standard_normal(4),
    "unit": 1e-16,
    "v": RNG.standard_normal(4),
    "value": 1.0,
    "values": RNG.standard_normal(3),
    "vectors": RNG.standard_normal((3, 2)),
    "weight": RNG.standard_normal((2, 3)),
    "weights": RNG.standard_normal(4),
    "whole": WHOLE,
    "width": 3,
}
THREE = np.stack([KERNEL, 2 * KERNEL])
MACHINES = {
    "cross": RNG.standard_normal((2, 4, 3)),
    "features": RNG.standard_normal((2, 3, 5)),
    "kernel": THREE,
    "labels": np.array([0, 1, 1]),
    "new": RNG.standard_normal((2, 4, 5)),
    "outputs": RNG.standard_normal((2, 3)),
    "logits": RNG.standard_normal((2, 3)),
    "own": np.ones((2, 4)),
    "rows": np.array([0, 2]),
    "share": 0.5,
    "targets": RNG.standard_normal((2, 3)),
}
OTHERWISE = {
    "attribution": MACHINES,
    "attribution.added_kernel": {"kernels": THREE[None], "scales": np.ones(1)},
    "attribution.linear_datamodelling_score": {
        "predicted": RNG.standard_normal((4, 2)),
        "retrained": RNG.standard_normal((4, 2)),
    },
    "attribution.trak_scores": {
        "new": RNG.standard_normal((2, 4)),
        "features": RNG.standard_normal((3, 4)),
        "pulls": np.ones(3),
    },
    "joint": {
        "features": RNG.standard_normal((3, 5, 4)),
        "targets": RNG.standard_normal((3, 2)),
        "cotangents": RNG.standard_normal((3, 2)),
        "residuals": RNG.standard_normal((3, 2)),
    },
    "joint.pooled_pca_energy": {"gradients": 2},
    "uncertainty": MACHINES | {"variance": np.ones((2, 3)), "jacobian": RNG.standard_normal((3, 2, 5))},
    "uncertainty.joint_variance": {
        "own": np.stack([np.eye(2)] * 4),
        "cross": RNG.standard_normal((4, 2, 3, 2)),
        "kernel": np.eye(6).reshape(3, 2, 3, 2),
    },
    "uncertainty.joint_variance_by_features": {"new": RNG.standard_normal((4, 2, 5))},
    "barycenter": {"targets": RNG.standard_normal((3, 4)), "spread": np.ones(3), "weights": np.array([0.4, 0.6])},
    "certificate": {"targets": RNG.standard_normal(3)},
    "restricted": {"targets": RNG.standard_normal(3)},
    "error": {"a": 1.0, "step": 1.0},
    "gradient_distillation": {"targets": RNG.standard_normal(3)},
    "projection_error": {"targets": RNG.standard_normal(3)},
    "ridge": {"targets": RNG.standard_normal(3)},
    "cases.orthonormal": {"rows": 3},
    "certificate.conjugate_gradients": {"steps": 2},
    "restricted.residual_norm_by_kernels": {"cross": RNG.standard_normal((3, 2)), "coefficients": np.ones(2)},
    "restricted.subsampled_bound": {"drawn": 3},
    "gradient_distillation.local_global_distillation": CLASSES,
    "gradient_distillation.local_global_synthesis": CLASSES,
    "gradient_distillation.mean_kernel": CLASSES,
    "gradient_distillation.selection": {"rows": np.array([0, 2])},
    "network.forward": {"network": MLP.network, "inputs": MLP.inputs},
    "network.jacobian": {"network": MLP.network, "inputs": MLP.inputs},
    "network.penultimate": {"network": MLP.network, "inputs": MLP.inputs},
    "network.taylor_remainder": {"network": MLP.network, "inputs": MLP.inputs, "direction": np.ones(43)},
    "network.unflatten": {"network": MLP.network, "theta": np.ones(43)},
    "certificate.residual_energy": {"shift": None},
    "projection.draw": {"kind": "achlioptas", "nonzeros": None},
    "projection.failure_probability": {"kind": "haar"},
    "projection.guaranteed_distortion": {"kind": "haar"},
    "projection.inner_product_variance": {"kind": "achlioptas"},
    "projection.kernel_error_expectation": {"kind": "achlioptas"},
    "projection.smallest_dimension": {"kind": "haar"},
    "projection.union_bound": {"kind": "haar"},
    "projection.variance_coefficients": {"kind": "achlioptas"},
    "spectral.hutchinson_estimate": {"probes": RNG.standard_normal((2, 3))},
    "projection_error.projected_problem": {"test": RNG.standard_normal(4)},
    "redundancy.data_redundant_r2": {"gamma": 0.5},
    "redundancy.subset_residual": {"rows": np.array([0, 2])},
}
# They take what a public function has checked.
UNCHECKED = {"_check", "_linear"}
# Their arguments are tuples or whole networks, and have tests of their own.
ELSEWHERE = {"network.mlp", "network.conv_net", "network.flatten", "network.head_slice"}


def functions():
    for info in pkgutil.iter_modules(dntk_ref.__path__):
        module_name, module = info.name, import_module(f"dntk_ref.{info.name}")
        for name in module.__all__:
            function = getattr(module, name)
            if (
                module_name not in {"_check", "_linear"}
                and inspect.isfunction(function)
                and f"{module_name}.{name}" not in ELSEWHERE
            ):
                yield f"{module_name}.{name}", function


FUNCTIONS = dict(functions())


def good_call(path):
    """Good values for all arguments of a function."""
    own = OTHERWISE.get(path.partition(".")[0], {}) | OTHERWISE.get(path, {})
    return {name: own.get(name, GOOD.get(name)) for name in inspect.signature(FUNCTIONS[path]).parameters}


def bad_values(value):
    """What is wrong in kind with a value, whatever the function."""
    if isinstance(value, np.ndarray):
        poisoned = value.astype(object if value.dtype.kind == "i" else float)
        poisoned.flat[0] = "a" if value.dtype.kind == "i" else np.nan
        return [poisoned, value[..., None], np.zeros((*value.shape[:-1], 0), dtype=value.dtype), value.astype(complex)]
    if isinstance(value, bool):  # flags
        return []
    if isinstance(value, int):
        return [float(value), -1, True]
    if isinstance(value, float):
        return [np.nan, np.array([value]), "a"]
    return [0] if isinstance(value, np.random.Generator) else []


ARGUMENTS = [(path, name) for path in FUNCTIONS for name, value in good_call(path).items() if bad_values(value)]
# None of them is a good value.
OPTIONAL = {"global_basis", "local_basis", "basis", "coverage", "directions", "selected", "subset"}


@pytest.mark.parametrize("path", FUNCTIONS)
def test_good_values_are_let_through(path):
    FUNCTIONS[path](**good_call(path))


@pytest.mark.parametrize(("path", "name"), ARGUMENTS)
def test_each_bad_value_is_refused_by_the_name_of_its_argument(path, name):
    call = good_call(path)
    for bad in bad_values(call[name]):
        if name in OPTIONAL and isinstance(bad, np.ndarray) and bad.size == 0:
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
