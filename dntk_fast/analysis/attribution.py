"""Retraining, predicted: what a network would say had it been trained without some of its data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dntk_fast import _check
from dntk_fast.analysis.asked import Asked, margin
from dntk_fast.analysis.inputs import batches, groups_of, joined, networks, outputs_of, own_kind, targets_of
from dntk_fast.analysis.machines import Machine, whitened
from dntk_fast.analysis.pull import pull_ridge
from dntk_fast.analysis.sources import MEMORY, Forecast, Source, read_source, source_of, write_source
from dntk_fast.tangent.batches import in_any_mode

__all__ = ["Retraining", "SuspiciousLabels", "linear_datamodelling_score", "trak_scores"]

# Of the mean diagonal of the added kernel: what half an isolated row's target is fitted with two thirds of. For real
# targets, where no cross-entropy pulls, nothing better was found.
HALF = 0.5
# Rows on which the rule of the ridge follows a training; it grows by a power of their number, known from half as many.
PULL_ROWS = 2_000


@dataclass(frozen=True, eq=False)
class SuspiciousLabels:
    """Training rows, most suspicious first (n,), and the margin of each row's label when the row is left out, ascending."""

    rows: Tensor
    margins: Tensor


class Retraining:
    """Predict what training without some rows would give: ridge regression of labels with the tangent kernel.

    f_c(x) = k_c(x)^T (K_c + lam I)^-1 y_c,   K_c = sum_m K_c^(m) / mean diag K^(m)   (Eq 16 for labels)

    y is one-hot minus 1/C, K^(m) the tangent kernel of the m-th network. Without a set of rows the same machine is fitted
    on the others, by an exact downdate that costs about C g^2 k for g rows.

    Parameters
    ----------
    models : nn.Module or sequence of them
        A trained network, or several checkpoints or trainings of it, in evaluation mode; they are not changed.
    k : int or None
        Coordinates of projected gradients; None: exact kernels where they fit into `memory`, else `forecast` names k.
    seed : int
        Of the projection, and of the half of the rows on which the ridge is found.
    ridge : "auto" or float
        Un-normalised, for the added kernel, whose mean diagonal is the number of networks. "auto": `pull_ridge` on a random
        half of the rows, beyond 2,000 of them by a power of their number: no retraining is needed. Half the mean diagonal
        for real targets.
    outputs : function (model, batch) -> (n, C) or None
        What is predicted; None: the output of the network.
    memory : int
        Bytes for kernels or features that are kept.

    Attributes
    ----------
    lam_, lam_relative_ : float
        The ridge, and the ridge over the mean diagonal of the kernel.
    forecast_ : Forecast
        How it was done: exact kernels or k, rows, bytes.

    Raises
    ------
    ValueError, TypeError
        In one line: networks of unlike outputs, labels that do not fit, rows that are unknown or leave nothing.

    Examples
    --------
    >>> import torch
    >>> from dntk_fast import Retraining, tangent_kernel
    >>> layers = torch.nn.Flatten(), torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)
    >>> model = torch.nn.Sequential(*layers).double().eval()
    >>> x = torch.linspace(-1, 1, 160, dtype=torch.float64).reshape(40, 1, 2, 2).sin()
    >>> y = torch.arange(40) % 2
    >>> machine = Retraining(model, ridge=0.1).fit(x, y)
    >>> gone = [0, 3, 5]
    >>> rest = [i for i in range(40) if i not in gone]
    >>> fewer = machine.without(gone, x[:2])  # no fit: a downdate
    >>> cross, kernel = tangent_kernel(model, x[:2], x[rest]), tangent_kernel(model, x[rest])
    >>> unit = tangent_kernel(model, x).diagonal(dim1=1, dim2=2).mean()  # kernels are divided by it
    >>> hot = torch.nn.functional.one_hot(y[rest]).double().T - 1 / 2
    >>> refit = cross @ torch.linalg.solve(kernel + 0.1 * unit * torch.eye(37, dtype=torch.float64), hot[..., None])
    >>> torch.allclose(fewer.T, refit[..., 0])
    True
    """

    def __init__(
        self,
        models: nn.Module | Sequence[nn.Module],
        *,
        k: int | None = None,
        seed: int = 0,
        ridge: str | float = "auto",
        outputs: Callable[[nn.Module, Any], Tensor] | None = None,
        memory: int = MEMORY,
    ) -> None:
        self.models = networks(models, outputs)
        self.k = None if k is None else _check.integer("k", k, 1)
        self.seed = _check.seed(seed)
        self.ridge = ridge if ridge == "auto" else _check.positive("ridge", ridge)
        self.outputs = outputs
        self.memory = _check.integer("memory", memory, 1)

    @in_any_mode
    def forecast(self, X: Any) -> Forecast:
        """Return how `fit` would go about these inputs, before any long work; `str` says it in words."""
        return source_of(
            self.models, joined("X", X, self.models[0]), self.k, self.seed, self.outputs, self.memory
        ).forecast

    @in_any_mode
    def fit(self, X: Any, y: Any, *, progress: Callable[[int, int], object] | None = None) -> Retraining:
        """Compute the kernel of (X, y), choose the ridge and solve.

        Parameters
        ----------
        X : (n, ...)
            Training inputs: a tensor, an array, a tuple or dict of tensors, or a DataLoader of either. They are kept.
        y : (n,) integer classes 0 ... C - 1, or real targets (n,) or (n, C)
        progress : callable(done, total) or None
        """
        x = joined("X", X, self.models[0])
        n = _check.samples("X", x)
        said = [outputs_of(model, x, self.outputs) for model in self.models]
        if len({part.shape[1] for part in said}) > 1:
            _check.refuse("models", "networks of as many outputs", f"{[part.shape[1] for part in said]} of them")
        targets, labels, offset = targets_of(y, n, said[0])
        source = source_of(self.models, x, self.k, self.seed, self.outputs, self.memory)
        source.prepare(targets, progress)
        self._set(source, targets, labels, offset, self._ridge(source, labels, said))
        return self

    @in_any_mode
    def logits(self, X: Any) -> Tensor | np.ndarray:
        """Return what the machine of all rows says, (t, C): label targets plus 1/C are about probabilities."""
        return own_kind(torch.cat([asked.logits() for asked in self._asked(X)]), X)

    @in_any_mode
    def ask(self, X: Any) -> Asked:
        """Bring few inputs to the machine once, (C, t, n) numbers at most, for any number of questions."""
        parts = list(self._asked(X))
        return Asked(self._machine, torch.cat([part.new for part in parts], 1), self._offset, self._labels)

    @in_any_mode
    def without(self, rows: Any, X: Any) -> Tensor | np.ndarray:
        """Return what training without a set of rows would say, (t, C); for a list of S sets, (S, t, C).

        Parameters
        ----------
        rows : integers (g,), or a list of such sets; a set leaves a row of every class
        X : (t, ...)
        """
        self._fitted()
        groups, one = groups_of(rows, self._machine.n, self._labels, self._targets.device)
        found = torch.cat([asked.without(groups) for asked in self._asked(X)], 1)
        return own_kind(found[0] if one else found, X)

    @in_any_mode
    def scores(self, X: Any, y: Any = None) -> Tensor | np.ndarray:
        """Return what each training row contributes, (t, n): the margin with all rows minus the margin without row i.

        Positive rows support the answer, negative ones oppose it. Effects of rows that are alike do not add: ask `without`.

        Parameters
        ----------
        X : (t, ...)
        y : (t,) classes whose margins are meant; None: those that the machine predicts. Real targets have no margin: there
            it is the effect on the first output.
        """
        self._fitted()
        chosen = None if y is None else _classes(y, _check.samples("X", joined("X", X, self.models[0])), self._offset)
        found, at = [], 0
        for asked in self._asked(X):
            t = asked.new.shape[1]
            found.append(asked.scores(None if chosen is None else chosen[at : at + t]))
            at += t
        return own_kind(torch.cat(found), X)

    def leave_one_out(self) -> Tensor:
        """Return what the machine says of each training row when fitted on the others, (n, C)."""
        self._fitted()
        return self._machine.leave_one_out(self._targets).T + self._offset

    def suspicious_labels(self) -> SuspiciousLabels:
        """Return the training rows by how much the others contradict their label, the worst first.

        For classes by the margin of the row's label in `leave_one_out`; for real targets by minus the absolute error.
        """
        left = self.leave_one_out() - self._offset
        if self._labels is None:
            margins = -(left.T - self._targets).abs().sum(0)
        else:
            margins = margin(left.T, self._labels)
        order = margins.argsort(stable=True)
        return SuspiciousLabels(order, margins[order])

    def save(self, path: str | Path) -> None:
        """Write targets, ridge, and what the kernel needs, as a safetensors file; neither networks nor inputs."""
        self._fitted()
        labels = {} if self._labels is None else {"labels": self._labels}
        lam = torch.tensor([self.lam_], dtype=torch.float64)
        kept = {"targets": self._targets, "offset": self._offset, "lam": lam} | labels
        write_source(path, "Retraining", self._source, kept)

    @classmethod
    def load(
        cls, path: str | Path, models: nn.Module | Sequence[nn.Module], X: Any,
        *, outputs: Callable[[nn.Module, Any], Tensor] | None = None, memory: int = MEMORY,
    ) -> Retraining:  # fmt: skip
        """Read back what `save` wrote, for the same networks and training inputs.

        Raises
        ------
        ValueError
            Another file, other networks or other inputs.
        """
        source, found, words = read_source(path, "Retraining", models, X, outputs, memory)
        self = cls(models, k=int(words["k"]) or None, seed=source.seed, outputs=outputs, memory=memory)
        self._set(source, found["targets"], found.get("labels"), found["offset"], float(found["lam"]))
        return self

    def _set(self, source: Source, targets: Tensor, labels: Tensor | None, offset: Tensor, lam: float) -> None:
        self._source, self._targets, self._labels, self._offset = source, targets, labels, offset
        self._machine: Machine = source.machine(targets, lam)
        self.lam_, self.lam_relative_, self.forecast_ = lam, lam / len(self.models), source.forecast

    def _ridge(self, source: Source, labels: Tensor | None, said: list[Tensor]) -> float:
        if self.ridge != "auto":
            return float(self.ridge)
        if labels is None:
            return HALF * len(self.models)
        losses = [torch.nn.functional.cross_entropy(part, labels) for part in said]
        generator = torch.Generator().manual_seed(self.seed)
        half = torch.randperm(len(labels), generator=generator)[: max(1, len(labels) // 2)].to(labels.device)

        def found(count: int) -> float:
            rows, loss = half[:count].sort().values, float(torch.stack(losses).mean())
            return pull_ridge(source.products(rows), labels[rows], said[0].shape[1], loss=loss)

        if len(half) <= PULL_ROWS:
            return found(len(half))
        fewer, lam = found(PULL_ROWS // 2), found(PULL_ROWS)
        return lam * (lam / fewer) ** math.log2(len(half) / PULL_ROWS)

    def _asked(self, X: Any) -> Iterator[Asked]:
        """New inputs at the machine, some at a time."""
        self._fitted()
        for part in batches(joined("X", X, self.models[0]), self._source.batch):
            yield Asked(self._machine, self._source.new(part), self._offset, self._labels)

    @property
    def source(self) -> Source:
        """The kernel that was fitted."""
        self._fitted()
        return self._source

    def _fitted(self) -> None:
        if not hasattr(self, "_machine"):
            raise ValueError("Retraining: expected a fitted estimator, got one before fit(X, y)")


def trak_scores(new: Tensor, features: Tensor, pulls: Tensor, lam: float) -> Tensor:
    """Return TRAK's linear form phi(x)^T (Phi^T Phi + lam I)^-1 phi_i q_i, (t, n); lam = 0 is TRAK's own.

    Parameters: new (t, k), features (n, k) of the margin's gradient, pulls q (n,), lam > 0.

    >>> trak_scores(torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.tensor([0.5]), 1.0).round(decimals=12).tolist()
    [[0.5]]
    """
    Phi = _check.rows("features", _check.tensor("features", features), ndim=2).double()
    phi = _check.array_like("new", new, features, (None, Phi.shape[1])).double()
    q = _check.array_like("pulls", pulls, features, (len(Phi),)).double()
    identity = torch.eye(Phi.shape[1], dtype=torch.float64, device=Phi.device)
    factor = torch.linalg.cholesky(Phi.mT @ Phi + _check.positive("lam", lam) * identity)
    return (whitened(phi[None], factor[None]) @ whitened(Phi[None], factor[None]).mT)[0] * q


def linear_datamodelling_score(predicted: np.ndarray, retrained: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation over subsets of predicted and retrained margins, for each input (t,); LDS is its mean.

    Parameters: both (S, t), S >= 2. An input whose margins are all equal has no correlation and is refused.

    >>> linear_datamodelling_score(np.array([[1.0], [2.0]]), np.array([[5.0], [7.0]])).round(12).tolist()
    [1.0]
    """
    columns = []
    for name, values in (("predicted", predicted), ("retrained", retrained)):
        given = _check.array_like(name, values, predicted, tuple(np.shape(predicted)))
        _check.integer("number of subsets", len(given), 2)
        ranks = _mean_ranks(given)
        size = np.sqrt(np.sum(ranks**2, axis=0))
        if not size.all():
            _check.refuse(name, "margins that vary over subsets", f"equal ones for input {int(size.argmin())}")
        columns.append(ranks / size)
    return np.asarray(np.sum(columns[0] * columns[1], axis=0))


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the first axis, those of equal values their mean, minus the mean rank."""
    below = (values[None] < values[:, None]).sum(1)
    equal = (values[None] == values[:, None]).sum(1)
    return below + (equal - 1) / 2 - (len(values) - 1) / 2


def _classes(y: Any, n: int, offset: Tensor) -> Tensor:
    found = torch.as_tensor(y).to(offset.device)
    if (
        found.is_floating_point()
        or tuple(found.shape) != (n,)
        or int(found.min()) < 0
        or int(found.max()) >= len(offset)
    ):
        _check.refuse("y", f"classes ({n},) of 0 ... {len(offset) - 1}", f"{found.dtype} of shape {tuple(found.shape)}")
    return found.long()
