"""How sure the tangent kernel is of what its network says, and how usual an input is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast.analysis.attribution import Retraining
from dntk_fast.analysis.inputs import batches, joined, networks, outputs_of, own_kind
from dntk_fast.analysis.machines import Machine
from dntk_fast.analysis.shift import rarity, shift_score
from dntk_fast.analysis.sources import MEMORY, Forecast, Source, read_source, source_of, write_source
from dntk_fast.tangent.batches import in_any_mode

__all__ = ["Uncertainty", "probit_probabilities"]

# Of the mean diagonal: large enough to be solved with in float64, small beside the kernel; not tuned.
RIDGE = 1e-3


class Uncertainty:
    """Predictive variance of the tangent kernel, from inputs alone: no labels, no targets.

    v_c(x) = K_c(x, x) - k_c(x)^T (K_c + lam I)^-1 k_c(x) = lam phi_c^T (Phi_c^T Phi_c + lam I)^-1 phi_c

    Kernels are in units of the mean of their diagonal over the fitted rows, those of several networks added.

    Parameters
    ----------
    model : nn.Module or sequence of them, in evaluation mode
    k : int or None
        As in `Retraining`.
    seed : int
        Of the projection.
    ridge : float
        Over the mean diagonal of the added kernel.
    outputs : function (model, batch) -> (n, C) or None
    memory : int
        Bytes for kernels or features that are kept.

    Attributes
    ----------
    amplitude_ : Tensor (C,)
        y_c^T (K_c + lam I)^-1 y_c / n, the amplitude of the prior at which the network's own outputs y_c are likeliest:
        `probabilities` multiplies the variance by it.

    Raises
    ------
    ValueError, TypeError
        In one line: a wrong argument, NaN in X, a kernel that is zero.

    Examples
    --------
    >>> import torch
    >>> from dntk_fast import Uncertainty
    >>> layers = torch.nn.Flatten(), torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)
    >>> model = torch.nn.Sequential(*layers).double().eval()
    >>> x = torch.linspace(-1, 1, 160, dtype=torch.float64).reshape(40, 1, 2, 2).sin()
    >>> sure = Uncertainty(model).fit(x)
    >>> usual, odd = sure.shift_score(x[:20]).max(), sure.shift_score(9 + 0 * x[:1])
    >>> bool(usual < odd)
    True
    """

    def __init__(
        self,
        model: nn.Module | Sequence[nn.Module],
        *,
        k: int | None = None,
        seed: int = 0,
        ridge: float = RIDGE,
        outputs: Callable[[nn.Module, Any], Tensor] | None = None,
        memory: int = MEMORY,
    ) -> None:
        self.models = networks(model, outputs)
        self.k = None if k is None else _check.integer("k", k, 1)
        self.seed = _check.seed(seed)
        self.ridge = _check.positive("ridge", ridge)
        self.outputs = outputs
        self.memory = _check.integer("memory", memory, 1)

    @in_any_mode
    def forecast(self, X: Any) -> Forecast:
        """Return how `fit` would go about these inputs, before any long work; `str` says it in words."""
        return source_of(
            self.models, joined("X", X, self.models[0]), self.k, self.seed, self.outputs, self.memory
        ).forecast

    @in_any_mode
    def fit(self, X: Any, *, progress: Callable[[int, int], object] | None = None) -> Uncertainty:
        """Compute the kernel of X: of all training inputs, or of distilled ones in their place.

        Parameters
        ----------
        X : (n, ...)
            A tensor, an array, a tuple or dict of tensors, or a DataLoader of either. They are kept.
        progress : callable(done, total) or None
        """
        x = joined("X", X, self.models[0])
        said = self._says(x)
        source = source_of(self.models, x, self.k, self.seed, self.outputs, self.memory)
        source.prepare(said, progress)
        self._set(source, said)
        return self

    @in_any_mode
    def variance(self, X: Any) -> Tensor | np.ndarray:
        """Return v (t, C), in units of the mean of the fitted rows' K_c(x, x)."""
        self._fitted()
        found = [machine.variance(new, own) for machine, new, own in self._asked(X)]
        return own_kind(torch.cat(found, 1).T / len(self.models), X)

    @in_any_mode
    def probabilities(self, X: Any) -> Tensor | np.ndarray:
        """Return class probabilities averaged over the variance (t, C): softmax_c f_c / (1 + pi a_c v_c / 8)^1/2.

        f is the network's output, or the mean over networks.
        """
        self._fitted()
        x = joined("X", X, self.models[0])
        said = self._says(x)
        variance = torch.as_tensor(self.variance(x)) * self.amplitude_ * len(self.models)
        return own_kind(probit_probabilities(said, variance.T).T, X)

    @in_any_mode
    def shift_score(self, X: Any) -> Tensor | np.ndarray:
        """Return the mean over classes of the variance, (t,): larger is less like the fitted inputs."""
        return own_kind(shift_score(torch.as_tensor(self.variance(X)).T), X)

    def leave_one_out(self) -> Tensor:
        """Return the variance of each fitted row by the others, (n, C): rows are less unusual to a kernel that has them."""
        self._fitted()
        return self._machine.left_out_variance().T / len(self.models)

    def rarity(self, X: Any) -> Tensor | np.ndarray:
        """Return the share of the fitted rows that are as unusual to the others as an input is to all, or more so, (t,).

        Of an input like the fitted ones it is spread evenly over [0, 1]; near 0 few of them are so unusual.
        """
        own = shift_score(self.leave_one_out().T)
        return own_kind(rarity(own, torch.as_tensor(self.shift_score(X)).to(own.device)), X)

    @classmethod
    def beside(cls, machine: Retraining, *, ridge: float = RIDGE) -> Uncertainty:
        """Fit to the rows of a fitted `Retraining`, whose kernel serves again where there is one."""
        self = cls(machine.models, k=machine.k, seed=machine.seed, ridge=ridge, outputs=machine.outputs,
                   memory=machine.memory)  # fmt: skip
        source = machine.source
        said = self._says(source.x)
        self._set(source.with_targets(said), said)
        return self

    def save(self, path: str | Path) -> None:
        """Write what the kernel needs as a safetensors file; neither networks nor inputs."""
        self._fitted()
        write_source(path, "Uncertainty", self._source, {"said": self._said}, {"ridge": repr(self.ridge)})

    @classmethod
    def load(
        cls, path: str | Path, model: nn.Module | Sequence[nn.Module], X: Any,
        *, outputs: Callable[[nn.Module, Any], Tensor] | None = None, memory: int = MEMORY,
    ) -> Uncertainty:  # fmt: skip
        """Read back what `save` wrote, for the same networks and fitted inputs.

        Raises
        ------
        ValueError
            Another file, other networks or other inputs.
        """
        source, found, words = read_source(path, "Uncertainty", model, X, outputs, memory)
        k, ridge = int(words["k"]) or None, float(words["ridge"])
        self = cls(model, k=k, seed=source.seed, ridge=ridge, outputs=outputs, memory=memory)
        self._set(source, found["said"])
        return self

    def _set(self, source: Source, said: Tensor) -> None:
        self._source, self._said = source, said
        self._machine: Machine = source.machine(said, self.ridge * len(self.models))
        # y^T (K + lam)^-1 y = y^T (y - K alpha) / lam
        fitted = self._machine.fitted(said)
        self.amplitude_ = ((said - fitted) * said).mean(1) / self._machine.lam
        self.forecast_ = source.forecast

    def _says(self, x: Any) -> Tensor:
        """What the networks say on average, (C, t)."""
        return torch.stack([outputs_of(model, x, self.outputs) for model in self.models]).mean(0).T.contiguous()

    def _asked(self, X: Any) -> Iterator[tuple[Machine, Tensor, Tensor]]:
        """The machine, and new inputs as it wants them with their own kernels, some at a time."""
        for part in batches(joined("X", X, self.models[0]), self._source.batch):
            yield self._machine, self._source.new(part), self._source.own(part)

    def _fitted(self) -> None:
        if not hasattr(self, "_machine"):
            raise ValueError("Uncertainty: expected a fitted estimator, got one before fit(X)")


def probit_probabilities(logits: Tensor, variance: Tensor) -> Tensor:
    """Return class probabilities averaged over Gaussian logits: softmax_c f_c / (1 + pi v_c / 8)^1/2 (MacKay 1992), (C, t).

    Parameters: logits (C, t), variance (C, t), none below 0.

    >>> probit_probabilities(torch.zeros(2, 1), torch.ones(2, 1)).tolist()
    [[0.5], [0.5]]
    """
    f = _check.rows("logits", _check.tensor("logits", logits), ndim=2)
    v = _check.array_like("variance", variance, f, tuple(f.shape))
    if bool((v < 0).any()):
        _check.refuse("variance", "numbers that are 0 or above", float(v.min()))
    return (f / (1 + math.pi / 8 * v).sqrt()).softmax(0)
