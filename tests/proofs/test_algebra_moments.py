"""The calculus of moments and of one variable: known values, and what they must reject."""

import pytest
import sympy as sp

from proofs_checks.algebra.calculus import Calculation
from proofs_checks.algebra.moments import (
    Sum,
    count_sketch,
    expected,
    first,
    haar,
    independent,
    partitions,
    sparse,
    srht,
)

k, P, s = sp.symbols("k P s", positive=True)


def test_set_partitions_are_counted_by_bell():
    assert [sum(1 for _ in partitions(range(n))) for n in range(5)] == [1, 1, 2, 5, 15]


def test_sums_do_not_depend_on_the_names_of_their_indices():
    assert not (Sum.of("ui vi uj vj") - Sum.of("um vm ut vt")).terms
    assert (Sum.of("ui ui vj vj") - Sum.of("ui vi uj vj")).terms
    assert not (Sum.of("Kij Kji") - Sum.of("Kij Kij")).terms


@pytest.mark.parametrize("law", [independent(sp.Integer(3)), count_sketch, sparse, srht(replace=True), haar])
def test_every_map_is_unbiased(law):
    assert first(law) == (1, 0)


def test_wicks_three_pairings():
    gaussian = independent(sp.Integer(3))
    found = expected("ui vj ul vm", "ijlm", gaussian)
    inner, lengths = Sum.of("ui vi uj vj"), Sum.of("ui ui vj vj")
    assert not (found - (1 + 1 / k) * inner - 1 / k * lengths).terms
    assert (found - (1 + 1 / k) * inner).terms


def test_sjlt_with_one_entry_is_count_sketch():
    one, two = (expected("ui vj ul vm", "ijlm", law) for law in (sparse, count_sketch))
    assert not (one - two).terms  # whatever s is


def test_the_second_moment_of_a_haar_map_is_that_of_the_beta_law():
    u = expected("ui uj ul um", "ijlm", haar)
    assert not (u - P * (k + 2) / (k * (P + 2)) * Sum.of("ui ui uj uj")).terms


def test_an_inequality_of_one_variable_wants_its_sign():
    x, y = sp.symbols("x y", positive=True)
    c = Calculation()
    c.at_least_zero("logarithm below its tangent", x - sp.log(1 + x), x, y, [0.5])
    c.at_least_zero("above it", sp.log(1 + x) - x, x, y, [0.5])
    c.at_least_zero("not zero at zero", 1 + x, x, y, [0.5])
    assert [line.proved for line in c.lines] == [True, False, False]


def test_functions_that_differ_are_not_the_same():
    x = sp.symbols("x", positive=True)
    c = Calculation()
    c.same("equal", sp.log(1 + x), sp.log(2 + 2 * x) - sp.log(2), x)
    c.same("a constant apart", sp.log(1 + x), sp.log(1 + x) + 1, x)
    c.equal("another slope", x, 2 * x)
    assert [line.proved for line in c.lines] == [True, False, False]
