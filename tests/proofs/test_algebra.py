"""The prover: what it proves, and what it must refuse."""

import ast
import io
import tokenize
from pathlib import Path

import numpy as np
import pytest

from proofs_checks.algebra import theory, words
from proofs_checks.algebra.argument import Argument, half, one, ratio
from proofs_checks.algebra.theory import NotConfluentError, Pair, Term, Theory
from proofs_checks.algebra.words import AlgebraError, Letter, Matrix, Scalar, Symbol, sq, tr


def matrix(name, rows, cols, symmetric=False):
    return Matrix.of(Letter(name, rows, cols, symmetric))


def number(name, sign="positive"):
    return Scalar.of(Symbol(name, sign))


F, K, R = matrix("F", "n", "P"), matrix("K", "n", "n", True), matrix("R", "n", "n", True)
P, x, y = matrix("P", "n", "n", True), matrix("x", "n", "1"), matrix("y", "n", "1")
lam = number("l")


def ridge():
    t, s = Theory(), matrix("S", "P", "P", True)
    t.assume((F * F.T + lam) * R, 1)
    t.assume((F.T * F + lam) * s, 1)
    return t, s


def test_push_through_and_woodbury_follow_from_two_inverses():
    t, s = ridge()
    assert t.equal(R * F, F * s)
    assert t.equal(R, (1 - F * s * F.T) / lam)
    assert not t.equal(R, 1 - F * s * F.T)
    assert not t.equal(R * F, 2 * F * s)


def test_hypotheses_are_closed_under_transposition():
    t = Theory()
    t.assume(F * F.T * x, lam * x)
    assert t.equal(x.T * F * F.T, lam * x.T)


def test_overlaps_become_rules():
    t = Theory()
    t.assume(K * R, 1)
    assert t.equal(R * K, 1)
    t.assume(P * P, P)
    assert t.equal(P * P * P * P, P)


def test_what_follows_from_no_hypothesis_is_not_proved():
    assert not Theory().equal(K * P, P * K)
    assert Theory().equal(tr(K * P), tr(P * K))
    assert not Theory().equal(tr(K * P * R), tr(P * K * R) + tr(R))


def test_a_square_that_is_zero_makes_its_matrix_zero_and_no_other_does():
    t, d = Theory(), matrix("D", "P", "P", True)
    a = F.T * F
    for left, right in ((a * d, d * a), (a * d * a, a), (d * a * d, d)):
        t.assume(left, right)
    assert t.vanish(F * d * F.T * F - F)
    assert t.equal(F * d * F.T * (F * d * F.T), F * d * F.T)
    assert not t.vanish(F)


def test_cauchy_schwarz_by_its_square_and_not_with_half_of_the_right_side():
    gap = x * y.T - y * x.T
    assert Theory().at_most((x.T * y) ** 2, sq(x) * sq(y), [Term(half, (gap,))])
    assert not Theory().at_most((x.T * y) ** 2, sq(x) * sq(y) / 2, [Term(half, (gap,))])


def test_frobenius_of_a_square_by_the_tensor_square():
    swap = Pair(((one, F, F, False), (-one, F, F, True)))
    assert Theory().at_most(sq(F * F.T), sq(F) ** 2, [Term(half, (swap,))])
    assert not Theory().at_most(sq(F * F.T), sq(F) ** 2 / 2, [Term(half, (swap,))])


def test_an_order_of_matrices_by_squares():
    t = Theory()
    t.assume(P * P, P)
    assert t.at_most(F.T * P * F, F.T * F, [Term(one, ((1 - P) * F,))])
    assert not t.at_most(F.T * F, F.T * P * F, [Term(one, ((1 - P) * F,))])


@pytest.mark.parametrize(
    "product",
    [lambda: F * F, lambda: F + F.T, lambda: F + 1, lambda: F.T * R * F.T, lambda: tr(F), lambda: x * F],
)
def test_unlike_sizes_are_refused(product):
    with pytest.raises(AlgebraError, match=r"unlike sizes|square"):
        product()


def test_identities_of_two_sizes_have_two_traces():
    n, p = tr(Matrix.identity("n")), tr(Matrix.identity("P"))
    assert not Theory().equal(n, p)
    t = Theory()
    t.assume((F * F.T + lam) * R, 1)
    assert t.equal(tr(F * F.T * R), n - lam * tr(R))
    t, s = ridge()
    # n - l tr R and P - l tr S are the effective dimension: with one trace of both identities tr R = tr S would
    # follow, which is false.
    assert not t.equal(tr(R), tr(s))


