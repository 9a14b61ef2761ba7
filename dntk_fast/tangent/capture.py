"""One forward pass, C vector-Jacobian products to the outputs of the layers, and from them the tangent of every layer.

While the model runs, a torch function mode sees every function that is called with one of its parameters, by
identity: modules called twice, tied weights, functional weights and parameters without a module all look the same to
it. The parameter is handed on detached, so that no weight gradient is ever formed, and the output of the call is
marked. Nothing is attached to the model.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge, saved_tensors_hooks
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from dntk_fast import _check
from dntk_fast.tangent.attention import attention
from dntk_fast.tangent.batch_norm import batch_norm
from dntk_fast.tangent.generic import (
    Wrapped,
    alone,
    beside_itself,
    call,
    ends,
    gradients_one_by_one,
    per_sample_gradients,
    saved_bytes,
    take,
    trainable,
    vectorises,
)
from dntk_fast.tangent.layers import Deferred, Tangent, merge, stack
from dntk_fast.tangent.rules import RULES, Call

__all__ = ["MovedRowsError", "Outputs", "Parameters", "Site", "Trace", "capture", "following", "inspect", "network"]

Outputs = Sequence[int] | Callable[[nn.Module, Any], Tensor] | None
Parameters = Callable[[str], bool] | Sequence[str] | None


def network(model: nn.Module, outputs: Outputs) -> Wrapped:
    """The model with the outputs that are asked for, (n, C)."""
    if outputs is None or callable(outputs):
        return Wrapped(model, outputs)
    if not isinstance(outputs, Iterable):
        raise TypeError(f"outputs: expected indices, a function of (model, batch), or None, got {outputs!r}")
    chosen = list(outputs) or _check.refuse("outputs", "at least one output", "none")
    for c in chosen:
        _check.integer("outputs", c, -sys.maxsize)  # how many there are, a batch will tell

    def columns(inner: nn.Module, batch: Any) -> Tensor:
        found = call(inner, batch)
        if not isinstance(found, Tensor) or found.ndim != 2:
            return found  # refused where all outputs are
        return found[:, [_check.integer("outputs", c, 0, found.shape[1] - 1) for c in chosen]]

    return Wrapped(model, columns)


# --- what the forward pass leaves behind ------------------------------------------------------------------------------


@dataclass
class _Mark:
    """One call with parameters, as it happened."""

    call: Call | None
    names: tuple[str | None, str | None]
    edge: GradientEdge
    shape: torch.Size
    version: int
    function: Any

    def changed(self) -> bool:
        """Whether an activation that the weight's gradient needs is no longer what it was."""
        needed = self.call is not None and self.call.source is not None and self.names[0] is not None
        return needed and self.call.source._version != self.version  # type: ignore[union-attr]


# Functions that look at numbers: rows may stand elsewhere for other data, or be left out.
LOOKING = {
    *(getattr(Tensor, f"__{name}__") for name in ("bool", "int", "float", "index", "array")),
    *(
        getattr(owner, name)
        for owner in (torch, Tensor)
        for name in (
            "argsort", "bucketize", "gather", "index_add", "index_copy", "index_fill", "index_put", "index_put_",
            "index_select", "item", "masked_scatter", "masked_select", "nonzero", "numpy", "scatter", "scatter_add",
            "searchsorted", "sort", "take", "take_along_dim", "tolist", "topk", "unique", "where",
        )
        if hasattr(owner, name)
    ),
}  # fmt: skip
INDEXING = {Tensor.__getitem__, Tensor.__setitem__}
# Functions that take derivatives themselves, also with respect to what the parameters were handed on as.
DERIVING = {torch.autograd.grad, torch.autograd.backward, Tensor.backward}


