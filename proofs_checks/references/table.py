"""Which functions of dntk_ref each reading names, and the functions that none names, with the reason."""

from collections.abc import Mapping

from proofs_checks.references import (
    certificates,
    distillation,
    joint,
    machines,
    networks,
    projections,
    regression,
    structure,
    training,
)
from proofs_checks.references.agreement import Agreement

__all__ = ["UNNAMED", "named", "of_statement"]

MODULES = (structure, training, joint, projections, regression, certificates, distillation, machines, networks)

# Rows whose sides are computed by functions that another row lists first.
ALSO: Mapping[str, tuple[str, ...]] = {
    "certificate_subset": ("certificate.pointwise_bound", "certificate.pointwise_bound_by_rows"),
    "completed_rank": ("spectral.completed_rank_bound", "spectral.captured_by_directions"),
    "eq_2_inner": ("gradient_distillation.synthetic_weights", "ridge.ridge_weights", "ridge.objective"),
    "lemma_c_1_cross_entropy": ("regret.cross_entropy", "regret.cross_entropy_sensitivity", "regret.loss_gradient"),
    "moments_contiguous": ("projection.contiguous_sketch", "projection.runs_of", "projection.inner_product_variance"),
    "moments_tensorsketch": ("projection.tensor_sketch", "projection.tensor_sketch_variance"),
    "redundancy_by_energies": ("spectral.redundancy_bound_by_energies",),
    "trace_interval": ("spectral.trace_interval", "spectral.hutchinson_estimate"),
    "training_rms_by_rows": ("certificate.training_rms_bound_by_rows",),
}

CHANCE = "draws rows at random: its law, not a value, is what tests/ref check"
UNNAMED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "gradient_distillation.kmeans_rows",
            "gradient_distillation.leverage_rows",
            "gradient_distillation.random_rows",
        ),
        CHANCE,
    ),
}


def of_statement(label: str) -> tuple[Agreement, ...]:
    """Return the agreements of a statement: those of its own row, and those that it shares with another."""
    own = [agreement for module in MODULES for agreement in module.AGREEMENTS.get(label, ())]
    shared = [agreement for path in ALSO.get(label, ()) for agreement in named()[path]]
    return (*own, *shared)


def named() -> dict[str, tuple[Agreement, ...]]:
    """Return every function of dntk_ref that a reading names, with its agreements."""
    found: dict[str, tuple[Agreement, ...]] = {}
    for module in MODULES:
        for agreements in module.AGREEMENTS.values():
            for agreement in agreements:
                found[agreement.path] = (*found.get(agreement.path, ()), agreement)
    return found