def test_a_word_through_the_size_one_is_cut_into_numbers():
    assert Theory().equal(x * y.T * x * y.T, (y.T * x) * (x * y.T))
    assert Theory().equal(tr(x * y.T * K), y.T * K * x)


def test_a_leading_coefficient_that_is_no_monomial_is_not_inverted():
    for factor in (lam + 1, number("s", "nonnegative"), number("a", "real"), tr(K), lam - lam * lam):
        with pytest.raises(AlgebraError, match="monomial in positive scalars"):
            Theory().assume(factor * K * K, P)


def test_a_sum_and_what_may_vanish_have_no_inverse():
    for value in (lam + 1, number("s", "nonnegative"), number("a", "real"), tr(K), Scalar(0)):
        with pytest.raises(AlgebraError, match=r"inverse"):
            value.inverse()


@pytest.mark.parametrize(
    "factor",
    [
        ratio(-1),
        lam - 1,
        number("a", "real"),
        number("a", "real") * lam,
        tr(K),
        lam + tr(P),
        -number("s", "nonnegative"),
    ],
)
def test_a_factor_that_may_be_negative_is_refused(factor):
    with pytest.raises(AlgebraError, match="may be negative"):
        Theory().at_most(Scalar(0), factor * sq(x), [Term(factor, (x,))])


def test_factors_that_are_evidently_not_negative_pass():
    for factor in (lam / 3, lam**-2, number("a", "real") ** 2, number("s", "nonnegative") * lam + 1):
        assert Theory().at_most(Scalar(0), factor * sq(x), [Term(factor, (x,))])


def test_hypotheses_that_do_not_complete_are_reported():
    u, v, a = matrix("u", "n", "m"), matrix("v", "m", "m", True), matrix("w", "n", "n", True)
    t = Theory()
    t.ranks.update({"v": 0, "u": -1, "w": -2})
    t.assume(u.T * u, 1)
    with pytest.raises(NotConfluentError, match="did not end"):
        t.assume(u * v, a * u)


def test_hypotheses_that_collapse_are_reported():
    t = Theory()
    t.assume(K * K, K)
    with pytest.raises(AlgebraError, match="number times the identity"):
        t.assume(K * K, K + 1)


def test_a_scalar_equation_that_cannot_be_solved_is_refused():
    with pytest.raises(AlgebraError, match="solved for"):
        Theory().assume(lam * lam, lam + 2)


def test_a_product_of_vectors_is_no_left_side():
    with pytest.raises(AlgebraError, match="size 1"):
        Theory().assume(x * x.T, K)


def test_a_one_by_one_letter_and_a_symmetric_rectangle_are_refused():
    with pytest.raises(AlgebraError, match="1 x 1"):
        matrix("a", "1", "1")
    with pytest.raises(AlgebraError, match="square matrix is symmetric"):
        matrix("a", "n", "P", True)


def test_a_name_is_given_once():
    a = Argument()
    a.matrix("A", "n", "P", np.ones((2, 3)))
    a.positive("l", 1.0)
    with pytest.raises(ValueError, match="new name"):
        a.symmetric("A", "n", np.eye(2))
    with pytest.raises(ValueError, match="new name"):
        a.real("l", 1.0)


def test_a_model_must_meet_the_hypotheses():
    a = Argument()
    with pytest.raises(ValueError, match="does not meet"):
        a.projector("P", "n", 2 * np.eye(2))
    with pytest.raises(ValueError, match="positive number"):
        a.positive("l", -1.0)
    with pytest.raises(ValueError, match="semi-definite"):
        a.root("C", Matrix.of(Letter("P", "n", "n", True)) - 3)


def test_a_certificate_carries_only_with_a_wrong_variant_that_fails_in_both():
    def argument(*, right, wrong):
        a = Argument()
        v = a.vector("v", "n", [1.0, 2.0])
        a.at_most("a square", Scalar(0), right(v), v)
        if wrong is not None:
            a.wrong("a variant", right=wrong(v))
        return a.certificate()

    assert argument(right=sq, wrong=lambda v: -sq(v)).carries
    assert not argument(right=sq, wrong=None).carries
    assert not argument(right=sq, wrong=sq).carries  # the prover accepts it
    assert not argument(right=sq, wrong=lambda v: 2 * sq(v)).carries  # rejected, but true in the model
    assert not argument(right=lambda v: 2 * sq(v), wrong=lambda v: -sq(v)).carries  # true, but not proved


def code_lines(path):
    source = path.read_text(encoding="utf-8")
    skip = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skip:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def test_the_trusted_core_has_at_most_400_lines_of_code():
    assert sum(code_lines(Path(module.__file__)) for module in (words, theory)) <= 400