class _Recorder(TorchFunctionMode):
    """Marks the output of every call that has a rule, and remembers the parameters that met a function without one."""

    def __init__(self, names: dict[int, str | None]) -> None:
        super().__init__()
        self.names = dict(names)  # by identity; None: a parameter whose gradient is not wanted
        self.twins: dict[int, Tensor] = {}
        self.marks: list[_Mark] = []
        self.unruled: set[str] = set()
        self.looked = self.derived = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.looked |= func in LOOKING or (func in INDEXING and _by_tensor(args[1]))
        self.derived |= func in DERIVING
        _refuse_randomness(func, args, kwargs)
        found = {id(leaf): leaf for leaf in _leaves((*args, *kwargs.values())) if id(leaf) in self.names}
        if not found:
            return func(*args, **kwargs)
        if func is functional.multi_head_attention_forward:
            with self:
                attended = attention(*args, **kwargs)
            if attended is not None:
                return attended
        function = batch_norm if func is functional.batch_norm else func
        result = function(*map(self._plain, args), **{name: self._plain(part) for name, part in kwargs.items()})
        if not any(isinstance(leaf, Tensor) for leaf in _leaves([result])) or id(result) in self.names:
            return result
        call = RULES[func](*args, **kwargs) if func in RULES else None
        if (
            call is None
            or not isinstance(result, Tensor)
            or {id(call.weight), id(call.bias)} & set(found) != set(found)
        ):
            self.unruled |= {name for leaf in found.values() if (name := self.names[id(leaf)]) is not None}
            return result
        return self._mark(func, call, result)

    def _plain(self, part: Any) -> Any:
        return tree_map(self._twin, part) if isinstance(part, list | tuple | dict) else self._twin(part)

    def _twin(self, leaf: Any) -> Any:
        if not isinstance(leaf, nn.Parameter) or id(leaf) not in self.names:
            return leaf
        if id(leaf) not in self.twins:
            twin = self.twins[id(leaf)] = leaf.detach()
            self.names[id(twin)] = self.names[id(leaf)]
        return self.twins[id(leaf)]

    def _mark(self, func: Any, call: Call, output: Tensor) -> Tensor:
        names = (self.names.get(id(call.weight)), self.names.get(id(call.bias)))
        if names == (None, None):
            return output
        leaf = not output.requires_grad
        if leaf:
            output.requires_grad_()
        source = call.source.detach() if call.source is not None else None
        call = Call(source, None, None, call.build, call.place)
        version = source._version if source is not None else 0
        self.marks.append(_Mark(call, names, get_gradient_edge(output), output.shape, version, func))
        # A leaf must not be changed in place by what follows; its copy may.
        return output.clone() if leaf else output


def _leaves(given: Sequence[Any]) -> Iterator[Any]:
    """What a function was called with; containers are looked into only where there are some, for it costs time."""
    for part in given:
        if isinstance(part, list | tuple | dict):
            yield from tree_leaves(part)
        else:
            yield part


def _by_tensor(index: Any) -> bool:
    return any(isinstance(part, Tensor | list) for part in (index if isinstance(index, tuple) else (index,)))


def _refuse_randomness(func: Any, args: Any, kwargs: Any) -> None:
    if func is functional.batch_norm and (kwargs.get("training") or (len(args) > 5 and args[5])):
        raise ValueError("model: expected outputs that depend on one sample each, got batch_norm with batch statistics")


def _refuse_changes(marks: list[_Mark]) -> None:
    for mark in marks:
        if mark.changed():
            found = f"one before {mark.names[0]} changed in place"
            _check.refuse("model", "activations that stay as they are", found)


def _names(model: nn.Module, wanted: Collection[str]) -> dict[int, str | None]:
    return {id(p): name if name in wanted else None for name, p in model.named_parameters()}


# --- two samples tell the rest ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """Where a marked call keeps the rows in its output: on `axis`, or joined with positions on the first axis."""

    names: tuple[str | None, str | None]
    axis: int
    joined: str | None = None  # "rows first" or "positions first"

    def fits(self, shape: Sequence[int], n: int) -> bool:
        """Whether n rows can stand there."""
        if len(shape) <= self.axis:
            return False
        return shape[self.axis] == n if self.joined is None else shape[0] % n == 0

    def lead(self, x: Tensor, n: int, batched: int) -> Tensor:
        """Move the rows to the first axis behind `batched` axes."""
        if self.joined is None:
            return x.movedim(self.axis + batched, batched)
        if self.joined == "rows first":
            return x.unflatten(batched, (n, -1))
        return x.unflatten(batched, (-1, n)).movedim(batched + 1, batched)


# What the widest cotangents of one pass may take, of all its outputs. One pass for many outputs reads every weight once for
# all of them; one larger than the caches moves more than it saves, and fewer than FEW outputs gain nothing (measured on a
# CPU: ResNet-18, 16 images of 32 px, ten outputs by one pass in 94 ms, by ten in 138 ms; 64 images in 377 and 333 ms). On a
# GPU, where a launch costs more than memory that is moved, it is memory alone; not measured.
PASS_BYTES = {"cpu": 10 * 2**20, "cuda": 2**28}
FEW = 4


