"""One forward pass, C vector-Jacobian products to the outputs of the layers, and from them the tangent of every layer."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from dntk_fast import _check
from dntk_fast.tangent.batches import Outputs, Parameters, Wrapped, ends, network, take
from dntk_fast.tangent.generic import pulled_back, sample_gradients
from dntk_fast.tangent.isolation import plain_attention, silent
from dntk_fast.tangent.layers import Deferred, Pulled, Tangent, merge, stack
from dntk_fast.tangent.placement import (
    RowPlacement,
    UnsettledRowsError,
    closed,
    placements,
    powers_of_two,
    scales,
    without,
)
from dntk_fast.tangent.probes import kept_activations, saved_bytes, single_sample_output, trainable, unmixed
from dntk_fast.tangent.recorder import RecordedCall, Recorder, names_by_identity, refuse_changes, roots

__all__ = ["Trace", "capture", "following", "inspect"]


# What the widest cotangents of one pass may take, of all its outputs. One pass for many outputs reads every weight once for
# all of them; one larger than the caches moves more than it saves, and fewer than FEW outputs gain nothing (measured on a
# CPU: ResNet-18, 16 images of 32 px, ten outputs by one pass in 94 ms, by ten in 138 ms; 64 images in 377 and 333 ms). On a
# GPU, where a launch costs more than memory that is moved, it is memory alone; not measured.
PASS_BYTES = {"cpu": 10 * 2**20, "cuda": 2**28}
FEW = 4

# Parameters, or modules, that a warning names.
NAMED = 4


@dataclass(frozen=True)
class Trace:
    """What one forward pass of two samples shows of a model.

    `sites` holds for each marked call the places where its rows may stand, none where the generic path serves its
    parameters; `settled` says whether two samples left no doubt. `row_bytes` is what one row keeps alive between forward
    and backward, `cotangent_bytes` what one row and one output add, `widest_bytes` the largest share of it; `tangents` are
    those of the two samples and one mixed output; `batches` says whether one backward pass can serve many outputs.
    """

    network: Wrapped
    shapes: dict[str, torch.Size]
    outputs: int
    sites: tuple[tuple[RowPlacement, ...], ...]
    settled: bool
    generic: tuple[str, ...]
    row_bytes: int
    cotangent_bytes: int
    cotangent_size: int
    device: torch.device
    widest_bytes: int
    tangents: tuple[Tangent, ...] = field(repr=False)
    batches: bool
    direct: frozenset[Any] = frozenset()  # calls on parameters alone that a rule serves

    def without(self, names: Collection[str]) -> Trace:
        """The trace with some more parameters left to the generic path."""
        _warn(self.network.model, names)
        generic = closed([place.names for places in self.sites for place in places], {*self.generic, *names})
        sites = tuple(without(places, generic) for places in self.sites)
        return replace(self, sites=sites, generic=tuple(name for name in self.shapes if name in generic))

    def together(self, rows: int, classes: int) -> int:
        """Outputs that one backward pass of so many rows serves."""
        most = PASS_BYTES.get(self.device.type, PASS_BYTES["cpu"]) // max(1, rows * self.widest_bytes)
        if not self.batches or most < min(FEW, classes):
            return 1
        return -(-classes // -(-classes // min(most, classes)))


def inspect(model: nn.Module, inputs: Any, *, outputs: Outputs = None, parameters: Parameters = None) -> Trace:
    """Run two samples through the model: find its layers and their rules, where each keeps the rows, what a row costs.

    Raises
    ------
    ValueError
        Where the model draws random numbers, uses batch statistics, or mixes samples.
    """
    _check.frozen_statistics(model)
    _check.samples("inputs", inputs)
    shapes = {name: p.shape for name, p in trainable(model, parameters).items()}
    wrapped = network(model, outputs)
    again, pair = single_sample_output(wrapped, inputs), ends(inputs)
    saved: dict[int, int] = {}
    recorder = Recorder(names_by_identity(model, shapes), model.buffers(), rows=2)

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # an output that its own function kept with its history would never be freed

    try:
        with torch.enable_grad(), plain_attention(), saved_tensors_hooks(pack, lambda t: t), recorder:
            values = wrapped(pair)
    except (RuntimeError, TypeError, NotImplementedError):  # transforms of torch.func inside; unrecorded it has run
        recorder.derived = True
    if recorder.derived:
        recorder = Recorder({})
        recorder.unruled = set(shapes)
        with torch.enable_grad(), plain_attention():
            values = wrapped(pair)
        saved = {0: 2 * saved_bytes(wrapped, inputs)}
    values = unmixed(values, again)
    for mark in recorder.marks:
        if mark.call is not None and mark.call.source is not None:
            pack(mark.call.source)
    for p in model.parameters():
        saved.pop(p.untyped_storage().data_ptr(), None)
    return _judge(wrapped, shapes, values, recorder, sum(saved.values()) // 2)


def _judge(
    wrapped: Wrapped, shapes: dict[str, torch.Size], values: Tensor, recorder: Recorder, row_bytes: int
) -> Trace:
    refuse_changes(recorder.marks)
    one, batches = _apart(values, recorder.marks)
    found = [placements(mark, a, b) for mark, a, b in zip(recorder.marks, *one, strict=True)]
    wanted = [p for name, p in wrapped.model.named_parameters() if name in shapes] + list(recorder.leaves.values())
    # Every use that was seen got a detached parameter: a gradient that still arrives came by a way that was not seen.
    stray = (
        torch.autograd.grad(values.sum(), wanted, allow_unused=True) if values.requires_grad else [None] * len(wanted)
    )
    generic = recorder.unruled | {
        name for name, g in zip([*shapes, *recorder.leaves], stray, strict=True) if g is not None
    }
    for mark, (places, _) in zip(recorder.marks, found, strict=True):
        if not places:
            generic |= roots(mark.names)
    generic = closed([mark.names for mark in recorder.marks], generic)
    if generic:
        _warn(wrapped.model, generic)
    sites = tuple(without(places, generic) for places, _ in found)
    settled = not recorder.looked and all(sure for places, (_, sure) in zip(sites, found, strict=True) if places)
    kept = [places[0] if places else None for places in sites]
    pairs = zip(recorder.marks, kept, strict=True)
    sizes = [mark.shape.numel() * values.element_size() // 2 for mark, site in pairs if site]
    tangents = _tangents(recorder.marks, kept, [None if d is None else [d[None]] for d in one[0]], shapes, 2)
    return Trace(
        wrapped, shapes, values.shape[1], sites, settled, tuple(name for name in shapes if name in generic),
        row_bytes, sum(sizes), values.element_size(), values.device, max(sizes, default=0), tuple(tangents), batches,
        frozenset(recorder.direct),
    )  # fmt: skip


def _warn(model: nn.Module, generic: Collection[str]) -> None:
    """Say once, at the line of the caller, which parts take the generic path: few by name, many by their modules."""
    names = [name for name, _ in model.named_parameters() if name in generic]
    if len(names) > NAMED:
        counts = Counter(name.rpartition(".")[0] for name in names)
        parts = [
            f"{type(model.get_submodule(name)).__name__} {name} ({count})".strip() for name, count in counts.items()
        ]
        more = f" and {len(parts) - NAMED} more modules" if len(parts) > NAMED else ""
        told = f"{len(names)} parameters of {', '.join(parts[:NAMED])}{more}"
    else:
        told = ", ".join(names)
    warnings.warn(
        f"no rule for the use of {told}: their gradients take the slower generic path", stacklevel=_outside() + 1
    )


def _outside() -> int:
    """Frames from the caller of this function to the first one that is not of this package."""
    frame, level, package = sys._getframe(1), 1, str(Path(__file__).parents[1])
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame, level = frame.f_back, level + 1
    return level


def _apart(values: Tensor, marks: list[RecordedCall]) -> tuple[list[list[Tensor | None]], bool]:
    """The cotangents of sample 0 and of sample 1, and whether one backward pass can give both."""
    weights = torch.stack([_weights(values, row) for row in (0, 1)])
    try:
        found = _batched(values, marks, weights)
    except Exception:  # a backward function that looks at numbers, for example; alone it tells what else is wrong
        with kept_activations():
            return [_cotangents(values, marks, weight) for weight in weights], False
    return [[None if D is None else D[row] for D in found] for row in (0, 1)], True


def _weights(values: Tensor, row: int) -> Tensor:
    """A cotangent of one row whose entries differ: outputs that sum to a constant must not cancel."""
    weights = torch.zeros_like(values)
    weights[row] = torch.linspace(1, 2, values.shape[1], dtype=values.dtype, device=values.device)
    return weights


def _cotangents(values: Tensor, marks: list[RecordedCall], weight: Tensor, keep: bool = True) -> list[Tensor | None]:
    """The cotangents (n, ...) of the marked outputs for a cotangent (n, C) of the values."""
    if not marks or not values.requires_grad:
        return [None] * len(marks)
    return list(torch.autograd.grad(values, [mark.edge for mark in marks], weight, keep, allow_unused=True))


def _batched(values: Tensor, marks: list[RecordedCall], weights: Tensor, keep: bool = True) -> list[Tensor | None]:
    """The same for many cotangents of the values by one pass, (C', n, ...)."""
    reached: list[bool] = []

    def one(weight: Tensor) -> tuple[Tensor, ...]:
        found = _cotangents(values, marks, weight, keep)
        reached[:] = [d is not None for d in found]
        return tuple(d for d in found if d is not None)

    with silent():
        found = iter(torch.vmap(one)(weights))
    return [next(found) if there else None for there in reached]


Found = list[list[Tensor] | None]  # for each mark its cotangents, of each pass (C', n, ...)


def _all_cotangents(values: Tensor, marks: list[RecordedCall], classes: range, together: int) -> Found:
    """The vector-Jacobian products of the outputs, `together` of them by one pass."""
    eye = torch.eye(values.shape[1], dtype=values.dtype, device=values.device)[classes.start : classes.stop]
    found: Found = [None] * len(marks)
    for first in range(0, len(eye), together):
        weights, keep = eye[first : first + together, None].expand(-1, len(values), -1), first + together < len(eye)
        part = (
            [None if d is None else d[None] for d in _cotangents(values, marks, weights[0], keep)]
            if len(weights) == 1
            else _batched(values, marks, weights, keep)
        )
        for at, D in enumerate(part):
            if D is not None:
                found[at] = [*(found[at] or []), D]
    return found


def following(trace: Trace, work: Callable[[Trace], object]) -> Trace:
    """Do work that captures tangents; where rows turn out to move with the data, once more with those layers generic."""
    while True:
        try:
            work(trace)
        except UnsettledRowsError as moved:
            trace = trace.without(moved.names)
        else:
            return trace


def capture(
    trace: Trace, inputs: Any, classes: range | None = None, *, together: int | None = None
) -> Iterator[Tangent]:
    """The tangents of every layer for the given rows and outputs; one backward pass serves `together` outputs.

    phi_c(x_i) = grad_theta f_c(x_i; theta), layer by layer; each tangent is forgotten here once it is handed out.

    Raises
    ------
    UnsettledRowsError
        Before anything is handed out, where these rows are treated unlike the two that were inspected.
    """
    classes = range(trace.outputs) if classes is None else classes
    n = _check.samples("inputs", inputs)
    wanted, model = set(trace.shapes) - set(trace.generic), trace.network.model
    recorder = Recorder(names_by_identity(model, wanted), model.buffers(), direct=trace.direct)
    if len(trace.generic) < len(trace.shapes):
        with torch.enable_grad(), plain_attention(), recorder:
            values = trace.network(inputs)
        _check.logits(values, n)
        marks = recorder.marks
        expected = [places for places in trace.sites if places]
        if [m.names for m in marks if any(m.names)] != [places[0].names for places in expected]:
            raise UnsettledRowsError([name for name in trace.shapes if name not in trace.generic])
        refuse_changes(marks)
        sites = _settled(marks, expected, values, classes, n, trace.settled and not recorder.looked)
        cotangents = _all_cotangents(values, marks, classes, together or trace.together(n, len(classes)))
        yield from _tangents(marks, sites, cotangents, trace.shapes, n)
    if trace.generic:
        yield _deferred(trace, inputs, classes, n)


def _settled(
    marks: list[RecordedCall],
    expected: list[tuple[RowPlacement, ...]],
    values: Tensor,
    classes: range,
    n: int,
    settled: bool,
) -> list[RowPlacement]:
    """The place of the rows in every marked output, of this very batch.

    Where two samples left a doubt, or the model looks at numbers: two passes, whose cotangents of the outputs differ by a
    factor for each row, must give cotangents that differ by the same factors, row by row. Powers of two keep every digit.
    """
    fitting = [
        [site for site in places if site.fits(mark.shape, n)] for mark, places in zip(marks, expected, strict=True)
    ]
    if not settled and n > 1:
        mixed = torch.zeros_like(values)
        mixed[:, classes.start : classes.stop] = torch.linspace(1, 2, len(classes)).to(mixed)
        factors = powers_of_two(n, values)
        plain = _cotangents(values, marks, mixed)
        scaled = _cotangents(values, marks, mixed * factors[:, None])
        fitting = [
            [site for site in places if a is None or b is None or scales(site, a, b, factors)]
            for places, a, b in zip(fitting, plain, scaled, strict=True)
        ]
    lost = {name for mark, places in zip(marks, fitting, strict=True) if not places for name in roots(mark.names)}
    if lost:
        raise UnsettledRowsError(lost)
    return [places[0] for places in fitting]


def _tangents(
    marks: list[RecordedCall],
    sites: Sequence[RowPlacement | None],
    cotangents: Found,
    shapes: dict[str, torch.Size],
    n: int,
) -> Iterator[Tangent]:
    """The uses of each connected set of parameters, merged."""
    groups: list[tuple[set[str], list[int]]] = []
    for k, site in enumerate(sites):
        if site is None or cotangents[k] is None:
            continue
        names, uses = roots(site.names), [k]
        for group in [group for group in groups if group[0] & names]:
            groups.remove(group)
            names, uses = names | group[0], group[1] + uses
        groups.append((names, uses))
    for _, uses in groups:
        yield merge([_tangent(marks[k], sites[k], cotangents, k, shapes, n) for k in uses])


def _tangent(
    mark: RecordedCall, site: RowPlacement | None, cotangents: Found, k: int, shapes: dict[str, torch.Size], n: int
) -> Tangent:
    found, call = cotangents[k], mark.call
    assert site is not None
    assert found is not None
    assert call is not None
    cotangents[k] = mark.call = None  # the consumer of the tangent decides how long its tensors live
    made = {name: part for name, part in mark.made.items() if name in site.names}
    own = {name: made[name][0].shape if name in made else shapes[name] for name in site.names if name}
    source = found[0].new_empty(n, 0) if call.source is None else site.lead(call.source, n, 0)
    inner = stack([call.build(site.names, own, source, site.lead(D, n, 1)) for D in found])
    if not made:
        return inner

    def back(name: str, G: Tensor) -> dict[str, Tensor]:
        return pulled_back(*made[name], G) if name in made else {name: G}

    return Pulled({name: shapes[name] for name in sorted(roots(site.names))}, inner, back)


def _deferred(trace: Trace, inputs: Any, classes: range, n: int) -> Deferred:
    def compute(names: Collection[str], chunk: slice) -> dict[str, Tensor]:
        return sample_gradients(trace.network, list(names), take(inputs, chunk), classes)

    shapes = {name: trace.shapes[name] for name in trace.generic}
    return Deferred(shapes, (len(classes), n), compute, element_size=trace.cotangent_size)
