"""The ledger holds dntk_ref itself: every function is named, and one that is a millionth off is seen."""

import importlib
import inspect
import pkgutil
from dataclasses import fields, is_dataclass, replace
from functools import partial

import numpy as np
import pytest
from flint import arb, ctx

import dntk_ref
from proofs_checks.judge import QUICK, judge_step
from proofs_checks.references.agreement import Agreement, Instance, beside
from proofs_checks.references.balls import PRECISION
from proofs_checks.references.certificates import CERTIFICATES
from proofs_checks.references.domain import misnamed
from proofs_checks.references.families import PROBLEMS
from proofs_checks.references.table import UNNAMED, named
from proofs_checks.registry import registry

NAMED = named()
MODULES = [info.name for info in pkgutil.iter_modules(dntk_ref.__path__) if not info.name.startswith("_")]


def public():
    for name in MODULES:
        module = importlib.import_module(f"dntk_ref.{name}")
        yield from (f"{name}.{item}" for item in module.__all__ if inspect.isfunction(getattr(module, item)))


def test_every_function_is_named_by_a_reading_or_listed_with_a_reason():
    assert sorted([*NAMED, *UNNAMED]) == sorted(public())
    assert len(UNNAMED) <= 40
    assert all(UNNAMED.values())


def test_the_readings_of_the_ledger_carry_the_names():
    claims = {step.claim for s in registry() for reading in s.readings for step in reading.references}
    assert claims == {
        f"dntk_ref.{path} is the exact one, and refuses by name what is outside its domain" for path in NAMED
    }


def scaled(value, factor):
    """A value times a factor, field by field; places and counts become numbers beside them."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: scaled(getattr(value, f.name), factor) for f in fields(value)})
    if isinstance(value, tuple | list):
        return type(value)(scaled(part, factor) for part in value)
    if isinstance(value, str | Instance) or value is None:
        return value
    return value * factor


@pytest.mark.parametrize("path", NAMED)
def test_a_function_that_is_a_millionth_off_makes_the_ledger_fail(path, monkeypatch):
    module, name = path.split(".")
    home = importlib.import_module(f"dntk_ref.{module}")
    right = getattr(home, name)
    monkeypatch.setattr(home, name, lambda *args, **kwargs: scaled(right(*args, **kwargs), 1 + 1e-6))
    assert any(outcome(agreement) for agreement in NAMED[path])


def outcome(agreement):
    """Whether an agreement fails, be it because nothing takes what the function gives."""
    try:
        return not all(beside(case, agreement=agreement, factor=1.0).holds for case in agreement.cases(QUICK))
    except (ArithmeticError, IndexError, TypeError, ValueError):
        return True


def test_an_agreement_fails_for_another_value_another_length_and_nan():
    right = Agreement(function=np.sqrt, call=lambda f, c: np.ones(2), exact=lambda e: np.ones(2), cases=lambda n: ())
    case = Instance(x=1.0)
    assert beside(case, agreement=right, factor=1.0).holds
    for wrong in (np.ones(3), np.array([1.0, np.nan]), [1.0, 1.0], np.array([1.0, 1 + 1e-9])):
        found = Agreement(
            function=np.sqrt, call=lambda f, c, w=wrong: w, exact=lambda e: np.ones(2), cases=lambda n: ()
        )
        assert not beside(case, agreement=found, factor=1.0).holds


def checked(x, *, name="x", finite=True, word="even"):
    if finite and not np.isfinite(x).all():
        raise ValueError(f"{name}: expected finite entries, got others")
    if x.ndim > 2:
        raise ValueError("x: expected a vector or matrix, got more axes")
    if word != "even":
        raise ValueError(f"word: expected even, got {word!r}" if name == "x" else "word: expected even")
    return x


@pytest.mark.parametrize(
    ("options", "faults"),
    [
        ({}, []),
        ({"finite": False}, ["x, an entry that is no number: taken"]),
        ({"name": "y"}, ["x, an entry that is no number: y: expected finite entries, got others"]),
    ],
)
def test_what_is_taken_outside_the_domain_or_refused_by_another_name_is_listed(options, faults):
    assert misnamed(partial(checked, **options), {"x": np.ones(2)}, {"x", "word"}) == faults


def test_a_refusal_of_a_word_shows_the_word():
    assert misnamed(checked, {"x": np.ones(2), "word": "even"}, {"x", "word"}) == []
    found = misnamed(partial(checked, name="x "), {"x": np.ones(2), "word": "even"}, {"x", "word"})
    assert found == ["word, another word: word: expected even"]


def test_the_ledger_sees_a_function_that_takes_what_it_should_refuse(monkeypatch):
    agreement = NAMED["kernel.gram"][0]
    monkeypatch.setattr(dntk_ref.kernel, "gram", lambda features: np.asarray(features) @ np.asarray(features).T)
    assert not beside(agreement.cases(QUICK)[0], agreement=agreement, factor=1.0).holds


def test_steps_of_the_reference_have_twins_that_are_rejected():
    steps = [agreements[0].step for agreements in NAMED.values()]
    assert all(judge_step(step, QUICK).carries for step in steps[::24])


BOUNDS = [agreement for agreements in CERTIFICATES.values() for agreement in agreements]


@pytest.mark.parametrize("agreement", BOUNDS, ids=[agreement.path for agreement in BOUNDS])
def test_no_certificate_lies_below_the_bound_of_exact_arithmetic(agreement):
    for case in agreement.cases(QUICK):
        found = agreement.call(agreement.function, case)
        with ctx.workprec(PRECISION):
            exact = np.ravel(agreement.exact(case.exact))
            assert all(arb(float(f)) >= arb(x).lower() for f, x in zip(np.ravel(found), exact, strict=True))


def test_the_rounding_of_a_certificate_is_seen():
    """Without their last roundings some bounds lie below: the test above can fail."""
    agreement = next(a for a in BOUNDS if a.path == "certificate.pointwise_bound_by_rows")
    below = 0
    for case in PROBLEMS(QUICK):
        with ctx.workprec(PRECISION):
            exact = np.ravel(agreement.exact(case.exact))
            found = np.ravel(agreement.call(agreement.function, case)) * (1 - 1e-9)
            below += sum(arb(float(f)) < arb(x) for f, x in zip(found, exact, strict=True))
    assert below


TINY = [a for agreements in NAMED.values() for a in agreements if a.path in (
    "ridge.woodbury_inverse", "projection_error.resolvent_difference", "certificate.residual_energy", "certificate.excess",
    "certificate.pointwise_bound_by_rows", "certificate.held_out_rms_bound", "certificate.fidelity_error",
)]  # fmt: skip


@pytest.mark.parametrize("agreement", TINY, ids=[agreement.path for agreement in TINY])
def test_a_tiny_ridge_costs_the_root_of_the_condition_number(agreement):
    """Against 120 digits: a hundred roundings a row times the root of 1 + lambda_1 / lam, down to lam = 1e-12 lambda_1."""
    for case in agreement.cases(QUICK):
        margin = beside(case, agreement=replace(agreement, known={}), factor=1.0)
        assert margin.excess <= 100 * (case.n + case.P)
