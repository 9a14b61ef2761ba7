"""What projected features are: body, head, the plan they were made by, and an estimate of their error."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dntk_fast._device import readable_bytes
from dntk_fast.projection import Sketch
from dntk_fast.projection.maps import SPARSITY

__all__ = ["FeaturePlan", "TangentFeatures", "error_squares"]

# Rows from which the sketch error is estimated at most: the estimate's own cost stays a few n k products.
_ERROR_ROWS = 512


@dataclass(frozen=True)
class FeaturePlan:
    """How features are made: the map (its kinds are all that a later call needs), the head, the chunks; `str` is a table.

    Attributes
    ----------
    sketch : the random map of the body's parameters
    head : name of the layer that is kept exact ("" is the model itself), or None
    outputs, rows, classes : outputs in all; samples and outputs that are worked on at a time
    peak_bytes : predicted peak above model and result
    columns : rows of the head's weight that give the outputs, () where there is no head
    generic : parameters without a rule of their own, whose gradients torch.func forms
    memory : bytes that they were made within
    """

    sketch: Sketch
    head: str | None
    outputs: int
    rows: int
    classes: int
    peak_bytes: int
    generic: tuple[str, ...] = ()
    memory: int = 0
    columns: tuple[int, ...] = ()

    def __str__(self) -> str:
        kept = f", exact head {self.head or '(the model)'}" if self.head is not None else ""
        lines = [
            f"{self.outputs} outputs, {self.rows} samples and {self.classes} outputs at a time, k = {self.sketch.k}{kept}",
            f"predicted peak {readable_bytes(self.peak_bytes)} above model and result, of {readable_bytes(self.memory)}",
        ]
        for name, shape in self.sketch.shapes.items():
            route = " (torch.func)" if name in self.generic else ""
            lines.append(f"{name:<40} {'x'.join(map(str, shape)):>16}  {self.sketch.kinds[name]}{route}")  # type: ignore[index]
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class TangentFeatures:
    """Features phi_c(x) = [A grad_body f_c(x); h(x); 1] of all outputs c and samples x (`head_preserving`).

    Attributes
    ----------
    body : (C, n, k), the projected gradients of all parameters but the head's; E <body, body'> is their exact kernel
    head : (n, d_h + 1), the exact gradient of the head's own row for every output, or None (d_h where it has no bias)
    plan : how they were made
    """

    body: Tensor
    head: Tensor | None
    plan: FeaturePlan

    @cached_property
    def values(self) -> Tensor:
        """Body and head as one array (C, n, k + d_h + 1)."""
        if self.head is None:
            return self.body
        return torch.cat((self.body, self.head.expand(len(self.body), *self.head.shape)), dim=2)

    def kernel(self) -> Tensor:
        """Return K~_c = Phi~_c Phi~_c^T of all outputs (C, n, n), unbiased for the exact kernel."""
        found = self.body @ self.body.mT
        return found if self.head is None else found + self.head @ self.head.T

    @cached_property
    def sketch_error(self) -> float:
        """Estimate of ||K~ - K||_F / ||K||_F of the body over all outputs, without K (`split_half`).

        The root of `error_squares` over ||K~||_F^2 less it, for E ||K~||_F^2 = ||K||_F^2 + E ||K~ - K||_F^2. Taken over at
        most 512 rows; NaN where k = 1.
        """
        n, k = self.body.shape[1:]
        if k < 2 or not self.body.any():
            return 0.0 if k > 1 else float("nan")
        rows = torch.linspace(0, n - 1, min(n, _ERROR_ROWS), device=self.body.device).round().long()
        kinds = self.plan.sketch.kinds
        draws = SPARSITY if not isinstance(kinds, str) and set(kinds.values()) == {"sjlt"} else 1
        error, whole, apart = (float(part.sum()) for part in error_squares(self.body[:, rows], draws))
        return float((error / max(whole - error, apart)) ** 0.5)


def error_squares(body: Tensor, draws: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Estimates of E ||K~ - K||_F^2 and, by two ways, of what stands for ||K||_F^2, from features (C, n, k): (C,) each.

    With z_b (n,) the b-th coordinate of all rows,

        E ||K~ - K||_F^2 ~ sum_{b != b'} (|z_b|^2 |z_b'|^2 + <z_b, z_b'>^2) / (k - 1).

    Exact in the mean for Gaussian maps, where the draws of a pair are independent; and where each entry of the gradient is
    hashed to one coordinate, whatever the sizes of the entries: two that meet with probability 1/k err by as much as they
    show where they do not meet. Entries of one run of a contiguous map never meet: there it is an upper estimate.

    Parameters
    ----------
    draws : independent maps into k / draws coordinates each, of which K~ is the mean (`SparseJL`): pairs within each

    Returns
    -------
    the estimate; ||K~||_F^2; sum_{b != b'} <z_b, z_b'>^2 k / (k - 1), which has the mean ||K||_F^2 for Gaussian maps and
    less for hashed ones

    >>> one = torch.zeros(1, 2, 4)
    >>> one[0, 0, 1] = 3.0  # all in one coordinate: nothing to collide with
    >>> [float(part) for part in error_squares(one)]
    [0.0, 81.0, 0.0]
    """
    some, k = body.double(), body.shape[2]
    own = some.square().sum(1)
    whole = (some @ some.mT).square().sum((1, 2))
    apart = (whole - own.square().sum(1)) * k / (k - 1)
    error = torch.zeros_like(whole)
    for part in some.chunk(draws, 2):
        sizes, kernel = part.square().sum(1), part @ part.mT
        pairs = sizes.sum(1).square() + kernel.square().sum((1, 2)) - 2 * sizes.square().sum(1)
        error += pairs / max(1, part.shape[2] - 1)
    return error, whole, apart
