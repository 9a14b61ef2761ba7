"""One function of dntk_ref beside its exact value on every instance, as a step of the ledger with broken twins."""

import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, is_dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from flint import arb, ctx, fmpq

from proofs_checks.instances import SEED
from proofs_checks.margin import ALLOWED, UNIT, Kind, Margin
from proofs_checks.references.balls import PRECISION, balls
from proofs_checks.references.domain import misnamed, spied
from proofs_checks.statement import Cases, Step, Twin

__all__ = ["Agreement", "Instance", "path_of", "seeded"]

# What the reference's value is multiplied by in a broken twin.
SLIGHTLY = 1e-6


class Instance:
    """Named arguments in float64, and `exact`, the same numbers as balls."""

    def __init__(self, **numbers: Any) -> None:
        self.numbers = numbers
        self._exact: Instance | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self.numbers:
            raise AttributeError(name)
        return self.numbers[name]

    @property
    def exact(self) -> "Instance":
        """The instance in balls."""
        if self._exact is None:
            self._exact = Instance(**{name: balls(value) for name, value in self.numbers.items()})
        return self._exact


def seeded(make: Callable[[np.random.Generator, int], Instance], least: int = 8) -> Cases:
    """Return the family of `make(generator, i)`, i = 0, 1, ...: a fifth of the instances asked for, at least some."""

    @lru_cache(maxsize=2)
    def cases(count: int) -> tuple[Instance, ...]:
        return tuple(make(np.random.default_rng([SEED, i]), i) for i in range(max(least, count // 5)))

    return cases


def path_of(function: Callable) -> str:
    """Return a function of dntk_ref as the ledger names it: module.name."""
    return f"{function.__module__.removeprefix('dntk_ref.')}.{function.__name__}"


def _groups(value: Any) -> list[np.ndarray]:
    """The numbers of a value, field by field: each group is compared on its own scale."""
    if is_dataclass(value) and not isinstance(value, type):
        return [group for part in fields(value) for group in _groups(getattr(value, part.name))]
    if isinstance(value, list | tuple):
        return [group for part in value for group in _groups(part)]
    return [np.array([float(x) if isinstance(x, arb | fmpq) else x for x in np.ravel(value)], dtype=float)]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """`call(function, instance)` is `exact(instance.exact)`, to roundings times the stated loss.

    `loss` is by how much a rounding may grow (the condition number where a system is solved), `size` the largest term where
    the value is a difference of them; 1 and the value itself by default.
    """

    function: Callable
    call: Callable[[Callable, Instance], Any]
    exact: Callable[[Instance], Any]
    cases: Cases
    loss: Callable[[Instance], float] = lambda case: 1.0
    size: Callable[[Instance], Any] = lambda exact: 0.0
    known: dict[int, tuple[Instance, list[np.ndarray], float]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def path(self) -> str:
        """Module and name of the function."""
        return path_of(self.function)

    def value(self, case: Instance) -> list[np.ndarray]:
        """What the reference says; the function is looked up by its name, so that a broken one can stand there."""
        return _groups(self.call(getattr(sys.modules[self.function.__module__], self.function.__name__), case))

    def outside(self, case: Instance) -> list[str]:
        """What the function takes near an instance though it is outside the domain, or refuses under a wrong name."""
        function = getattr(sys.modules[self.function.__module__], self.function.__name__)
        signature = inspect.signature(self.function)
        seen = spied(function, lambda spy: self.call(spy, case), signature)
        return [line for arguments in seen[:1] for line in misnamed(function, arguments, set(signature.parameters))]

    def truth(self, case: Instance) -> tuple[list[np.ndarray], float]:
        """The exact groups, rounded once, and the size of the terms behind them."""
        if id(case) not in self.known:
            with ctx.workprec(PRECISION):
                groups, size = _groups(self.exact(case.exact)), float(self.size(case.exact))
            self.known[id(case)] = case, groups, size  # the case itself, so that its id stays its own
        _, groups, size = self.known[id(case)]
        return groups, size

    @property
    def step(self) -> Step:
        """The agreement as a step: no twin of it, a value slightly off, may pass all instances."""
        return Step(
            claim=f"dntk_ref.{self.path} is the exact one, and refuses by name what is outside its domain",
            check=beside,
            cases=self.cases,
            twins=(
                Twin("times 1 + 1e-6", {"factor": 1 + SLIGHTLY}),
                Twin("times 1 - 1e-6", {"factor": 1 - SLIGHTLY}),
            ),
            sides={"agreement": self, "factor": 1.0},
        )


def _apart(left: np.ndarray, right: np.ndarray, unit: float) -> float:
    """By how many units two groups of numbers differ; infinitely where there are more of one than of the other."""
    if left.shape != right.shape:
        return float("inf")
    same = left == right  # infinities too
    with np.errstate(invalid="ignore"):
        off = np.where(same, 0.0, np.abs(left - right)) / unit
    return float(np.max(np.where(np.isnan(left) & np.isnan(right), 0.0, np.nan_to_num(off, nan=np.inf)), initial=0.0))


def _scale(right: np.ndarray, size: float) -> float:
    finite = np.abs(right[np.isfinite(right)])
    return max(float(np.max(finite, initial=0.0)), size, 1e-300)


def beside(case: Instance, *, agreement: Agreement, factor: float) -> Margin:
    """Compare the reference's value times a factor with the exact value; what it refuses, once, with the value itself."""
    if factor == 1.0 and agreement.outside(case):
        return Margin(Kind.FLOAT, float("inf"), ALLOWED[Kind.FLOAT], "outside the domain", "refused by name")
    left, (right, size) = [group * factor for group in agreement.value(case)], agreement.truth(case)
    unit = UNIT * agreement.loss(case)
    if len(left) != len(right):
        return Margin(Kind.FLOAT, float("inf"), ALLOWED[Kind.FLOAT], len(left), len(right))
    apart = [_apart(a, b, unit * _scale(b, size)) for a, b in zip(left, right, strict=True)]
    worst = int(np.argmax(apart)) if apart else 0
    return Margin(Kind.FLOAT, max(apart, default=0.0), ALLOWED[Kind.FLOAT], _shown(left, worst), _shown(right, worst))


def _shown(groups: list[np.ndarray], place: int) -> float | None:
    """The first number of a group, for the record."""
    return float(groups[place][0]) if groups and groups[place].size else None


def paths(agreements: Iterable[Agreement]) -> tuple[str, ...]:
    """Return the functions that agreements name, each once, in their order."""
    return tuple(dict.fromkeys(agreement.path for agreement in agreements))
