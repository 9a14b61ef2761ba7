"""The reference's certificates from formed Jacobians and the fast path's from products: the same numbers, class by class."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dntk_fast.certificates import certificate as fast
from dntk_fast.certificates.conjugate_gradients import refine
from dntk_fast.kernels.moments import moments_of
from dntk_ref import certificate as reference
from dntk_ref import network as ref_network
from dntk_ref import ridge
from tests.agree.test_tangent_kernel import twin
from tests.kinds import CLOSE, back, kinds, to
from tests.tolerances import TOL

few = settings(max_examples=8)


class Case:
    """One network in both hands: Jacobians on this side, a full problem on the other; one lam per class."""

    def __init__(self, seed, m):
        rng = np.random.default_rng(seed)
        network = ref_network.mlp((3, 4, 2), rng=rng)
        x, new = rng.standard_normal((5, 3)), rng.standard_normal((3, 3))
        self.Phi, self.test = ref_network.jacobian(network, x), ref_network.jacobian(network, new)
        self.y, self.lam = rng.standard_normal((2, 5)), 10.0 ** rng.uniform(-2, 1, 2)
        self.w, self.chosen = rng.standard_normal((2, self.Phi.shape[2])), rng.permutation(5)[:m]
        self.model = twin(network)
        targets, lam = torch.from_numpy(self.y), torch.from_numpy(self.lam)
        self.problem = fast.FullProblem(self.model, torch.from_numpy(x), targets, lam)
        self.subset = fast.training_subset(self.problem, torch.from_numpy(self.chosen))
        self.held = fast.held_out(self.subset, torch.from_numpy(new))
        self.seen = fast.SubsetResidual(self.subset, fast.residual(self.problem, self.named(self.w)))

    def named(self, w):
        pieces = torch.from_numpy(w).split([p.numel() for p in self.model.parameters()], 1)
        pairs = zip(self.model.named_parameters(), pieces, strict=True)
        return {name: piece.reshape(len(piece), *p.shape) for (name, p), piece in pairs}

    def residual(self, c):
        return reference.residual(self.Phi[c], self.y[c], self.w[c], self.lam[c])

    def by_class(self, function):
        return np.stack([function(c, self.residual(c), self.lam[c]) for c in range(2)])


cases = st.builds(Case, st.integers(0, 2**31), st.integers(0, 3))


def agrees(found, expected):
    np.testing.assert_allclose(back(found), expected, **CLOSE)


@few
@given(cases)
def test_the_residual_agrees(case):
    found = torch.cat([r.flatten(1) for r in case.seen.residual.values.values()], 1)
    agrees(found, case.by_class(lambda c, r, lam: r))
    agrees(case.seen.residual.norm, case.by_class(lambda c, r, lam: np.linalg.norm(r)))
    unit = np.finfo(float).eps
    expected = case.by_class(
        lambda c, r, lam: reference.rounding_allowance(case.Phi[c], case.y[c], case.w[c], lam, unit) / unit
    )
    agrees(case.seen.residual.allowance / unit, expected)


@few
@given(cases)
def test_the_bounds_on_weights_and_objective_agree(case):
    found = fast.certify(case.seen)
    agrees(found.weights, case.by_class(lambda c, r, lam: reference.weights_bound(r, lam)))
    agrees(
        found.duality_gap,
        case.by_class(lambda c, r, lam: reference.duality_gap(case.Phi[c], case.y[c], case.w[c], lam)),
    )
    energy = case.by_class(lambda c, r, lam: reference.residual_energy(case.Phi[c][case.chosen], r, lam) / 2)
    agrees(found.excess, energy)


@few
@given(cases)
def test_the_gap_at_a_dual_point_agrees(case):
    alpha = np.cos(case.y)
    found = fast.duality_gap_at(case.problem, case.named(case.w), torch.from_numpy(alpha))
    agrees(
        found,
        case.by_class(lambda c, r, lam: reference.duality_gap_at(case.Phi[c], case.y[c], case.w[c], alpha[c], lam)),
    )


@few
@given(cases)
def test_the_training_bound_agrees_up_to_its_grid_of_multipliers(case):
    found = back(fast.certify(case.seen).training_rms)
    best = case.by_class(lambda c, r, lam: reference.training_rms_bound_by_rows(case.Phi[c], case.chosen, r, lam))
    np.testing.assert_allclose(found, best, rtol=TOL["multipliers"])


@few
@given(cases)
def test_the_held_out_bounds_agree(case):
    found = fast.held_out_bounds(case.seen, case.held)

    def expected(function):
        return case.by_class(lambda c, r, lam: function(case.test[c], case.Phi[c], case.chosen, r, lam))

    agrees(found.pointwise, expected(reference.pointwise_bound_centred))
    agrees(found.rms, expected(reference.held_out_rms_bound_centred))
    agrees(found.centre, expected(lambda *parts: reference.error_interval(*parts).centre))
    agrees(found.half_width, expected(lambda *parts: reference.error_interval(*parts).half_width))
    b3 = case.held.scale * case.seen.root[:, None]
    agrees(b3, expected(reference.pointwise_bound_by_rows))
    agrees((case.held.spread / 3).sqrt() * case.seen.root, expected(reference.held_out_rms_bound))
    if not case.chosen.size:
        agrees(b3, case.by_class(lambda c, r, lam: reference.pointwise_bound(case.test[c], r, lam)))


@few
@given(cases)
def test_the_bounds_with_a_gap_agree(case):
    alpha, named = np.cos(case.y), case.named(case.w)
    gap = fast.duality_gap_at(case.problem, named, torch.from_numpy(alpha))
    root = case.by_class(
        lambda c, r, lam: np.sqrt(2 * reference.duality_gap_at(case.Phi[c], case.y[c], case.w[c], alpha[c], lam))
    )

    def expected(function):
        return case.by_class(lambda c, r, lam: function(case.test[c], case.Phi[c], case.chosen, r, lam))

    found, tight = fast.held_out_bounds(case.seen, case.held, gap=gap), fast.certify(case.seen, gap=gap)
    interval = reference.error_interval
    low = expected(lambda *parts: interval(*parts).centre - interval(*parts).half_width)
    high = expected(lambda *parts: interval(*parts).centre + interval(*parts).half_width)
    edge = back(case.held.scale) * root[:, None]
    agrees(found.pointwise, np.maximum(-np.maximum(low, -edge), np.minimum(high, edge)))
    agrees(found.centre, (np.maximum(low, -edge) + np.minimum(high, edge)) / 2)
    whole = expected(reference.held_out_rms_bound_centred)
    agrees(found.rms, np.minimum(whole, np.sqrt(back(case.held.spread) / 3) * root))
    weights = case.by_class(lambda c, r, lam: reference.weights_bound(r, lam))
    agrees(tight.weights, np.minimum(weights, root / np.sqrt(case.lam)))


@kinds
@given(seed=st.integers(0, 2**31), sizes=st.tuples(*[st.integers(1, 4)] * 4))
def test_fidelity_agrees(kind, seed, sizes):
    rng, (C, m, k, t) = np.random.default_rng(seed), sizes
    rows, w_0, test, lam = (
        rng.standard_normal((C, m, k)),
        rng.standard_normal((C, k)),
        rng.standard_normal((C, t, k)),
        0.2,
    )
    error = fast.fidelity_error(to(kind, rows), to(kind, w_0), to(kind, test), lam)
    agrees(error, [reference.fidelity_error(rows[c], w_0[c], test[c], lam) for c in range(C)])
    norm = np.linalg.norm(w_0, axis=1)
    bound = fast.fidelity_bound(to(kind, rows), to(kind, norm), to(kind, test), lam)
    expected = [reference.fidelity_bound(rows[c], norm[c], test[c], lam) for c in range(C)]
    agrees(bound, expected)
    predictions = rng.standard_normal((C, t))
    sure = fast.certified(to(kind, predictions), to(kind, np.abs(back(error)) / 9))
    np.testing.assert_array_equal(back(sure), reference.certified(predictions, np.abs(back(error)) / 9) == 1)


@kinds
def test_the_fidelity_bound_of_a_small_ridge_agrees(kind):
    # lam = 1e-12 of the mean of the diagonal: phi and Phi^T (K + lam I)^-1 Phi phi agree in their first eleven digits.
    rows, test = np.random.default_rng(0).standard_normal((2, 1, 6, 6))
    lam = 1e-12 * float(np.mean(np.sum(rows**2, axis=2)))
    found = fast.fidelity_bound(to(kind, rows), to(kind, [1.0]), to(kind, test), lam)
    np.testing.assert_allclose(
        back(found), [reference.fidelity_bound(rows[0], 1.0, test[0], lam)], rtol=TOL["rounded_to_float32"]
    )


@few
@given(cases)
def test_refined_and_streamed_solutions_are_the_reference_solution(case):
    solution = case.by_class(lambda c, r, lam: ridge.ridge_weights(case.Phi[c], case.y[c], lam))
    refined = refine(case.problem, case.named(case.w), case.subset, case.held, rms=0.0, steps=12)
    found = torch.cat([w.flatten(1) for w in refined.weights.values()], 1)
    np.testing.assert_allclose(back(found), solution, rtol=TOL["squared_kernel"], atol=TOL["squared_kernel"])
    moments = moments_of(torch.from_numpy(case.Phi), torch.from_numpy(case.y))
    agrees(moments.ridge_weights(torch.from_numpy(case.lam)), solution)


def test_a_distilled_subset_is_refused_by_both():
    case = Case(0, 2)
    with pytest.raises(TypeError, match="rows: expected row numbers"):
        fast.training_subset(case.problem, torch.randn(2, 3))
    with pytest.raises(ValueError, match="subset: expected 5 rows"):
        reference.pointwise_bound_by_rows(case.test[0], case.Phi[0], case.test[0], case.residual(0), 1.0)
