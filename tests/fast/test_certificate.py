"""Certificates from products alone: equal to the formed quantities, at least the truth, and no distilled rows let in."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dntk_fast.certificates.certificate import (
    FullProblem,
    Subset,
    SubsetResidual,
    certified,
    certify,
    combined,
    duality_gap_at,
    fidelity_bound,
    fidelity_error,
    held_out,
    held_out_bounds,
    inner,
    parameter_weights,
    residual,
    training_subset,
)
from dntk_fast.kernels.ridge import dual_coefficients, ridge_weights
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.head import head_weights
from dntk_fast.tangent.jacobian import Jacobian
from tests.fast.plain import close, features
from tests.kinds import assert_same_kind, back, kinds, to
from tests.tolerances import TOL


def flat(weights):
    return torch.cat([w.flatten(1) for w in weights.values()], 1)


def named(model, rows):
    parts = rows.split([p.numel() for p in model.parameters()], 1)
    pairs = zip(model.named_parameters(), parts, strict=True)
    return {name: part.reshape(len(rows), *p.shape) for (name, p), part in pairs}


def network(seed, dtype=torch.float64):
    torch.manual_seed(seed)
    layers = nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3).eval(), nn.Tanh(), nn.Flatten(), nn.Linear(9, 2)
    return nn.Sequential(*layers).to(dtype).eval()


class Case:
    """A small network, a full problem with one lam per class, weights, and everything formed."""

    def __init__(self, seed, n=5, t=3, m=2, dtype=torch.float64):
        self.model, self.x = network(seed, dtype), torch.randn(n, 2, 4, dtype=dtype)
        self.test = torch.randn(t, 2, 4, dtype=dtype)
        y, self.lam = torch.randn(2, n, dtype=dtype), torch.tensor([0.3, 3.0], dtype=dtype)
        self.problem = FullProblem(self.model, self.x, y, self.lam)
        exact = network(seed)
        exact.load_state_dict({k: v.double() for k, v in self.model.state_dict().items()})
        self.Phi, self.Phi_t = features(exact, self.x.double()), features(exact, self.test.double())
        self.y, self.ridge = y.double(), self.lam.double()
        self.star = ridge_weights(self.Phi, self.y, self.ridge)
        self.w = torch.randn_like(self.star).to(dtype)
        self.subset = training_subset(self.problem, torch.randperm(n)[:m])

    def product(self, matrix, vector):
        return (matrix @ vector.double()[..., None])[..., 0]

    def true_residual(self, w):
        return self.product(self.Phi.mT, self.product(self.Phi, w) - self.y) + self.ridge[:, None] * w.double()

    def errors(self, w):
        """Held-out errors (C, t), training RMS (C,), excess (C,), distance (C,)."""
        d = w.double() - self.star
        r = self.true_residual(w)
        return (
            self.product(self.Phi_t, d),
            self.product(self.Phi, d).square().mean(1).sqrt(),
            (r * d).sum(1) / 2,
            d.norm(dim=1),
        )


def at_most(truth, bound):
    return bool((truth <= bound * (1 + TOL["float64"]) + TOL["float64"]).all())


cases = st.builds(Case, st.integers(0, 2**31), n=st.integers(2, 6), t=st.integers(1, 3), m=st.integers(0, 2))
few = settings(max_examples=10)


# 9.2


@kinds
@given(seed=st.integers(0, 2**31), sizes=st.tuples(*[st.integers(1, 4)] * 4), per_class=st.booleans())
def test_fidelity(kind, seed, sizes, per_class):
    rng, (C, m, k, t) = np.random.default_rng(seed), sizes
    rows, w_0, test = rng.standard_normal((C, m, k)), rng.standard_normal((C, k)), rng.standard_normal((C, t, k))
    lam = rng.uniform(0.1, 2, C)
    given_lam = to(kind, lam) if per_class else float(lam[0])
    y = np.einsum("cmk,ck->cm", rows, w_0)
    w = back(ridge_weights(to(kind, rows), to(kind, y), given_lam))
    truth = np.einsum("ctk,ck->ct", test, w_0 - w)
    found = fidelity_error(to(kind, rows), to(kind, w_0), to(kind, test), given_lam)
    np.testing.assert_allclose(back(found), truth, rtol=TOL["float64"], atol=TOL["float64"])
    bound = fidelity_bound(to(kind, rows), to(kind, np.linalg.norm(w_0, axis=1)), to(kind, test), given_lam)
    assert (np.abs(truth) <= back(bound) * (1 + TOL["float64"]) + TOL["float64"]).all()
    assert_same_kind(bound, to(kind, rows))
    sure = certified(to(kind, np.einsum("ctk,ck->ct", test, w)), bound)
    classes = [np.einsum("ctk,ck->ct", test, v).argmax(0) for v in (w, w_0)]
    assert (classes[0] == classes[1])[back(sure)].all()


@kinds
def test_the_fidelity_bound_does_not_cancel(kind):
    # kappa - 2 k^T a + a^T K a at lam = 1e-9 is 1e-18 of terms of order one, below their rounding; its root is 1e-9.
    found = fidelity_bound(to(kind, [[[1.0]]]), to(kind, [1.0]), to(kind, [[[1.0]]]), 1e-9)
    np.testing.assert_allclose(back(found), [[1e-9]], rtol=TOL["root"])


@few
@given(st.integers(0, 2**31), st.booleans())
def test_the_network_is_certified_from_distilled_objects_alone(seed, bias):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2, bias=bias)).double()
    distilled, new = torch.randn(4, 3, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    made = tangent_features(model, distilled, k=6, seed=seed % 100)
    U, test = torch.randn(4, 3, dtype=torch.float64), tangent_features(model, new, k=6, seed=seed % 100).values
    rows, y = U.T @ made.values, (U.T @ model(distilled)).T.detach()
    w = ridge_weights(rows, y, 0.1)
    error = model(new).T.detach() - torch.einsum("cnk,ck->cn", test, w)
    own = head_weights(model, made.plan.head)
    assert at_most(error.abs(), fidelity_bound(rows, own.norm(dim=1), test, 0.1))
    w_0 = torch.cat((torch.zeros(2, 6), own), 1)
    assert close(fidelity_error(rows, w_0, test, 0.1), error)


@kinds
def test_certified_by_hand(kind):
    f = to(kind, [[2.0, 0.0, 1.0], [0.0, 2.0, 1.0], [-5.0, -5.0, 1.0]])
    assert back(certified(f, to(kind, np.zeros((3, 3))))).tolist() == [True, True, False]
    assert back(certified(f, to(kind, np.ones((3, 3))))).tolist() == [False, False, False]
    assert back(certified(f, to(kind, [[0.9] * 3, [0.9] * 3, [7.0, 1.0, 0.0]]))).tolist() == [False, True, False]
    assert back(certified(to(kind, [[1.0]]), to(kind, [[9.0]]))).tolist() == [True]


# 9.3


@few
@given(st.integers(0, 2**31), st.sampled_from(["auto", False]), st.booleans())
def test_projected_weights_are_lifted_to_parameters(seed, keep_head, bias):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2, bias=bias)).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    made = tangent_features(model, x, k=7, seed=3, keep_head=keep_head)
    w = torch.randn(2, made.values.shape[2], dtype=torch.float64)
    lifted = parameter_weights(w, model, made.plan)
    Phi = features(model, x)
    order = {name: lifted[name] for name, _ in model.named_parameters()}
    assert close((Phi @ flat(order)[..., None])[..., 0], torch.einsum("cnk,ck->cn", made.values, w))


def test_a_model_that_is_its_own_head_is_lifted():
    model = nn.Linear(3, 2).double()
    made = tangent_features(model, torch.ones(1, 3).double(), k=4, seed=0)
    w = torch.randn(2, made.values.shape[2], dtype=torch.float64)
    lifted = parameter_weights(w, model, made.plan)
    assert torch.equal(lifted["bias"], torch.diag(w[:, -1]))


@few
@given(cases, st.booleans())
def test_the_residual_is_its_definition(case, known):
    w = named(case.model, case.w)
    fitted = case.product(case.Phi, case.w) if known else None
    found = residual(case.problem, w, fitted=fitted)
    expected = case.true_residual(case.w)
    assert close(flat(found.values), expected)
    assert close(found.norm, expected.norm(dim=1))
    optimum = residual(case.problem, named(case.model, case.star))
    assert bool((optimum.norm <= TOL["float64"] * found.norm).all())
    without = flat(found.values) - case.ridge[:, None] * case.w  # the twin without lam: not small at the optimum
    assert not close(without, expected)


@few
@given(cases)
def test_the_subset_solves_what_it_stands_for(case):
    r, S = named(case.model, case.w), case.subset
    Phi_S, shift = case.Phi[:, S.rows], torch.tensor([0.2, 5.0], dtype=torch.float64)
    expected = torch.linalg.solve(Phi_S.mT @ Phi_S + shift[:, None, None] * torch.eye(case.w.shape[1]), case.w)
    coordinates = S.coordinates(r)
    assert close(flat(S.inverse(r, coordinates, shift)), expected)
    norm = case.w.square().sum(1)
    assert close(S.energy(norm, coordinates, shift), (expected * case.w).sum(1))
    assert close(S.energy(norm, coordinates, shift[:, None].expand(-1, 3))[:, 1], (expected * case.w).sum(1))


@few
@given(cases)
def test_every_bound_holds(case):
    found = residual(case.problem, named(case.model, case.w))
    seen = SubsetResidual(case.subset, found)
    errors, training, excess, distance = case.errors(case.w)
    bounds = certify(seen)
    assert at_most(distance, bounds.weights)
    assert at_most(excess, bounds.excess)
    assert at_most(bounds.excess, bounds.duality_gap)
    assert at_most(training, bounds.training_rms)
    assert at_most(bounds.training_rms, found.norm / (2 * (case.ridge * case.problem.n).sqrt()))
    for spread in ("kernel", "trace"):
        held = held_out(case.subset, case.test, spread=spread)
        at = held_out_bounds(seen, held)
        assert at_most((errors - at.centre).abs(), at.half_width)
        assert at_most(errors.abs(), at.pointwise)
        assert at_most(at.pointwise, held.scale * seen.root[:, None])
        assert at_most(errors.square().mean(1).sqrt(), at.rms)
        assert at_most(at.rms, (held.spread / errors.shape[1]).sqrt() * seen.root)
    assert at_most(held_out(case.subset, case.test).spread, held.spread)
    if not len(case.subset.rows):
        b0 = case.Phi_t.norm(dim=2) * (found.norm / case.ridge)[:, None]
        assert close(held.scale * seen.root[:, None], b0)


def test_the_allowance_is_added_to_every_bound():
    case = Case(0)
    found = residual(case.problem, named(case.model, case.w))
    none, one = (replace(found, allowance=torch.full((2,), a, dtype=torch.float64)) for a in (0.0, 1.0))
    held, lam, n = held_out(case.subset, case.test), case.ridge, case.problem.n
    (before, at), (after, there) = (
        (certify(SubsetResidual(case.subset, r)), held_out_bounds(SubsetResidual(case.subset, r), held))
        for r in (none, one)
    )
    assert close(after.weights - before.weights, 1 / lam)
    assert close((2 * after.duality_gap).sqrt() - (2 * before.duality_gap).sqrt(), 1 / lam.sqrt())
    assert close((2 * after.excess).sqrt() - (2 * before.excess).sqrt(), 1 / lam.sqrt())
    assert close(after.training_rms - before.training_rms, 1 / (2 * (lam * n).sqrt()))
    assert close(there.half_width - at.half_width, held.scale / lam.sqrt()[:, None])
    assert close(there.rms - at.rms, (held.spread / lam / held.scale.shape[1]).sqrt())


def test_all_rows_know_the_objective():
    case = Case(0)
    all_rows = training_subset(case.problem, torch.arange(5))
    found = certify(SubsetResidual(all_rows, residual(case.problem, named(case.model, case.w))))
    assert close(found.excess, case.errors(case.w)[2])


@few
@given(cases, st.integers(0, 2**31))
def test_the_gap_at_any_dual_point(case, seed):
    w, excess = named(case.model, case.w), case.errors(case.w)[2]
    alpha = torch.randn(case.y.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert at_most(excess, duality_gap_at(case.problem, w, alpha))
    fitted = case.product(case.Phi, case.w)
    best = dual_coefficients(case.Phi @ case.Phi.mT, case.y, case.ridge)
    assert close(duality_gap_at(case.problem, w, best, fitted=fitted), excess)
    plain = duality_gap_at(case.problem, w, (case.y - fitted) / case.ridge[:, None])
    assert close(plain, residual(case.problem, w).norm ** 2 / (2 * case.ridge))
    assert not close(duality_gap_at(case.problem, w, best, fitted=fitted + 1), excess)


@few
@given(cases, st.integers(0, 2**31))
def test_a_gap_tightens_every_bound_and_none_becomes_false(case, seed):
    best = dual_coefficients(case.Phi @ case.Phi.mT, case.y, case.ridge)
    noise = torch.randn(case.y.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    w, held = named(case.model, case.w), held_out(case.subset, case.test)
    gap = duality_gap_at(case.problem, w, best + noise / 9)
    seen, (errors, training, excess, distance) = (
        SubsetResidual(case.subset, residual(case.problem, w)),
        case.errors(case.w),
    )
    plain, tight = certify(seen), certify(seen, gap=gap)
    for truth, name in ((training, "training_rms"), (excess, "excess"), (excess, "duality_gap"), (distance, "weights")):
        assert at_most(truth, getattr(tight, name))
        assert at_most(getattr(tight, name), getattr(plain, name))
    at, there = held_out_bounds(seen, held), held_out_bounds(seen, held, gap=gap)
    assert at_most((errors - there.centre).abs(), there.half_width)
    assert at_most(errors.abs(), there.pointwise)
    assert at_most(errors.square().mean(1).sqrt(), there.rms)
    ball = (2 * gap).sqrt()
    assert at_most(there.pointwise, torch.minimum(at.pointwise, held.scale * ball[:, None]))
    assert at_most(there.half_width, at.half_width)
    assert close(there.rms, torch.minimum(at.rms, (held.spread / errors.shape[1]).sqrt() * ball))
    wide = held_out_bounds(seen, held, gap=1e9 * gap)
    assert close(wide.centre, at.centre)
    assert close(wide.half_width, at.half_width)


def test_a_forged_gap_certifies_falsely():
    case = Case(0)
    w, excess = named(case.model, case.w), case.errors(case.w)[2]
    seen, held = SubsetResidual(case.subset, residual(case.problem, w)), held_out(case.subset, case.test)
    assert bool((certify(seen, gap=excess / 9).training_rms < case.errors(case.w)[1]).any())
    assert bool((held_out_bounds(seen, held, gap=1e-9 * excess).pointwise < case.errors(case.w)[0].abs()).any())


def test_a_forged_subset_certifies_falsely():
    # One training row e_1 with target 0 and the weights e_2: the error at e_2 is 1. A distilled row 10 e_2 in S hides it.
    model = nn.Linear(2, 1, bias=False).double()
    problem = FullProblem(model, torch.tensor([[1.0, 0.0]]).double(), torch.zeros(1, 1).double(), 1.0)
    test = torch.tensor([[0.0, 1.0]]).double()
    found = residual(problem, {"weight": torch.tensor([[[0.0, 1.0]]]).double()})
    honest = training_subset(problem, torch.tensor([0]))
    assert float(held_out_bounds(SubsetResidual(honest, found), held_out(honest, test)).rms) >= 1
    one = torch.ones(1, 1, 1).double()
    forged = Subset(problem, torch.tensor([0]), 100 * one[0], one)
    forged.__dict__["part"] = replace(problem, x=10 * test)
    assert float(held_out_bounds(SubsetResidual(forged, found), held_out(forged, test)).rms) < 0.1


@few
@given(st.integers(0, 2**31))
def test_float32_is_allowed_for(seed):
    case = Case(seed, dtype=torch.float32)
    for w in (case.w, case.star.float()):  # anywhere, and where nothing but rounding is left
        found = residual(case.problem, named(case.model, w))
        assert bool(((flat(found.values).double() - case.true_residual(w)).norm(dim=1) <= found.allowance).all())
        seen, (errors, training, excess, distance) = SubsetResidual(case.subset, found), case.errors(w)
        bounds, at = certify(seen), held_out_bounds(seen, held_out(case.subset, case.test))
        assert bool((errors.abs() <= at.pointwise).all())
        assert bool((errors.square().mean(1).sqrt() <= at.rms).all())
        alpha = dual_coefficients(case.Phi @ case.Phi.mT, case.y, case.ridge).float()
        assert bool((excess <= duality_gap_at(case.problem, named(case.model, w), alpha)).all())
        pairs = (training, bounds.training_rms), (excess, bounds.excess), (distance, bounds.weights)
        assert all(bool((truth <= bound).all()) for truth, bound in pairs)


def test_the_traces_are_computed_or_taken():
    case = Case(0)
    assert close(case.problem.traces, case.Phi.square().sum((1, 2)))
    given_ones = FullProblem(case.model, case.x, case.problem.targets, 1.0, trace=torch.tensor([1.0, 2.0]))
    assert given_ones.traces.tolist() == [1.0, 2.0]
    assert given_ones.ridge.tolist() == [1.0, 1.0]


def test_a_parameter_left_out_counts_as_zero_and_one_that_is_not_of_the_problem_is_refused():
    case = Case(0)
    weights = named(case.model, case.w)
    zero = weights | {"0.bias": torch.zeros_like(weights["0.bias"])}
    partial = {name: w for name, w in weights.items() if name != "0.bias"}
    assert close(residual(case.problem, partial).norm, residual(case.problem, zero).norm)
    pair = (duality_gap_at(case.problem, w, case.y) for w in (partial, zero))
    assert close(*pair)
    problem = FullProblem(Jacobian(case.model, parameters=["4.weight"]), case.x, case.problem.targets, case.lam)
    with pytest.raises(ValueError, match="weights: expected parameters of the problem, got"):
        residual(problem, weights)


def test_weights_by_name():
    a, b = {"w": torch.full((2, 3), 2.0), "v": torch.ones(2)}, {"w": torch.ones(2, 3), "u": torch.ones(2)}
    assert inner(a, b).tolist() == [6.0, 6.0]
    scalar = {"gain": torch.tensor([2.0, 3.0]), "none": torch.ones(2, 0, 3)}
    assert inner(scalar, scalar).tolist() == inner(scalar, dict(scalar)).tolist() == [4.0, 9.0]
    assert combined({"w": a["w"]}, torch.tensor([1.0, -1.0]), b)["w"].tolist() == [[3.0] * 3, [1.0] * 3]
    with pytest.raises(ValueError, match="weights: expected at least one shared parameter"):
        inner({"w": a["w"]}, {"u": b["u"]})


def test_inner_products_are_summed_in_double_precision():
    a, b = ({"w": torch.tensor([[4096.0, 1.0]])} for _ in range(2))
    for other in (a, b):  # the first integer that float32 has not
        assert inner(a, other).tolist() == pytest.approx([2**24 + 1], rel=TOL["hand"])


def test_fitted_values_are_in_the_precision_of_the_problem():
    case = Case(0, dtype=torch.float32)
    w, exact = named(case.model, case.w), case.product(case.Phi, case.w)
    double = FullProblem(Jacobian(case.model, dtype=torch.float64), case.x, case.problem.targets, case.lam)
    assert close(double.forward(w), exact)
    assert close(case.problem.forward(w).double(), exact, TOL["float32"])
    assert not close(case.problem.forward(w).double(), exact)


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        (
            torch.randn(2, 2, 4),
            TypeError,
            r"rows: expected row numbers \(m,\) of training inputs \(others, distilled ones too",
        ),
        (torch.ones(2), TypeError, "rows: expected row numbers"),
        ([0, 1], TypeError, "rows: expected row numbers .*, got list"),
        (torch.tensor([0, 0]), ValueError, r"rows: expected distinct integers in \[0, 4\]"),
        (torch.tensor([5]), ValueError, r"rows: expected distinct integers in \[0, 4\]"),
    ],
)
def test_only_training_rows_are_a_subset(rows, kind, message):
    with pytest.raises(kind, match=message):
        training_subset(Case(0).problem, rows)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: FullProblem(c.model, c.x, c.y[:, :2], 1.0), r"targets: expected shape \(any, 5\), got shape \(2, 2\)"),
        (lambda c: FullProblem(c.model, c.x, c.y, 0.0), "lam: expected a number above 0"),
        (lambda c: FullProblem(c.model, c.x, c.y, torch.tensor([1.0, -1.0])), "lam: expected numbers above 0"),
        (lambda c: residual(c.problem, named(c.model, c.w), fitted=c.y[:, :1]), r"fitted: expected shape \(2, 5\)"),
        (lambda c: duality_gap_at(c.problem, named(c.model, c.w), c.y.T), r"coefficients: expected shape \(2, 5\)"),
        (lambda c: held_out(c.subset, c.test, spread="norm"), "spread: expected one of kernel, trace"),
        (lambda c: certified(c.y, -c.y.abs()), "bounds: expected numbers that are 0 or above"),
        (lambda c: fidelity_bound(c.Phi, -torch.ones(2).double(), c.Phi, 1.0), "network_norm: expected numbers that"),
        (lambda c: fidelity_bound(c.Phi, torch.ones(2).double(), c.Phi[..., 1:], 1.0), r"test: expected shape \(2, any, "),
        (lambda c: fidelity_error(c.Phi, torch.ones(2, 1).double(), c.Phi, 1.0), "network_weights: expected shape"),
    ],
)  # fmt: skip
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(Case(0))


def test_what_belongs_to_another_problem_or_subset_is_refused():
    case, other = Case(0), Case(1)
    found = residual(case.problem, named(case.model, case.w))
    seen, again = SubsetResidual(case.subset, found), training_subset(case.problem, case.subset.rows)
    for subset in (other.subset, training_subset(replace(case.problem), case.subset.rows)):
        with pytest.raises(
            ValueError, match=r"^residual: expected one of the subset's problem, got that of another one$"
        ):
            SubsetResidual(subset, found)
    for subset in (other.subset, again):
        with pytest.raises(
            ValueError, match=r"^test: expected inputs measured by the subset of the residual, got those"
        ):
            held_out_bounds(seen, held_out(subset, case.test))
    assert bool(held_out_bounds(SubsetResidual(again, found), held_out(again, case.test)).rms.isfinite().all())


@pytest.mark.parametrize(
    ("gap", "message"),
    [
        (torch.ones(1), r"gap: expected shape \(2\), got shape \(1,\)"),
        (torch.ones(2, 1), r"gap: expected shape \(2\), got shape \(2, 1\)"),
        (torch.tensor([1.0, -1.0]), "gap: expected numbers that are 0 or above, got down to -1"),
        (torch.tensor([1.0, torch.nan]), "gap: expected finite entries"),
        (torch.tensor([1.0, torch.inf]), "gap: expected finite entries"),
    ],
)
def test_a_gap_that_is_none_is_refused(gap, message):
    case = Case(0)
    seen = SubsetResidual(case.subset, residual(case.problem, named(case.model, case.w)))
    for call in (
        lambda: certify(seen, gap=gap),
        lambda: held_out_bounds(seen, held_out(case.subset, case.test), gap=gap),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda c, w: FullProblem(c.model, c.x, c.y.numpy(), 1.0),
            TypeError,
            "targets: expected a torch tensor, got ndarray",
        ),
        (
            lambda c, w: residual(c.problem, [w]),
            TypeError,
            "weights: expected torch tensors by the names of parameters, got list",
        ),
        (
            lambda c, w: residual(c.problem, {name: v.numpy() for name, v in w.items()}),
            TypeError,
            "weights: expected torch tensors by the names of parameters, got dict",
        ),
        (
            lambda c, w: residual(c.problem, w | {"0.bias": w["0.bias"][0]}),
            ValueError,
            r"weights\['0.bias'\]: expected shape \(2, 3\), got shape \(3,\)",
        ),
    ],
)
def test_weights_and_targets_are_tensors_of_their_shape(call, error, message):
    case = Case(0)
    with pytest.raises(error, match=f"^{message}$"):
        call(case, named(case.model, case.w))


def test_weights_of_another_size_are_not_lifted():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    plan = tangent_features(model, torch.ones(1, 3).double(), k=7, seed=3).plan
    with pytest.raises(ValueError, match=r"weights: expected shape \(C, 12\), got shape \(2, 11\)"):
        parameter_weights(torch.ones(2, 11), model, plan)
    with pytest.raises(ValueError, match="weights: expected one row for each of the head's 2 outputs, got 1 rows"):
        parameter_weights(torch.ones(1, 12), model, plan)
