"""Per-sample gradients of any module by torch.func or sample by sample: slow, general, the oracle of the rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_map

from dntk_fast import _check
from dntk_fast.projection import Sketch
from dntk_fast.tangent.batches import Wrapped, ends, take
from dntk_fast.tangent.isolation import plain_attention, silent
from dntk_fast.tangent.probes import agree_to_rounding, kept_activations, probe

__all__ = [
    "gradients",
    "gradients_one_by_one",
    "per_sample_gradients",
    "projected",
    "pulled_back",
    "sample_gradients",
    "vectorises",
]


def _parameter_copies(module: nn.Module, names: Sequence[str], n: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One leaf per wanted parameter that stands for n copies of it (no memory), and the others as constants."""
    every = dict(module.get_submodule("model").named_parameters())
    leaves = {name: every[name].detach().expand(n, *every[name].shape).requires_grad_() for name in names}
    return leaves, {name: p.detach() for name, p in every.items() if name not in leaves}


def _outputs(module: nn.Module, leaves: dict[str, Tensor], constants: dict[str, Tensor], batch: Any) -> Tensor:
    """Outputs (n, C), row i a function of copy i of the parameters alone."""

    def one(copies: dict[str, Tensor], sample: Any) -> Tensor:
        values = {f"model.{name}": value for name, value in {**constants, **copies}.items()}
        outputs: Tensor = functional_call(module, values, (take(sample, None),))
        return outputs[0]

    rows = tree_map(lambda part: 0 if isinstance(part, Tensor) else None, batch)
    return vmap(one, in_dims=(0, rows))(leaves, batch)


Gradients = Iterator[tuple[int, dict[str, Tensor]]]


def per_sample_gradients(module: Wrapped, batch: Any, names: Sequence[str], outputs: Sequence[int]) -> Gradients:
    """Yield grad_theta f_c(x_i) of all samples of a chunk, output after output, from one forward pass.

    Every sample gets its own copy of the parameters (an expanded view), so that C plain backward passes give the
    gradients apart.

    Yields
    ------
    (position in `outputs`, {name: (n, *shape)})
    """
    n = _check.samples("x", batch)
    # vmap forgets that a row of a padded table is fixed.
    if n == 1 or any(getattr(layer, "padding_idx", None) is not None for layer in module.modules()):
        yield from gradients_one_by_one(module, batch, names, outputs)
        return
    leaves, constants = _parameter_copies(module, names, n)
    with torch.enable_grad(), plain_attention():
        totals = _outputs(module, leaves, constants, batch).sum(0)
        for position, c in enumerate(outputs):
            last = position + 1 == len(outputs)
            found = torch.autograd.grad(totals[c], list(leaves.values()), retain_graph=not last, materialize_grads=True)
            yield position, dict(zip(leaves, found, strict=True))


def gradients_one_by_one(module: Wrapped, batch: Any, names: Sequence[str], outputs: Sequence[int]) -> Gradients:
    """The same by the model itself, one sample and one backward pass at a time: whatever it does, this is its gradient."""
    every = dict(module.model.named_parameters())
    leaves = {name: every[name] for name in names}
    with torch.enable_grad(), plain_attention():
        samples = range(_check.samples("x", batch))
        rows = [_check.logits(module(take(batch, slice(i, i + 1))), 1)[0] for i in samples]
        for position, c in enumerate(outputs):
            last = position + 1 == len(outputs)
            found = [gradients(row[c], list(leaves.values()), None, retain_graph=not last) for row in rows]
            yield (
                position,
                {name: torch.stack(parts) for name, parts in zip(leaves, zip(*found, strict=True), strict=True)},
            )


def gradients(values: Tensor, leaves: Sequence[Tensor], weight: Tensor | None, **options: bool) -> list[Tensor]:
    """Dense gradients by one backward pass; zero where the values do not depend on a leaf, or on any."""
    if not values.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    with kept_activations():
        found = torch.autograd.grad(values, leaves, weight, materialize_grads=True, **options)
    return [g.to_dense() if g.is_sparse else g for g in found]


def pulled_back(value: Tensor, leaves: Mapping[str, Tensor], G: Tensor) -> dict[str, Tensor]:
    """J^T g of a tensor as a function of its leaves, for each of the cotangents G (m, *shape): name -> (m, *shape)."""

    def one(g: Tensor) -> tuple[Tensor, ...]:
        return tuple(gradients(value, list(leaves.values()), g, retain_graph=True))

    with silent():
        try:
            found = torch.vmap(one)(G)
        except RuntimeError:  # a backward function that vmap cannot follow
            found = tuple(torch.stack(parts) for parts in zip(*map(one, G), strict=True))
    return dict(zip(leaves, found, strict=True))


def vectorises(module: Wrapped, batch: Any, names: Sequence[str], outputs: Sequence[int] = (0,)) -> bool:
    """Whether torch.func gives the gradients of this module, judged by its first and last sample and output.

    Control flow that depends on the data it cannot follow, and what a module keeps of a parameter (a transposed view) it
    does not replace.
    """
    pair, some = ends(batch), [outputs[0], outputs[-1]]
    try:
        found = [part for _, part in per_sample_gradients(module, pair, names, some)]
    except (RuntimeError, NotImplementedError, IndexError):  # an index: one sample alone loses its axis
        return False
    truth = [part for _, part in gradients_one_by_one(module, pair, names, some)]
    return all(agree_to_rounding(a[name], b[name]) for a, b in zip(found, truth, strict=True) for name in names)


def sample_gradients(wrapped: Wrapped, names: Sequence[str], inputs: Any, classes: range) -> dict[str, Tensor]:
    """The gradients of a few parameters by torch.func, name -> (C, n, *shape); row by row where vmap cannot follow."""
    n = _check.samples("inputs", inputs)
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    with silent():
        vectorised = vectorises(wrapped, inputs, names, classes)
        step, gradients = (n, per_sample_gradients) if vectorised else (1, gradients_one_by_one)
        for at in range(0, n, step):
            chunk = list(gradients(wrapped, take(inputs, slice(at, at + step)), names, classes))
            for name in names:
                parts[name].append(torch.stack([found[name] for _, found in chunk]))
    return {name: torch.cat(found, 1) for name, found in parts.items()}


def projected(
    model: nn.Module, x: Any, sketch: Sketch, *, outputs: Sequence[int] | None = None, rows: int = 8
) -> Tensor:
    """Return the projected gradients by torch.func alone, `rows` samples at a time: the oracle of the rules (C, n, k)."""
    module, n = Wrapped(model), _check.samples("x", x)
    columns = range(probe(module, x).shape[1]) if outputs is None else outputs
    parts = []
    for start in range(0, n, rows):
        chunk = take(x, slice(start, start + rows))
        found = per_sample_gradients(module, chunk, list(sketch.shapes), list(columns))
        parts.append(torch.stack([sketch.apply(gradients) for _, gradients in found]))
    return torch.cat(parts, dim=1)
