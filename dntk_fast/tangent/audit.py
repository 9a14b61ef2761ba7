"""The audit: some numbers of every answer held against derivatives of the forward pass, which know nothing of the rules.

Stage 1 takes J(x) d of all drawn rows at once: by forward mode where the model takes it, else by central differences.
With d = grad f_c(x_j) that is a column of the kernel, with d = A^T r the inner products of the features with r, and
<a, J d> = <J^T a, d> serves products either way. Kinks, quantisers and straight-through estimators make differences lie,
and a branch without gradient is invisible to forward mode: stage 2 takes the rows that disagree again by plain backward
passes, one sample (beside a copy of itself, where no function falls into a special case for one row) and one output at a
time. Only what those contradict is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from dntk_fast import _check
from dntk_fast.tangent.batches import take
from dntk_fast.tangent.directional import Products, differences, pushforward
from dntk_fast.tangent.generic import gradients, plain_layers
from dntk_fast.tangent.probes import refuse_mixing
from dntk_fast.tangent.result import TangentFeatures
from dntk_fast.tangent.state import checksum

__all__ = ["Auditor", "Claim", "audited_rows", "drawn", "numbers"]

# Rows at least and at most, and passes of one row that the answer takes for each: a row costs about three passes forward and
# back, so that at most a twentieth of the work is added.
FEWEST, MOST, PASSES = 16, 32, 60
# Rows of a claim whose outputs are held against those of the row alone.
COMPANY = 2
# How far the two may be apart, as a share of the numbers' size: the root of the unit of rounding, 1.5e-8 in float64, 3e-4
# in float32, 0.09 in bfloat16, half of the digits; of differences so many times that.
DIFFERENCES = 100.0

# What to do where a precision does not hold the numbers.
_WIDER = " (give dtype=torch.float64 or, where it is float64, scale inputs or outputs)"

Direction = Mapping[str, Tensor]


@dataclass(frozen=True)
class Term:
    """size * <grad sum_C weights[r, q, C] f_C(x_r), direction>, the direction of length one."""

    weights: Tensor
    direction: Direction
    size: float

    @classmethod
    def of(cls, weights: Tensor, direction: Mapping[str, Tensor]) -> Term:
        """Split a direction into its length and the rest: neither may overflow in the model's precision."""
        size = float(torch.stack([torch.linalg.vector_norm(d.double()) for d in direction.values()]).norm())
        return cls(weights, {name: (d / size if size else d) for name, d in direction.items()}, size)


@dataclass(frozen=True)
class Claim:
    """What an answer says of some rows of x: found[r, q] is the sum of the terms; `again` finds it from a Jacobian."""

    what: str
    x: Any
    rows: Sequence[int]
    found: Tensor
    terms: Sequence[Term]
    again: Callable[[Any], Tensor] | None = None


