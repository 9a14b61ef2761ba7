"""The distilled neural tangent kernel on torch and array-API arrays.

Kernels, features and products of a model need torch and numpy alone, as a machine with a GPU may have them; where another
package is missing, the other names say which when they are asked for.
"""

from dntk_fast.models import build, fingerprint, load_weights, penultimate, save_weights, train
from dntk_fast.projection import Sketch
from dntk_fast.tangent.features import feature_plan, head_weights, norm_errors, tangent_features
from dntk_fast.tangent.kernel import (
    kernel_diagonal,
    kernel_plan,
    tangent_kernel,
    tangent_kernel_full,
    tangent_kernel_sum,
)
from dntk_fast.tangent.products import jacobian_vector, kernel_vector, quadratic_forms, trace_probes, vector_jacobian
from dntk_fast.tangent.result import FeaturePlan, TangentFeatures

try:
    from dntk_fast.tangent.store import FeatureStore, write_features  # isort: skip
    from dntk_fast.distributed import distributed_features, process_group, write_distributed  # isort: skip
    from dntk_fast.barycenter import Barycenter, barycenter, quantisation_cost
    from dntk_fast.certificate import (
        FullProblem,
        Seen,
        certify,
        fidelity_bound,
        held_out,
        held_out_bounds,
        residual,
        training_subset,
    )
    from dntk_fast.config import Config
    from dntk_fast.data import Dataset, load
    from dntk_fast.data_distillation import DistilledImages, distil_images
    from dntk_fast.distributed_sums import DistributedProblem, distributed_moments
    from dntk_fast.estimator import DistilledNTK
    from dntk_fast.moments import Moments, moments_of
    from dntk_fast.parameter_weights import parameter_weights
    from dntk_fast.pipeline import Report, run
    from dntk_fast.refine import refine, solve
    from dntk_fast.ridge import ridge_weights
    from dntk_fast.spectral import spectral_certificate
except ModuleNotFoundError as _error:
    if str(_error.name).startswith("dntk_fast"):
        raise
    _missing = _error.name

    def _absent(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'dntk_fast' has no attribute {name!r}")
        raise ImportError(f"dntk_fast.{name}: expected the package {_missing}, which is not installed")

    globals()["__getattr__"] = _absent  # by its name it would tell type checkers that any attribute may exist

__all__ = [
    "Barycenter",
    "Config",
    "Dataset",
    "DistilledImages",
    "DistilledNTK",
    "DistributedProblem",
    "FeaturePlan",
    "FeatureStore",
    "FullProblem",
    "Moments",
    "Report",
    "Seen",
    "Sketch",
    "TangentFeatures",
    "barycenter",
    "build",
    "certify",
    "distil_images",
    "distributed_features",
    "distributed_moments",
    "feature_plan",
    "fidelity_bound",
    "fingerprint",
    "head_weights",
    "held_out",
    "held_out_bounds",
    "jacobian_vector",
    "kernel_diagonal",
    "kernel_plan",
    "kernel_vector",
    "load",
    "load_weights",
    "moments_of",
    "norm_errors",
    "parameter_weights",
    "penultimate",
    "process_group",
    "quadratic_forms",
    "quantisation_cost",
    "refine",
    "residual",
    "ridge_weights",
    "run",
    "save_weights",
    "solve",
    "spectral_certificate",
    "tangent_features",
    "tangent_kernel",
    "tangent_kernel_full",
    "tangent_kernel_sum",
    "trace_probes",
    "train",
    "training_subset",
    "vector_jacobian",
    "write_distributed",
    "write_features",
]
