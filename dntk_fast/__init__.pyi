"""Where each public name of the package is defined: for type checkers, and for `__init__.py`, which reads it."""

from dntk_fast.analysis.attribution import (
    Retraining as Retraining,
)
from dntk_fast.analysis.uncertainty import (
    Uncertainty as Uncertainty,
)
from dntk_fast.certificates.certificate import (
    FullProblem as FullProblem,
    SubsetResidual as SubsetResidual,
    certify as certify,
    fidelity_bound as fidelity_bound,
    held_out as held_out,
    held_out_bounds as held_out_bounds,
    residual as residual,
    training_subset as training_subset,
)
from dntk_fast.certificates.conjugate_gradients import (
    refine as refine,
    solve as solve,
)
from dntk_fast.certificates.parameter_weights import (
    parameter_weights as parameter_weights,
)
from dntk_fast.certificates.spectral import (
    spectral_certificate as spectral_certificate,
)
from dntk_fast.distillation.barycenter import (
    Barycenter as Barycenter,
    barycenter as barycenter,
    quantisation_cost as quantisation_cost,
)
from dntk_fast.distillation.data_distillation import (
    DistilledImages as DistilledImages,
    distil_images as distil_images,
)
from dntk_fast.distillation.selection import (
    Cost as Cost,
    activation_kernel as activation_kernel,
    choose_rows as choose_rows,
)
from dntk_fast.distillation.tuned import (
    TunedImages as TunedImages,
    tune_images as tune_images,
)
from dntk_fast.estimator import (
    DistilledNTK as DistilledNTK,
)
from dntk_fast.files.fingerprint import (
    fingerprint as fingerprint,
)
from dntk_fast.files.tensors import (
    load_weights as load_weights,
    save_weights as save_weights,
)
from dntk_fast.kernels.joint import (
    BlockProblem as BlockProblem,
    block_kernel as block_kernel,
    joint_weights as joint_weights,
)
from dntk_fast.kernels.moments import (
    Moments as Moments,
    moments_of as moments_of,
)
from dntk_fast.kernels.ridge import (
    ridge_weights as ridge_weights,
)
from dntk_fast.parallel.distributed import (
    distributed_features as distributed_features,
    process_group as process_group,
    write_distributed as write_distributed,
)
from dntk_fast.parallel.jacobian import (
    DistributedJacobian as DistributedJacobian,
    distributed_problem as distributed_problem,
)
from dntk_fast.parallel.moments import (
    distributed_moments as distributed_moments,
)
from dntk_fast.projection import (
    Sketch as Sketch,
)
from dntk_fast.tangent.features import (
    feature_plan as feature_plan,
    norm_errors as norm_errors,
    tangent_features as tangent_features,
)
from dntk_fast.tangent.head import (
    head_weights as head_weights,
    penultimate as penultimate,
)
from dntk_fast.tangent.jacobian import (
    Jacobian as Jacobian,
)
from dntk_fast.tangent.kernel import (
    kernel_diagonal as kernel_diagonal,
    kernel_plan as kernel_plan,
    tangent_kernel as tangent_kernel,
    tangent_kernel_full as tangent_kernel_full,
    tangent_kernel_sum as tangent_kernel_sum,
)
from dntk_fast.tangent.products import (
    jacobian_vector as jacobian_vector,
    kernel_vector as kernel_vector,
    quadratic_forms as quadratic_forms,
    trace_probes as trace_probes,
    vector_jacobian as vector_jacobian,
)
from dntk_fast.tangent.result import (
    FeaturePlan as FeaturePlan,
    TangentFeatures as TangentFeatures,
)
from dntk_fast.tangent.store import (
    FeatureStore as FeatureStore,
    write_features as write_features,
)
from dntk_fast.workflow.config import (
    Config as Config,
)
from dntk_fast.workflow.data import (
    Dataset as Dataset,
    load as load,
)
from dntk_fast.workflow.models import (
    build as build,
)
from dntk_fast.workflow.pipeline import (
    Report as Report,
    run as run,
)
from dntk_fast.workflow.training import (
    train as train,
)
