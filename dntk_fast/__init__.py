"""The distilled neural tangent kernel on torch and array-API arrays."""

from dntk_fast.barycenter import Barycenter, barycenter, quantisation_cost
from dntk_fast.config import Config
from dntk_fast.data import Dataset, load
from dntk_fast.data_distillation import DistilledImages, distil_images
from dntk_fast.distributed import distributed_features, process_group, write_distributed
from dntk_fast.estimator import DistilledNTK
from dntk_fast.models import build, fingerprint, load_weights, penultimate, save_weights, train
from dntk_fast.pipeline import Report, run
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
from dntk_fast.tangent.store import FeatureStore, write_features

__all__ = [
    "Barycenter",
    "Config",
    "Dataset",
    "DistilledImages",
    "DistilledNTK",
    "FeaturePlan",
    "FeatureStore",
    "Report",
    "Sketch",
    "TangentFeatures",
    "barycenter",
    "build",
    "distil_images",
    "distributed_features",
    "feature_plan",
    "fingerprint",
    "head_weights",
    "jacobian_vector",
    "kernel_diagonal",
    "kernel_plan",
    "kernel_vector",
    "load",
    "load_weights",
    "norm_errors",
    "penultimate",
    "process_group",
    "quadratic_forms",
    "quantisation_cost",
    "run",
    "save_weights",
    "tangent_features",
    "tangent_kernel",
    "tangent_kernel_full",
    "tangent_kernel_sum",
    "trace_probes",
    "train",
    "vector_jacobian",
    "write_distributed",
    "write_features",
]
