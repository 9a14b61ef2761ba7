"""What projected features are: body, head, the plan they were made by, and an estimate of their error."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dntk_fast._device import readable_bytes
from dntk_fast.projection import Sketch, hashing

__all__ = ["FeaturePlan", "TangentFeatures"]

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

        The k coordinates are split at random into two halves, K1 and K2 their kernels, each twice the half's Gram matrix:
        E ||K1 - K2||_F^2 / 4 = E ||K~ - K||_F^2 and E tr(K1 K2) = ||K||_F^2 where the halves are independent (dense maps).
        Where a coordinate is hashed to one bucket the estimate of the first is larger by about
        ||diag(Phi^T Phi)||_F^2, a share k / P of it for flat gradients: an upper estimate. Taken over at most 512 rows.
        """
        n, k = self.body.shape[1:]
        if k < 2 or not self.body.any():
            return 0.0 if k > 1 else float("nan")
        rows = torch.linspace(0, n - 1, min(n, _ERROR_ROWS), device=self.body.device).round().long()
        order = hashing.permutations(hashing.key(self.plan.sketch.seed, "", "halves"), 1, k, device=self.body.device)[0]
        some = self.body[:, rows].double()
        halves = order[: k // 2], order[k // 2 :]
        k1, k2 = (some[..., half] @ some[..., half].mT * (k / len(half)) for half in halves)
        # Halves of l and k - l coordinates: Var (K1 - K2) = k^2 / (l (k - l)) Var K~, four times for l = k / 2.
        share = len(halves[0]) * len(halves[1]) / k**2
        return float((share * (k1 - k2).square().sum() / (k1 * k2).sum().clamp(min=1e-300)).sqrt())
