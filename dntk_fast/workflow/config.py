"""What a run is: one frozen record, refused where it can mean nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dntk_fast import _check
from dntk_fast.files.stages import config_hash
from dntk_fast.workflow.network import check_name

__all__ = ["Config", "default_folder"]

PURPOSES = ("network", "distillation", "sketch", "sampler", "certificate")


@dataclass(frozen=True)
class Config:
    """Settings of a run: two runs with equal Configs give equal numbers on the same machine.

    Attributes
    ----------
    data
        Name of a data set, or path of a pack.
    model
        Key of `models.MODELS`, "auto": by the size of the images, or a user's own, package.module:function (`network.py`).
    per_class
        Distilled images per class.
    k
        Coordinates kept of each body gradient.
    seed
        Every purpose's own seed is spawned from it.
    epochs
        Training epochs of the network.
    distil_steps
        Updates of the distilled images.
    gradients
        Budgets m of synthetic gradients per logit at which the methods are compared.
    draws
        Seeds over which random methods are averaged.
    epsilon
        Threshold of the truncation ranks (Def 3.1), locally and globally.
    clusters
        Clusters of the section on local and global structure.
    certificate_rows
        Training rows, drawn at random, by which the distance to the full kernel is certified (at most all).
    refine_k
        Coordinates of the projected gradients that precondition the refinement (fewer where they would not fit).
    refine_steps
        Steps of the refinement, at most.
    refine_flops
        Floating-point operations it may take, by the network's own count: fewer steps on a large problem, one at least.
        The default is one to two minutes on two cores. It counts operations, not seconds, so that equal Configs still
        give equal numbers.
    refine_rms
        Certified held-out RMS of every class, as a share of the RMS of the network's logits, at which it stops before.
    weights
        A safetensors file with the network's weights, which is then not trained; None: it is trained.

    Examples
    --------
    >>> Config(per_class=10).k
    2048
    """

    data: str = "digits"
    model: str = "auto"
    per_class: int = 50
    k: int = 2048
    seed: int = 0
    epochs: int = 30
    distil_steps: int = 200
    gradients: tuple[int, ...] = (5, 10, 20, 40)
    draws: int = 20
    epsilon: float = 0.05
    clusters: int = 5
    certificate_rows: int = 400
    refine_k: int = 4096
    refine_steps: int = 8
    refine_flops: float = 5e12
    refine_rms: float = 1e-4
    weights: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no run can mean."""
        check_name(self.model)
        for name in ("per_class", "k", "epochs", "draws", "clusters", "certificate_rows", "refine_k", "refine_steps"):
            _check.integer(name, getattr(self, name), 1)
        _check.positive("refine_flops", self.refine_flops)
        _check.nonnegative("refine_rms", self.refine_rms)
        _check.integer("distil_steps", self.distil_steps, 0)
        _check.seed(self.seed)
        _check.fraction("epsilon", self.epsilon)
        if not self.gradients:
            _check.refuse("gradients", "at least one budget m", "none")
        for m in self.gradients:
            _check.integer("gradients", m, 1)

    @property
    def seeds(self) -> dict[str, int]:
        """One seed per purpose.

        >>> list(Config(seed=1).seeds)
        ['network', 'distillation', 'sketch', 'sampler', 'certificate']
        """
        children = np.random.SeedSequence(self.seed).spawn(len(PURPOSES))
        return {name: int(child.generate_state(1)[0]) for name, child in zip(PURPOSES, children, strict=True)}

    @property
    def settings(self) -> dict[str, Any]:
        """All of it as JSON takes it, but for what is not given.

        >>> "weights" in Config().settings
        False
        """
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def sizes(self) -> tuple[int, ...]:
        """Images per class of the separately distilled sets, the largest last.

        >>> Config(per_class=50).sizes
        (5, 10, 25, 50)
        """
        return tuple(sorted({max(1, round(self.per_class * share)) for share in (0.1, 0.2, 0.5, 1.0)}))


def default_folder(config: Config) -> Path:
    """Return runs/<data>-<hash of the configuration>.

    >>> default_folder(Config()).name.startswith("digits-")
    True
    """
    name = Path(config.data).name.removesuffix(".npz") or "data"
    return Path("runs") / f"{name}-{config_hash(config.settings)}"