def audited_rows(audit: Any, passes: int, n: int) -> int:
    """How many rows are drawn of n, for an answer that takes so many passes of one row.

    >>> [audited_rows("auto", 64 * 21, 64), audited_rows("auto", 1000 * 21, 1000), audited_rows(0, 10, 5)]
    [22, 32, 0]
    """
    return min(n, max(FEWEST, min(MOST, passes // PASSES)) if audit == "auto" else int(audit))


def numbers(what: str, found: Tensor) -> Tensor:
    """Return an answer that is finite.

    >>> numbers("kernel", torch.ones(2)).tolist()
    [1.0, 1.0]
    """
    if not bool(torch.isfinite(found.sum())) and not bool(torch.isfinite(found).all()):
        _check.refuse("model", f"a {what} that its precision holds{_WIDER}", "an overflow")
    return found


def drawn(n: int, count: int, rng: np.random.Generator, chunk: int | None = None) -> list[int]:
    """Row numbers: the first, the last, the first of what is left over after whole chunks, and others at random.

    >>> drawn(10, 4, np.random.default_rng(0), 4)[::3], len(drawn(3, 4, np.random.default_rng(0)))
    ([0, 9], 3)
    """
    fixed = [0, n - 1] + ([n // chunk * chunk] if chunk and n % chunk else [])
    order = list(dict.fromkeys([*fixed, *rng.permutation(n).tolist()]))
    return sorted(order[: min(n, max(count, 1))])


@dataclass(frozen=True)
class Auditor:
    """Checks claims about one model: its products, the unit of its rounding, how many rows are drawn, a way to ask again."""

    products: Products
    unit: float
    rows: int
    restricted: Callable[[list[str]], Any]

    def generator(self, *given: Any) -> np.random.Generator:
        """Random numbers that the data decide: a run repeats."""
        leaves = [leaf for leaf in tree_leaves((self.products.x, *given)) if isinstance(leaf, Tensor)]
        return np.random.default_rng([checksum(leaf) % 2**63 for leaf in leaves])

    def output(self, *given: Any) -> int:
        """One output, drawn by the data."""
        return int(self.generator(*given).integers(self.products.outputs))

    # --- what an answer claims ------------------------------------------------------------------------------------------

    def kernel(self, pairing: str, K: Tensor, x1: Any, x2: Any, chunks: tuple[int, int]) -> None:
        """Columns of a kernel for one random row and two random outputs, and rows of one for two batches."""
        rng, sides = self.generator(x2), (x1, x1 if x2 is None else x2)
        C, sizes = self.products.outputs, [_check.samples("x", side) for side in sides]
        classes, count = (rng.permutation(C).tolist() * 2)[:2], self.rows
        if pairing == "sum":  # of all classes: a column takes so many times the passes
            classes, count = classes[: 1 if x2 is None else 2], max(2, 2 * count // C)
        elif x2 is None:
            count = -(-count // 2)
        claims = []
        for side, c in enumerate(classes):
            side = 0 if x2 is None else side
            j, chosen = int(rng.integers(sizes[1 - side])), drawn(sizes[side], count, rng, chunks[side])
            claims.append(self._column(pairing, K, sides, side, chosen, j, c))
        self._check(claims)

    def _column(
        self, pairing: str, K: Tensor, sides: tuple[Any, Any], side: int, rows: list[int], j: int, c: int
    ) -> Claim:
        C, eye = self.products.outputs, torch.eye(self.products.outputs, dtype=torch.float64)
        partners = range(C) if pairing == "sum" else [c]
        wanted = eye if pairing == "full" else None  # every output at once

        def weights(partner: int) -> Tensor:
            return (eye[partner][None] if wanted is None else wanted).expand(len(rows), -1, C)

        terms = [Term.of(weights(p), self._gradient(sides[1 - side], j, eye[p])) for p in partners]

        def entries(kernel: Tensor) -> Tensor:
            if pairing == "full":  # (C, n1, C, n2)
                found = kernel[:, rows, c, j].T if side == 0 else kernel[c, j][:, rows].T
            else:
                table = kernel if pairing == "sum" else kernel[c]
                found = (table[rows, j] if side == 0 else table[j, rows])[:, None]
            return found.double().cpu()

        def again(J: Any) -> Tensor:
            return entries(J._kernel(pairing, sides[0], None if sides[1] is sides[0] else sides[1], None))

        return Claim("kernel", sides[side], rows, entries(K), terms, again)

    def features(self, found: TangentFeatures, chunk: int) -> None:
        """<phi_c(x), r> of the body for one random r and all outputs."""
        rng, C, sketch = self.generator(), self.products.outputs, found.plan.sketch
        chosen = drawn(self.products.n, self.rows, rng, chunk)
        body = found.body
        r = torch.from_numpy(rng.standard_normal(sketch.k)).to(body)
        every = torch.eye(C, dtype=torch.float64).expand(len(chosen), C, C)
        direction = {name: part.to(self.products.wanted[name].dtype) for name, part in sketch.adjoint(r)}

        def entries(values: Tensor) -> Tensor:
            return (values[:, chosen].double() @ r.double()).T.cpu()

        def again(J: Any) -> Tensor:
            kinds = {name: sketch.kinds[name] for name in J.names}
            some = J.features(self.products.x, k=sketch.k, seed=sketch.seed, projection=kinds, keep_head=False)
            return entries(some.body)

        once = None if "haar" in set(sketch.kinds.values()) else again  # type: ignore[union-attr]
        self._check(
            [Claim("set of features", self.products.x, chosen, entries(body), [Term.of(every, direction)], once)]
        )

    def diagonal(self, found: Tensor, chunk: int) -> None:
        """|grad f_c(x)|^2 of drawn rows, a random output of each, by plain backward passes."""
        rng, C = self.generator(), self.products.outputs
        chosen = drawn(self.products.n, min(self.rows, FEWEST), rng, chunk)
        wrong = []
        for i in chosen:
            c = int(rng.integers(C))
            weights = torch.eye(C, dtype=torch.float64)[c]
            own = Term.of(weights[None, None], self._gradient(self.products.x, i, weights))

            def again(J: Any, c: int = c, i: int = i) -> Tensor:
                return J.diagonal(self.products.x)[c, [i], None].double().cpu()

            if self._apart(float(found[c, i]), own.size**2, self.unit**0.5 * own.size**2):
                entry = found[c, [i], None].double().cpu()
                claim = Claim("diagonal", self.products.x, [i], entry, [own], again)
                wrong.append(Fault(claim, 0, 0, own.size**2, [(own, own.direction, own.size)]))
        self._raise(wrong, len(chosen))

    def forward(self, found: Tensor, weights: Mapping[str, Tensor]) -> None:
        """J w (C, n): signs times the products of drawn rows against one backward pass, <a, J w> = <J^T a, w>."""
        rng, C = self.generator(*weights.values()), self.products.outputs
        wide = any(len(w) > 1 for w in weights.values())
        claims = []
        for c in rng.permutation(C)[:2].tolist() if wide else [0]:
            chosen = drawn(self.products.n, self.rows, rng)
            signs = torch.from_numpy(rng.choice([-1.0, 1.0], (len(chosen), 1, C)))
            if wide:
                signs = signs * torch.eye(C, dtype=torch.float64)[c]
            direction = {name: w[c if len(w) > 1 else 0] for name, w in weights.items()}
            values = torch.einsum("rqc,cr->rq", signs, found[:, chosen].double().cpu())

            def again(J: Any, rows: Any = chosen, signs: Tensor = signs) -> Tensor:
                own = {name: (w if len(w) > 1 else w[0]) for name, w in weights.items() if name in J.names}
                return torch.einsum("rqc,cr->rq", signs, J.matvec(self.products.x, own)[:, rows].double().cpu())

            claims.append(Claim("product", self.products.x, chosen, values, [Term.of(signs, direction)], again))
        self._check(claims, adjoint=True)

    def backward(self, found: Mapping[str, Tensor], coefficients: Tensor) -> None:
        """J^T a (C, *shape) along one random direction, for all outputs: <J^T a, d> = <a, J d>."""
        rng = self.generator(coefficients)
        direction = {
            name: torch.as_tensor(rng.standard_normal(p.shape) / p.numel() ** 0.5).to(p.detach())
            for name, p in self.products.wanted.items()
        }
        term = Term.of(torch.ones(1, 1, 1), direction)
        a = coefficients.double().cpu()
        sizes = [self._dot({name: g[c] for name, g in found.items()}, term.direction) for c in range(len(a))]
        every = list(range(self.products.n))
        tangents, room = self._along(self.products.x, every, term.direction)
        parts = a * tangents.T
        scale = parts.norm(dim=1)
        for c, size in enumerate(sizes):
            if self._apart(size, float(parts[c].sum()), room * float(scale[c])):
                self._sum_one_by_one(c, size, a[c], term, float(scale[c]))

    def kernel_vector(self, found: Tensor, vectors: Tensor, c: int, w: Mapping[str, Tensor]) -> None:
        """K_c v_c of drawn rows: J_c along w, and w = J_c^T v_c, of one output."""
        rng, C = self.generator(vectors), self.products.outputs
        chosen = drawn(self.products.n, self.rows, rng)
        self._linear(w, vectors[c], c, rng)
        weights = torch.eye(C, dtype=torch.float64)[c].expand(len(chosen), 1, C)
        claim = Claim("product", self.products.x, chosen, found[c, chosen, None].double().cpu(), [Term.of(weights, w)])
        self._check([claim], adjoint=True)

    def quadratic_forms(self, found: Tensor, vectors: Tensor) -> None:
        """|J_c^T z|^2 of one random output and vector against <z, J_c (J_c^T z)>."""
        rng = self.generator(vectors)
        c, r = (int(rng.integers(size)) for size in (self.products.outputs, vectors.shape[2]))
        w = {name: g[0] for name, g in self.products.backward([(c, vectors[c, :, r].to(self.products.like))]).items()}
        self._linear(w, vectors[c, :, r], c, rng)
        size = self._dot(w, w)
        if self._apart(float(found[c, r]), size, self.unit**0.5 * size):
            _check.refuse("model", "forms that are the same twice", f"{float(found[c, r]):.6g} and {size:.6g}")

    def _linear(self, pulled: Mapping[str, Tensor], a: Tensor, c: int, rng: np.random.Generator) -> None:
        """Check J_c^T a alone: as all outputs at once, with coefficients of this one."""
        coefficients = torch.zeros(self.products.outputs, self.products.n, dtype=torch.float64)
        coefficients[c] = a.double().cpu()
        wide = {
            name: torch.zeros(self.products.outputs, *g.shape, dtype=g.dtype, device=g.device)
            for name, g in pulled.items()
        }
        for name, g in pulled.items():
            wide[name][c] = g
        self.backward(wide, coefficients)

    def _sum_one_by_one(self, c: int, size: float, a: Tensor, term: Term, scale: float) -> None:
        """The same product by one sample at a time."""
        total, length = 0.0, 0.0
        for i in torch.nonzero(a).flatten().tolist():
            g = self._gradient(self.products.x, i, torch.eye(self.products.outputs, dtype=torch.float64)[c])
            total += float(a[i]) * self._dot(g, term.direction)
            length += float(a[i]) ** 2 * self._dot(g, g)
        if self._apart(size, total, self.unit**0.5 * scale + 10 * self.unit * length**0.5):
            got = (
                f"another number for output {c} along one direction: {size:.6g}, where one by one they give {total:.6g}"
            )
            _check.refuse("model", "a product J'a that is the sum of plain backward passes (audit=0 asks no more)", got)

    # --- the two stages -------------------------------------------------------------------------------------------------

    def _check(self, claims: Sequence[Claim], adjoint: bool = False) -> None:
        wrong, rows = [], 0
        for claim in claims:
            rows += len(claim.rows)
            wrong += list(self._faults(claim, self._doubted(claim, adjoint)))
        self._raise(wrong, rows)

    def _doubted(self, claim: Claim, adjoint: bool) -> Iterator[tuple[int, int]]:
        """Stage 1: the rows that disagree, each with the column that does most."""
        if adjoint:
            yield from [(at, 0) for at in range(len(claim.rows))] if self._sum_is_wrong(claim) else []
            return
        truth, loosest = torch.zeros_like(claim.found), 0.0
        for term in claim.terms:
            tangents, room = self._along(claim.x, claim.rows, term.direction)
            truth += torch.einsum("rqc,rc->rq", term.weights, tangents) * term.size
            loosest = max(loosest, room)
        scale = torch.maximum(truth.abs().amax(0), claim.found.nan_to_num(0, 0, 0).abs().amax(0))
        apart = (claim.found - truth).abs() / torch.where(scale > 0, scale, 1.0)
        apart = torch.where(torch.isfinite(apart), apart, torch.inf)
        for at in range(len(claim.rows)):
            if float(apart[at].max()) > loosest:
                yield at, int(apart[at].argmax())

    def _sum_is_wrong(self, claim: Claim) -> bool:
        """Whether <a, J w> is not <J^T a, w> over the drawn rows, all by one backward pass."""
        (term,), products = claim.terms, self.products
        some = replace(products, x=take(claim.x, torch.tensor(claim.rows)), n=len(claim.rows))
        some = replace(some, memory=max(some.memory, 3 * some.saved))
        pulled = some.backward_joint(term.weights[:, 0].to(products.like))
        truth = self._dot({name: pulled[name] for name in term.direction}, term.direction) * term.size
        return self._apart(float(claim.found.sum()), truth, self.unit**0.5 * float(claim.found.norm()))

    def _faults(self, claim: Claim, doubted: Iterator[tuple[int, int]]) -> Iterator[Fault]:
        """Stage 2: of the doubted rows those that plain backward passes contradict."""
        typical = float(claim.found.nan_to_num(0, 0, 0).square().mean().sqrt())
        for at, q in doubted:
            truth, length, parts = 0.0, 0.0, []
            for term in claim.terms:
                g = self._gradient(claim.x, claim.rows[at], term.weights[at, q], list(term.direction))
                truth += self._dot(g, term.direction) * term.size
                length += self._dot(g, g) ** 0.5 * term.size
                parts.append((term, g, term.size))
            allowed = self.unit**0.5 * max(abs(truth), typical) + 10 * self.unit * length
            if self._apart(float(claim.found[at, q]), truth, allowed):
                yield Fault(claim, at, q, truth, parts)

    def _raise(self, wrong: list[Fault], rows: int) -> None:
        if not wrong:
            return
        worst = max(wrong, key=lambda fault: fault.error)
        found, truth = float(worst.claim.found[worst.at, worst.q]), worst.truth
        small = torch.finfo(torch.float32).tiny
        if not np.isfinite(found) or (found == 0 and abs(truth) < small):
            kind = "underflow" if np.isfinite(found) else "overflow"
            got = f"an {kind} at row {worst.claim.rows[worst.at]}, {found:.3g} for {truth:.3g}"
            _check.refuse("model", f"a {worst.claim.what} that its precision holds{_WIDER}", got)
        place = self._where(worst)
        got = (
            f"{len(wrong)} of {rows} drawn rows that differ, row {worst.claim.rows[worst.at]} by {worst.error:.2g} of"
            f" {abs(truth):.3g}{f', through the parameters of {place}' if place else ''} (audit=0 asks no more)"
        )
        _check.refuse("model", f"a {worst.claim.what} that plain backward passes confirm", got)

    def _where(self, fault: Fault) -> str | None:
        """The module through whose parameters alone the two differ, by halving, or None where there is no such one."""
        modules: dict[str, list[str]] = {}
        for name in fault.parts[0][0].direction:
            modules.setdefault(name.rpartition(".")[0], []).append(name)
        left = list(modules)
        while len(left) > 1 and fault.claim.again is not None:
            halves = left[: len(left) // 2], left[len(left) // 2 :]
            try:
                left = next(part for part in halves if self._differs(fault, [n for m in part for n in modules[m]]))
            except Exception:  # no half differs by itself, or cannot be asked alone
                return None
        return left[0] or type(self.products.module.model).__name__

    def _differs(self, fault: Fault, names: list[str]) -> bool:
        assert fault.claim.again is not None
        truth, length = 0.0, 0.0
        for term, g, size in fault.parts:
            some = {name: g[name] for name in names}
            truth += self._dot(some, term.direction) * size
            length += self._dot(some, some) ** 0.5 * size
        found = float(fault.claim.again(self.restricted(names))[fault.at, fault.q])
        return self._apart(found, truth, self.unit**0.5 * max(abs(truth), length))

    # --- two ways to a derivative ---------------------------------------------------------------------------------------

    def _along(self, x: Any, rows: Sequence[int], direction: Direction) -> tuple[Tensor, float]:
        """J(x) d of some rows, (r, C), by forward mode or differences, and the share that rounding may take.

        The outputs come with it, and some of them are held against those of the row alone.
        """
        products, values, parts, room = self.products, [], [], self.unit**0.5
        if not any(bool(d.any()) for d in direction.values()):
            return torch.zeros(len(rows), products.outputs, dtype=torch.float64), room
        step = max(1, products.memory // (3 * products.saved))
        for start in range(0, len(rows), step):
            part = take(x, torch.tensor(rows[start : start + step]))
            try:
                value, tangent = pushforward(products.module, part, direction)
            except Exception:  # whatever a model has against forward mode
                value, tangent = differences(products.module, part, direction)
                room = self.unit**0.5 * DIFFERENCES
            values.append(value.detach())
            parts.append(tangent.detach().double().cpu())
        self._in_company(x, rows, torch.cat(values))
        return torch.cat(parts), room

    def _in_company(self, x: Any, rows: Sequence[int], values: Tensor) -> None:
        step = max(1, len(rows) // COMPANY)
        for at in range(step // 2, len(rows), step):
            with torch.enable_grad(), plain_layers():  # it may differentiate inside
                pair = self.products.module(take(x, torch.tensor([rows[at], rows[at]]))).detach()
            refuse_mixing(pair[0], values[at], self.unit, self.products.module, x)

    def _gradient(self, x: Any, row: int, weights: Tensor, names: Sequence[str] | None = None) -> dict[str, Tensor]:
        """The gradient of weights . f(x_row), by one backward pass of the sample beside a copy of itself."""
        names = list(self.products.wanted) if names is None else names
        with torch.enable_grad(), plain_layers():
            values = _check.logits(self.products.module(take(x, torch.tensor([row, row]))), 2)
            seeds = torch.zeros_like(values)
            seeds[0] = weights.to(values)
            found = gradients(values, [self.products.wanted[name] for name in names], seeds)
        return dict(zip(names, found, strict=True))

    @staticmethod
    def _dot(g: Mapping[str, Tensor], d: Mapping[str, Tensor]) -> float:
        return sum(float((g[name].double() * d[name].double()).sum()) for name in g)

    @staticmethod
    def _apart(found: float, truth: float, allowed: float) -> bool:
        return not abs(found - truth) <= allowed


@dataclass(frozen=True)
class Fault:
    """A number that plain backward passes contradict: its place in the claim, the truth, and the gradients behind it."""

    claim: Claim
    at: int
    q: int
    truth: float
    parts: Sequence[tuple[Term, Direction, float]]

    @property
    def error(self) -> float:
        """The difference as a share of the truth."""
        apart = abs(float(self.claim.found[self.at, self.q]) - self.truth)
        return apart / abs(self.truth) if self.truth else float("inf") if apart else 0.0
