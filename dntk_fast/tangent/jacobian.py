"""The Jacobian of a model's outputs with respect to its parameters: the model is looked at once, then asked many times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast._alone import alone
from dntk_fast._device import default_memory
from dntk_fast.projection import Sketch
from dntk_fast.tangent.batches import Outputs, Parameters, cast, differentiable, named, network
from dntk_fast.tangent.blocks import kernel_blocks, kernel_shape, squared_norms_of_rows, writable
from dntk_fast.tangent.directional import Products
from dntk_fast.tangent.head import Head, find_head
from dntk_fast.tangent.passes import Trace, inspect
from dntk_fast.tangent.plan import KernelPlan, plan_kernel
from dntk_fast.tangent.probes import probe, saved_bytes, trainable
from dntk_fast.tangent.result import FeaturePlan, TangentFeatures
from dntk_fast.tangent.state import changed, state_of
from dntk_fast.tangent.streaming import feature_chunk, refuse_what_does_not_fit, sketch_kinds, stream_features

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

__all__ = ["Jacobian"]

T = TypeVar("T")
Weights = Mapping[str, Tensor]


class Jacobian:
    """J(x) = d f(x; theta) / d theta of a model, one row for every sample and output, never formed.

    The model is looked at when the first batch of a kind comes (the shapes and types of one sample): which rule serves
    which layer, where rows stand, which derivatives the model can take, where its head is, what a row costs. Later batches
    of that kind are worked on at once. Where the rows of a batch stand is settled for every batch.

    Parameters
    ----------
    model : module in evaluation mode; parameters that require no gradient are left out
    outputs : indices of outputs, or a function (model, batch) -> (n, C); None means all
    parameters : names, or a function of the name; None means all
    dtype : precision of the network and of each layer's block (None: that of the model, whose copy in it is made once)
    memory : bytes that the work may take beside the model and the result; None means an eighth of what the machine, or the
        group of processes that it is confined to, has in all

    Raises
    ------
    ValueError
        By every method: a model that changed since the Jacobian was made (parameters, buffers, modules, modes, hooks), that
        draws random numbers, uses batch statistics or mixes samples; `memory` too small for one row.

    >>> J = Jacobian(nn.Linear(2, 1, bias=False))
    >>> x = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    >>> J.kernel(x)
    tensor([[[25.,  3.],
             [ 3.,  1.]]], dtype=torch.float64)
    >>> J.matvec(x, {"weight": torch.tensor([[1.0, 2.0]])})
    tensor([[11.,  1.]])
    """

    @alone
    def __init__(
        self,
        model: nn.Module,
        *,
        outputs: Outputs = None,
        parameters: Parameters = None,
        dtype: torch.dtype | None = None,
        memory: int | None = None,
    ) -> None:
        self.given = _check.frozen_statistics(_check.module(model))
        self.memory = default_memory() if memory is None else int(_check.integer("memory", memory, 1))
        self.outputs: Outputs = outputs if outputs is None or callable(outputs) else _listed(outputs)
        self.parameters: Parameters = parameters if parameters is None or callable(parameters) else _listed(parameters)
        self.dtype = dtype
        self._state = state_of(self.given)
        self.model, _ = cast(self.given, (), dtype)
        self._looked: dict[Any, Any] = {}
        self._others: dict[torch.dtype, Jacobian] = {}

    # --- kernels --------------------------------------------------------------------------------------------------------

    @differentiable
    def kernel(self, x1: Any, x2: Any = None, *, out: Tensor | None = None) -> Tensor:
        """Return the exact kernel of every output, K_c(x, x') = <grad f_c(x), grad f_c(x')> (Eq 1, per class).

        Parameters
        ----------
        x1, x2 : tensor, or tuple or dict of tensors, with n1 and n2 samples along the first axis, or a DataLoader of either;
            x2 None means x1
        out : float64 tensor (C, n1, n2) to be filled, for example on a memory map

        Returns
        -------
        Tensor
            (C, n1, n2), float64; exactly symmetric where x2 is None.
        """
        return self._kernel("class", x1, x2, out)

    @differentiable
    def kernel_sum(self, x1: Any, x2: Any = None, *, out: Tensor | None = None) -> Tensor:
        """Return the sum over all outputs of the exact kernels, sum_c K_c (n1, n2); arguments as in `kernel`."""
        return self._kernel("sum", x1, x2, out)

    @differentiable
    def kernel_full(self, x1: Any, x2: Any = None) -> Tensor:
        """Return the kernel with all its C x C blocks, J(x1) J(x2)^T (Eq 1), (n1, C, n2, C); arguments as in `kernel`."""
        return self._kernel("full", x1, x2, None).permute(1, 0, 3, 2)

    @differentiable
    def diagonal(self, x: Any) -> Tensor:
        """Return the squared norms of the tangent features, K_c(x, x) = |grad f_c(x)|^2, (C, n), float64."""
        x, n = self._inputs("x", x)
        trace = self._trace(x)
        return squared_norms_of_rows(trace, plan_kernel(trace, 1, n, self.memory, "sum"), x, n)

    @differentiable
    def plan(self, x1: Any, x2: Any = None, *, pairing: str = "class") -> KernelPlan:
        """Return what `kernel` would do with these inputs: rules, passes, predicted peak; `str` is a table.

        With pairing "sum" or "full" what `kernel_sum` or `kernel_full` would.
        """
        x1, n1 = self._inputs("x1", x1)
        _check.choice("pairing", pairing, ("class", "sum", "full"))
        return plan_kernel(self._trace(x1), n1, None if x2 is None else _check.samples("x2", x2), self.memory, pairing)

    # --- features -------------------------------------------------------------------------------------------------------

    @differentiable
    def features(
        self,
        x: Any,
        *,
        k: int,
        seed: int,
        projection: str | Mapping[str, str] = "auto",
        keep_head: bool | Literal["auto"] = "auto",
        quality: float = 2.0,
    ) -> TangentFeatures:
        """Project the gradient of every output at every sample to k dimensions, the head's kept exact.

        Arguments and result as in `tangent_features`.
        """
        x, _ = self._inputs("x", x)
        trace, plan = self._feature_plan(x, k, seed, projection, keep_head, quality)
        head = None if plan.head is None else self._head(x, "auto")
        with_bias = head is not None and _own(head.name)[1] in self._wanted
        module = network(self.model, self.outputs)
        return stream_features(module, x, trace, plan, self.memory, head=head, with_bias=with_bias)

    @differentiable
    def feature_plan(
        self,
        x: Any,
        *,
        k: int,
        seed: int,
        projection: str | Mapping[str, str] = "auto",
        keep_head: bool | Literal["auto"] = "auto",
        quality: float = 2.0,
    ) -> FeaturePlan:
        """Return what `features` would do with these arguments, refusals included, before the work."""
        return self._feature_plan(self._inputs("x", x)[0], k, seed, projection, keep_head, quality)[1]

    def _feature_plan(
        self,
        x: Any,
        k: int,
        seed: int,
        projection: str | Mapping[str, str],
        keep_head: bool | str,
        quality: float,
    ) -> tuple[Trace | None, FeaturePlan]:
        n = _check.samples("x", x)
        _check.seed(seed)
        _check.dimension(k, sum(p.numel() for p in self._wanted.values()))
        head = self._head(x, keep_head)
        body = {name: p.shape for name, p in self._wanted.items() if head is None or name not in _own(head.name)}
        trace = self._trace(x, tuple(body)) if body else None
        count = trace.outputs if trace else len(head.columns if head else ())
        sketch = Sketch(body, k, seed, sketch_kinds(projection, trace, body, k, quality))
        refuse_what_does_not_fit(count, n, k, next(iter(self._wanted.values())))
        rows, classes, peak = feature_chunk(trace, sketch, n, self.memory) if trace else (n, count, 0)
        name, columns = (head.name, head.columns) if head else (None, ())
        generic = trace.generic if trace else ()
        return trace, FeaturePlan(sketch, name, count, rows, classes, peak, generic, self.memory, columns)

    def _head(self, x: Any, keep_head: bool | str) -> Head | None:
        _check.choice("keep_head", keep_head, (True, False, "auto"))
        module = network(self.model, self.outputs)
        found = self._once("head", x, lambda: find_head(module, x, list(self._wanted))) if keep_head else None
        if keep_head is True and found is None:
            _check.refuse("keep_head", "False or 'auto'", "True, but no trainable Linear gives the outputs")
        return found

    # --- products -------------------------------------------------------------------------------------------------------

    @differentiable
    def matvec(self, x: Any, weights: Weights) -> Tensor:
        """Return J(x) w by forward mode: (Phi_c w_c)_i = <grad f_c(x_i), w_c> (`certificate_primal`).

        Parameters
        ----------
        weights : by parameter name, each (C, *shape), or (*shape) shared by all outputs; a name left out counts as zero

        Returns
        -------
        Tensor
            (C, n), in the model's precision.
        """
        products = self._products(x, forward=True)
        unknown = sorted(weights.keys() - products.wanted.keys())
        if unknown:
            _check.refuse("weights", "names of trainable parameters", unknown)
        given = [name for name in products.wanted if name in weights]
        if not given:
            _check.refuse("parameters", "at least one trainable parameter", "none")
        directions = {name: products.direction(name, weights[name]) for name in given}
        if all(len(w) == 1 for w in directions.values()):
            return products.forward({name: w[0] for name, w in directions.items()})
        wide = {name: w.expand(products.outputs, *w.shape[1:]) for name, w in directions.items()}
        return products.forward_each(wide, range(products.outputs))

    @differentiable
    def rmatvec(self, x: Any, coefficients: Tensor) -> dict[str, Tensor]:
        """Return J(x)^T a output by output, Phi_c^T a_c = grad_theta sum_i a_ci f_c(x_i): one backward pass each.

        Parameters
        ----------
        coefficients : (C, n)

        Returns
        -------
        dict
            parameter name -> (C, *shape)
        """
        products = self._products(x)
        return products.backward(list(enumerate(products.coefficients("coefficients", coefficients))))

    @differentiable
    def kernel_vector(self, x: Any, vectors: Tensor) -> Tensor:
        """Return K_c v_c = Phi_c (Phi_c^T v_c), (C, n) from (C, n), the weights of some outputs at a time."""
        products = self._products(x, forward=True)
        v, parts = products.coefficients("vectors", vectors), []
        for some in products.within_memory(range(products.outputs)):
            parts.append(products.forward_each(products.backward([(c, v[c]) for c in some]), some))
        return torch.cat(parts)

    @differentiable
    def quadratic_forms(self, x: Any, vectors: Tensor) -> Tensor:
        """Return z^T K_c z = |Phi_c^T z|^2 for vectors (C, n, r), one backward pass each: (C, r), float64."""
        return self._products(x).quadratic_forms(vectors)

    @differentiable
    def trace_probes(self, x: Any, probes: int, *, seed: int) -> Tensor:
        """Return z^T K_c z for random signs z, the same for all outputs: (C, probes), of mean tr K_c [Hutchinson1989]."""
        products = self._products(x)
        _check.integer("probes", probes, 1)
        generator = torch.Generator().manual_seed(_check.seed(seed))
        signs = (
            torch.randint(0, 2, (products.n, probes), generator=generator, dtype=torch.int8).to(products.like) * 2 - 1
        )
        return products.quadratic_forms(signs.expand(products.outputs, -1, -1))

    def operator(self, x: Any) -> LinearOperator:
        """Return J(x) as SciPy takes it: shape (n C, P), rows (sample, output) row-major, columns parameter by parameter.

        P counts the parameters in the model's order. Vectors are float64, the work is in the Jacobian's precision.

        >>> J = Jacobian(nn.Linear(2, 1))
        >>> A = J.operator(torch.tensor([[3.0, 4.0]]))
        >>> A.shape, A.matvec(np.ones(3)).tolist(), A.rmatvec(np.ones(1)).tolist()
        ((1, 3), [8.0], [3.0, 4.0, 1.0])
        """
        from scipy.sparse.linalg import LinearOperator  # here, for kernels and features need torch and numpy alone

        products = self._operator_products(x)
        n, C = products.n, products.outputs
        sizes = [p.numel() for p in products.wanted.values()]

        def forward(v: np.ndarray) -> np.ndarray:
            parts = torch.from_numpy(np.ascontiguousarray(v, dtype=np.float64).reshape(-1)).split(sizes)
            named = zip(products.wanted.items(), parts, strict=True)
            w = {name: part.to(products.like).reshape(p.shape) for (name, p), part in named}
            return self.matvec(x, w).T.reshape(-1).double().cpu().numpy()

        def backward(a: np.ndarray) -> np.ndarray:
            seeds = torch.from_numpy(np.ascontiguousarray(a, dtype=np.float64).reshape(n, C)).to(products.like)
            found = self._pulled_back(x, seeds)
            return torch.cat([g.reshape(-1).double().cpu() for g in found.values()]).numpy()

        return LinearOperator((n * C, sum(sizes)), matvec=forward, rmatvec=backward, dtype=np.float64)

    @differentiable
    def _operator_products(self, x: Any) -> Products:
        return self._products(x)

    @differentiable
    def _pulled_back(self, x: Any, seeds: Tensor) -> dict[str, Tensor]:
        """J^T a summed over outputs, one backward pass, from a (n, C)."""
        return self._products(x).backward_joint(seeds)

    def _products(self, x: Any, forward: bool = False) -> Products:
        x, n = self._inputs("x", x)
        found = self._once("products", x, lambda: self._prepared(x))
        if forward:
            found = replace(found, way=self._once("way", x, lambda: replace(found, x=x, n=n).forwards().way))
        return replace(found, x=x, n=n)

    def _prepared(self, x: Any) -> Products:
        """What every product needs to know of the model, from the first and the last sample."""
        module, wanted = network(self.model, self.outputs), self._wanted
        for name, layer in self.model.named_modules():
            if getattr(layer, "scale_grad_by_freq", False):
                found = f"an embedding with scale_grad_by_freq at {name or 'the top'}"
                _check.refuse("model", "gradients that are derivatives", found, remedy="set scale_grad_by_freq=False")
        like = probe(module, x)
        return Products(module, None, 0, like.shape[1], max(1, saved_bytes(module, x)), self.memory, wanted, like[:0])

    # --- what is known of the model -------------------------------------------------------------------------------------

    @property
    def precision(self) -> torch.dtype:
        """The precision of the products."""
        return self.dtype or next(self.model.parameters()).dtype

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters, in the order of the columns."""
        return tuple(self._wanted)

    @property
    def alone(self) -> Jacobian:
        """The Jacobian in this process, of one that shares its work among several."""
        return self

    def to(self, dtype: torch.dtype | None) -> Jacobian:
        """Return the Jacobian in another precision, of the same model; made once."""
        if dtype is None or dtype == self.dtype:
            return self
        self._refuse_stale()
        if dtype not in self._others:
            self._others[dtype] = Jacobian(
                self.given, outputs=self.outputs, parameters=self.parameters, dtype=dtype, memory=self.memory
            )
        return self._others[dtype]

    @property
    def _wanted(self) -> dict[str, nn.Parameter]:
        return trainable(self.model, self.parameters)

    def _inputs(self, name: str, x: Any) -> tuple[Any, int]:
        """The inputs, checked and in the Jacobian's precision, and how many samples they are."""
        self._refuse_stale()
        n = _check.samples(name, _check.inputs(name, x))
        return cast(self.model, x, self.dtype)[1], n

    def _refuse_stale(self) -> None:
        _check.frozen_statistics(self.given)
        found = changed(self._state, state_of(self.given))
        if found is not None:
            expected = (
                "the parameters, buffers, modules, modes and hooks that the Jacobian was made of (make a new one)"
            )
            _check.refuse("model", expected, f"a change of {found}")

    def _once(self, what: str, x: Any, look: Callable[[], T]) -> T:
        """What was found at the first batch of this kind."""
        key = (what, _kind(x))
        if key not in self._looked:
            self._looked[key] = look()
        found: T = self._looked[key]
        return found

    def _trace(self, x: Any, names: tuple[str, ...] | None = None) -> Trace:
        parameters = self.parameters if names is None else list(names)

        def look() -> Trace:
            return inspect(self.model, x, outputs=self.outputs, parameters=parameters)

        found: Trace = self._once(f"trace of {names}", x, look)
        return found

    def _kernel(self, pairing: str, x1: Any, x2: Any, out: Tensor | None) -> Tensor:
        x1, n1 = self._inputs("x1", x1)
        n2 = n1
        if x2 is not None:
            n2 = _check.samples("x2", _check.inputs("x2", x2))
            x2 = cast(self.model, x2, self.dtype)[1]
            with named("x2"):
                self._once("probe", x2, lambda: probe(network(self.model, self.outputs), x2))
        trace = self._trace(x1)
        plan = plan_kernel(trace, n1, None if x2 is None else n2, self.memory, pairing)
        shape = kernel_shape(pairing, trace.outputs, n1, n2)
        out = torch.empty(shape, dtype=torch.float64, device=trace.device) if out is None else writable(out, shape)
        kernel_blocks(out, trace, plan, x1, x2, (n1, n2), pairing)
        return out


def _listed(chosen: Any) -> Any:
    return list(chosen) if not isinstance(chosen, str | Sequence) and hasattr(chosen, "__iter__") else chosen


def _own(head: str) -> tuple[str, str]:
    """Names of the head's two parameters."""
    return (f"{head}.weight", f"{head}.bias") if head else ("weight", "bias")


def _kind(x: Any) -> Any:
    """The shapes and types of one sample: what batches must share for what was found at one to hold for the other."""
    if isinstance(x, Mapping):
        return tuple((name, _kind(part)) for name, part in x.items())
    if isinstance(x, tuple):
        return tuple(_kind(part) for part in x)
    return (tuple(x.shape[1:]), x.dtype, x.device) if isinstance(x, Tensor) else (type(x), x)
