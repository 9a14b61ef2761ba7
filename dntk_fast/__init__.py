"""The distilled neural tangent kernel on torch and array-API arrays."""

from dntk_fast.barycenter import Barycenter, barycenter, quantisation_cost
from dntk_fast.config import Config
from dntk_fast.data import Dataset, load
from dntk_fast.data_distillation import DistilledImages, distil_images
from dntk_fast.estimator import DistilledNTK
from dntk_fast.models import build, fingerprint, load_weights, penultimate, save_weights, train
from dntk_fast.pipeline import Report, run
from dntk_fast.projection import Sketch
from dntk_fast.tangent.features import TangentFeatures, head_weights, tangent_features
from dntk_fast.tangent.kernel import tangent_kernel

__all__ = [
    "Barycenter",
    "Config",
    "Dataset",
    "DistilledImages",
    "DistilledNTK",
    "Report",
    "Sketch",
    "TangentFeatures",
    "barycenter",
    "build",
    "distil_images",
    "fingerprint",
    "head_weights",
    "load",
    "load_weights",
    "penultimate",
    "quantisation_cost",
    "run",
    "save_weights",
    "tangent_features",
    "tangent_kernel",
    "train",
]
