"""Which functions of dntk_ref each reading names, and the functions that none names, with the reason."""

from collections.abc import Mapping

from proofs_checks.references import certificates, distillation, joint, projections, regression, structure, training
from proofs_checks.references.agreement import Agreement

__all__ = ["UNNAMED", "named", "of_statement"]

MODULES = (structure, training, projections, regression, certificates, distillation, joint)

INSTANCE = "makes an instance: what it prescribes is checked where it is made, in tests/ref"
NETWORK = "a network is an instance: its gradients are held against differences of its own outputs in tests/ref"
CHANCE = "draws rows at random: its law, not a value, is what tests/ref check"
UNNAMED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "cases.clustered_features",
            "cases.duplicated_features",
            "cases.exponential_spectrum",
            "cases.features_with_spectrum",
            "cases.flat_spectrum",
            "cases.kernel_with_spectrum",
            "cases.near_singular_spectrum",
            "cases.orthonormal",
            "cases.power_spectrum",
            "cases.random_projector",
            "cases.tied_spectrum",
            "cases.tiny_conv_net",
            "cases.tiny_mlp",
        ),
        INSTANCE,
    ),
    **dict.fromkeys(
        (
            "network.conv_net",
            "network.flatten",
            "network.forward",
            "network.head_slice",
            "network.jacobian",
            "network.mlp",
            "network.penultimate",
            "network.taylor_remainder",
            "network.unflatten",
        ),
        NETWORK,
    ),
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
    """Return the agreements of a statement: its first reading names them."""
    return tuple(agreement for module in MODULES for agreement in module.AGREEMENTS.get(label, ()))


def named() -> dict[str, tuple[Agreement, ...]]:
    """Return every function of dntk_ref that a reading names, with its agreements."""
    found: dict[str, tuple[Agreement, ...]] = {}
    for module in MODULES:
        for agreements in module.AGREEMENTS.values():
            for agreement in agreements:
                found[agreement.path] = (*found.get(agreement.path, ()), agreement)
    return found