@dataclass(frozen=True)
class Trace:
    """What a forward pass of two samples told about a model.

    `sites` holds for each marked call the places where its rows may stand, none where the generic path serves its
    parameters; `settled` says whether two samples left no doubt. `row_bytes` is what one row keeps alive between forward
    and backward, `cotangent_bytes` what one row and one output add, `widest_bytes` the largest share of it; `tangents` are
    those of the two samples and one mixed output; `batches` says whether one backward pass can serve many outputs.
    """

    network: Wrapped
    shapes: dict[str, torch.Size]
    outputs: int
    sites: tuple[tuple[Site, ...], ...]
    settled: bool
    generic: tuple[str, ...]
    row_bytes: int
    cotangent_bytes: int
    cotangent_size: int
    device: torch.device
    widest_bytes: int
    tangents: tuple[Tangent, ...] = field(repr=False)
    batches: bool

    def without(self, names: Collection[str]) -> Trace:
        """The trace with some more parameters left to the generic path."""
        _warn(self.shapes, names)
        generic = {*self.generic, *names}
        sites = tuple(_without(places, generic) for places in self.sites)
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
    again, pair = beside_itself(wrapped, inputs), ends(inputs)
    saved: dict[int, int] = {}
    recorder = _Recorder(_names(model, shapes))

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    try:
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), saved_tensors_hooks(pack, lambda t: t), recorder:
            values = wrapped(pair)
    except (RuntimeError, TypeError, NotImplementedError):  # transforms of torch.func inside; unrecorded it has run
        recorder.derived = True
    if recorder.derived:
        recorder = _Recorder({})
        recorder.unruled = set(shapes)
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            values = wrapped(pair)
        saved = {0: 2 * saved_bytes(wrapped, inputs)}
    values = alone(values, again)
    for mark in recorder.marks:
        if mark.call is not None and mark.call.source is not None:
            pack(mark.call.source)
    for p in model.parameters():
        saved.pop(p.untyped_storage().data_ptr(), None)
    return _judge(wrapped, shapes, values, recorder, sum(saved.values()) // 2)


def _judge(
    wrapped: Wrapped, shapes: dict[str, torch.Size], values: Tensor, recorder: _Recorder, row_bytes: int
) -> Trace:
    _refuse_changes(recorder.marks)
    one, batches = _apart(values, recorder.marks)
    found = [_places(mark, a, b) for mark, a, b in zip(recorder.marks, *one, strict=True)]
    wanted = [p for name, p in wrapped.model.named_parameters() if name in shapes]
    # Every use that was seen got a detached parameter: a gradient that still arrives came by a way that was not seen.
    stray = (
        torch.autograd.grad(values.sum(), wanted, allow_unused=True) if values.requires_grad else [None] * len(wanted)
    )
    generic = recorder.unruled | {name for name, g in zip(shapes, stray, strict=True) if g is not None}
    for mark, (places, _) in zip(recorder.marks, found, strict=True):
        if not places:
            generic |= {name for name in mark.names if name}
    if generic:
        _warn(shapes, generic)
    sites = tuple(_without(places, generic) for places, _ in found)
    settled = not recorder.looked and all(sure for places, (_, sure) in zip(sites, found, strict=True) if places)
    kept = [places[0] if places else None for places in sites]
    pairs = zip(recorder.marks, kept, strict=True)
    sizes = [mark.shape.numel() * values.element_size() // 2 for mark, site in pairs if site]
    tangents = _tangents(recorder.marks, kept, [None if d is None else [d[None]] for d in one[0]], shapes, 2)
    return Trace(
        wrapped, shapes, values.shape[1], sites, settled, tuple(name for name in shapes if name in generic),
        row_bytes, sum(sizes), values.element_size(), values.device, max(sizes, default=0), tuple(tangents), batches,
    )  # fmt: skip


def _warn(shapes: dict[str, torch.Size], generic: Collection[str]) -> None:
    named = ", ".join(name for name in shapes if name in generic)
    warnings.warn(f"no rule for the use of {named}: their gradients take the slower generic path", stacklevel=5)


def _apart(values: Tensor, marks: list[_Mark]) -> tuple[list[list[Tensor | None]], bool]:
    """The cotangents of sample 0 and of sample 1, and whether one backward pass can give both."""
    weights = torch.stack([_weights(values, row) for row in (0, 1)])
    try:
        found = _batched(values, marks, weights)
    except Exception:  # a backward function that looks at numbers, for example; alone it tells what else is wrong
        with _once():
            return [_cotangents(values, marks, weight) for weight in weights], False
    return [[None if D is None else D[row] for D in found] for row in (0, 1)], True


@contextmanager
def _once() -> Iterator[None]:
    """Say in one line that a model computes its activations again in the backward pass, where nobody records them."""
    try:
        yield
    except RuntimeError as error:
        if "checkpoint" not in str(error):
            raise
        _check.refuse("model", "activations that are kept for the backward pass", "torch.utils.checkpoint")


def _weights(values: Tensor, row: int) -> Tensor:
    """A cotangent of one row whose entries differ: outputs that sum to a constant must not cancel."""
    weights = torch.zeros_like(values)
    weights[row] = torch.linspace(1, 2, values.shape[1], dtype=values.dtype, device=values.device)
    return weights


def _places(mark: _Mark, first: Tensor | None, second: Tensor | None) -> tuple[tuple[Site, ...], bool]:
    """The places where sample 0's cotangent is all in row 0 and sample 1's in row 1, and whether that leaves no doubt."""
    call, shape = mark.call, mark.shape
    if call is None or (call.place == "exact" and call.source is not None and call.source.shape[:1] != shape[:1]):
        return (), True
    candidates = [Site(mark.names, 0)] if shape and shape[0] == 2 else []
    if call.place == "any":
        candidates += [Site(mark.names, axis) for axis in range(1, len(shape) - 1) if shape[axis] == 2]
    if call.place != "exact" and shape and shape[0] > 2 and shape[0] % 2 == 0:
        candidates += [Site(mark.names, 0, "rows first"), Site(mark.names, 0, "positions first")]
    if first is None or second is None:
        return tuple(candidates), False
    held = tuple(
        site for site in candidates if not site.lead(first, 2, 0)[1].any() and not site.lead(second, 2, 0)[0].any()
    )
    return held, len(held) == 1 and bool(first.any()) and bool(second.any())


def _without(places: Sequence[Site], generic: Collection[str]) -> tuple[Site, ...]:
    found = [replace(site, names=_left(site.names, generic)) for site in places]
    return tuple(site for site in found if any(site.names))


def _left(names: tuple[str | None, str | None], generic: Collection[str]) -> tuple[str | None, str | None]:
    weight, bias = (None if name in generic else name for name in names)
    return weight, bias


# --- the pass itself --------------------------------------------------------------------------------------------------


@contextmanager
def _silent() -> Iterator[None]:
    """Without the warning about a missing batching rule: it costs time only."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        yield


def _cotangents(values: Tensor, marks: list[_Mark], weight: Tensor, keep: bool = True) -> list[Tensor | None]:
    """The cotangents (n, ...) of the marked outputs for a cotangent (n, C) of the values."""
    if not marks or not values.requires_grad:
        return [None] * len(marks)
    return list(torch.autograd.grad(values, [mark.edge for mark in marks], weight, keep, allow_unused=True))


def _batched(values: Tensor, marks: list[_Mark], weights: Tensor, keep: bool = True) -> list[Tensor | None]:
    """The same for many cotangents of the values by one pass, (C', n, ...)."""
    reached: list[bool] = []

    def one(weight: Tensor) -> tuple[Tensor, ...]:
        found = _cotangents(values, marks, weight, keep)
        reached[:] = [d is not None for d in found]
        return tuple(d for d in found if d is not None)

    with _silent():
        found = iter(torch.vmap(one)(weights))
    return [next(found) if there else None for there in reached]


Found = list[list[Tensor] | None]  # for each mark its cotangents, of each pass (C', n, ...)


def _all_cotangents(values: Tensor, marks: list[_Mark], classes: range, together: int) -> Found:
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


class MovedRowsError(RuntimeError):
    """Rows stand elsewhere than in the two samples, or the model made other calls: the named parameters have no rule."""

    def __init__(self, names: Collection[str]) -> None:
        found = f"other places or calls for this batch at {', '.join(sorted(names))}"
        super().__init__(f"model: expected layers that treat every batch alike, got {found}")
        self.names = names


def following(trace: Trace, work: Callable[[Trace], object]) -> Trace:
    """Do work that captures tangents; where rows turn out to move with the data, once more with those layers generic."""
    while True:
        try:
            work(trace)
        except MovedRowsError as moved:
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
    MovedRowsError
        Before anything is handed out, where these rows are treated unlike the two that were inspected.
    """
    classes = range(trace.outputs) if classes is None else classes
    n = _check.samples("inputs", inputs)
    recorder = _Recorder(_names(trace.network.model, set(trace.shapes) - set(trace.generic)))
    if len(trace.generic) < len(trace.shapes):
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), recorder:
            values = trace.network(inputs)
        _check.logits(values, n)
        marks = recorder.marks
        expected = [places for places in trace.sites if places]
        if [m.names for m in marks if any(m.names)] != [places[0].names for places in expected]:
            raise MovedRowsError([name for name in trace.shapes if name not in trace.generic])
        _refuse_changes(marks)
        sites = _settled(marks, expected, values, classes, n, trace.settled and not recorder.looked)
        cotangents = _all_cotangents(values, marks, classes, together or trace.together(n, len(classes)))
        yield from _tangents(marks, sites, cotangents, trace.shapes, n)
    if trace.generic:
        yield _deferred(trace, inputs, classes, n)


def _settled(
    marks: list[_Mark], expected: list[tuple[Site, ...]], values: Tensor, classes: range, n: int, settled: bool
) -> list[Site]:
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
        factors = _powers_of_two(n, values)
        plain = _cotangents(values, marks, mixed)
        scaled = _cotangents(values, marks, mixed * factors[:, None])
        fitting = [
            [site for site in places if a is None or b is None or _scales(site, a, b, factors)]
            for places, a, b in zip(fitting, plain, scaled, strict=True)
        ]
    lost = {name for mark, places in zip(marks, fitting, strict=True) if not places for name in mark.names if name}
    if lost:
        raise MovedRowsError(lost)
    return [places[0] for places in fitting]


def _powers_of_two(n: int, like: Tensor) -> Tensor:
    """Signed powers of two, mostly unlike each other: (n,)."""
    most = 4 if like.dtype == torch.float16 else 20
    generator = torch.Generator().manual_seed(n)
    exponents = torch.randint(-most, most + 1, (n,), generator=generator)
    signs = 2 * torch.randint(0, 2, (n,), generator=generator) - 1
    return (signs * torch.exp2(exponents.double())).to(like)


def _scales(site: Site, plain: Tensor, scaled: Tensor, factors: Tensor) -> bool:
    n = len(factors)
    rows, found = (site.lead(d, n, 0).reshape(n, -1) for d in (plain, scaled))
    apart = torch.linalg.vector_norm(found / factors[:, None] - rows, dim=1)
    # No digit is lost, but where a device adds in an order of its own.
    return bool((apart <= 1e-3 * torch.linalg.vector_norm(rows, dim=1)).all())


def _tangents(
    marks: list[_Mark], sites: Sequence[Site | None], cotangents: Found, shapes: dict[str, torch.Size], n: int
) -> Iterator[Tangent]:
    """The uses of each connected set of parameters, merged."""
    groups: list[tuple[set[str], list[int]]] = []
    for k, site in enumerate(sites):
        if site is None or cotangents[k] is None:
            continue
        names, uses = {name for name in site.names if name}, [k]
        for group in [group for group in groups if group[0] & names]:
            groups.remove(group)
            names, uses = names | group[0], group[1] + uses
        groups.append((names, uses))
    for _, uses in groups:
        yield merge([_tangent(marks[k], sites[k], cotangents, k, shapes, n) for k in uses])


def _tangent(
    mark: _Mark, site: Site | None, cotangents: Found, k: int, shapes: dict[str, torch.Size], n: int
) -> Tangent:
    found, call = cotangents[k], mark.call
    assert site is not None
    assert found is not None
    assert call is not None
    cotangents[k] = mark.call = None  # whoever gets the tangent decides how long its tensors live
    own = {name: shapes[name] for name in site.names if name}
    source = found[0].new_empty(n, 0) if call.source is None else site.lead(call.source, n, 0)
    return stack([call.build(site.names, own, source, site.lead(D, n, 1)) for D in found])


def _deferred(trace: Trace, inputs: Any, classes: range, n: int) -> Deferred:
    def compute(names: Collection[str], chunk: slice) -> dict[str, Tensor]:
        return sample_gradients(trace.network, list(names), take(inputs, chunk), classes)

    return Deferred({name: trace.shapes[name] for name in trace.generic}, (len(classes), n), compute)


def sample_gradients(wrapped: Wrapped, names: Sequence[str], inputs: Any, classes: range) -> dict[str, Tensor]:
    """The gradients of a few parameters by torch.func, name -> (C, n, *shape); row by row where vmap cannot follow."""
    n = _check.samples("inputs", inputs)
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    with _silent():
        vectorised = vectorises(wrapped, inputs, names, classes)
        step, gradients = (n, per_sample_gradients) if vectorised else (1, gradients_one_by_one)
        for at in range(0, n, step):
            chunk = list(gradients(wrapped, take(inputs, slice(at, at + step)), names, classes))
            for name in names:
                parts[name].append(torch.stack([found[name] for _, found in chunk]))
    return {name: torch.cat(found, 1) for name, found in parts.items()}
