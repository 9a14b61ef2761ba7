"""Refinement: textbook conjugate gradients, a true certificate at every step, and a run that goes on where it was killed."""

from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dntk_fast.certificates import subset as subset_module
from dntk_fast.certificates.certificate import FullProblem, SubsetResidual, certify, held_out, residual, training_subset
from dntk_fast.certificates.conjugate_gradients import refine, solve
from dntk_fast.files.tensors import write_tensors
from dntk_fast.tangent.jacobian import Jacobian
from tests.fast.plain import close
from tests.fast.test_certificate import Case, at_most, flat, named
from tests.tolerances import TOL

module = import_module(
    "dntk_fast.certificates.conjugate_gradients"
)  # the package's attribute of this name is the function
cases = st.builds(Case, st.integers(0, 2**31), n=st.integers(2, 6), t=st.integers(1, 3), m=st.integers(0, 2))


def doubles(values):
    return torch.tensor(values, dtype=torch.float64)


def run(case, steps, rms=0.0, **options):
    held = held_out(case.subset, case.test)
    return refine(case.problem, named(case.model, case.w), case.subset, held, rms=rms, steps=steps, **options)


@settings(max_examples=5)
@given(cases)
def test_every_step_is_certified_and_the_last_is_the_full_solution(case):
    start = case.errors(case.w)[0].square().mean(1).sqrt()
    for steps in range(5):
        found = run(case, steps)
        errors, training, excess, distance = case.errors(flat(found.weights))
        last, rms, bounds = found.history[-1], errors.square().mean(1).sqrt(), found.certificate
        assert [one.step for one in found.history] == list(range(steps + 1))
        assert at_most(rms, doubles(last.held_out_rms))
        assert at_most(training, doubles(last.training_rms))
        assert at_most(excess, doubles(last.excess))
        assert at_most(start, doubles(last.start_rms))
        assert at_most(rms, found.held_out.rms)
        assert at_most(found.held_out.rms, doubles(last.held_out_rms))  # what is returned has seen the residual too
        assert at_most(errors.abs(), found.held_out.pointwise)
        assert all(map(at_most, (training, excess, distance), (bounds.training_rms, bounds.excess, bounds.weights)))
    found = run(case, 12)
    assert close(flat(found.weights), case.star, TOL["squared_kernel"])
    assert close(found.fitted, case.product(case.Phi, case.star), TOL["squared_kernel"])
    assert torch.allclose(doubles(found.history[-1].start_rms), start, rtol=TOL["apart"], atol=TOL["apart"])


def test_no_step_is_the_certificate_of_the_weights_given():
    case = Case(2)
    found = run(case, 0)
    assert close(flat(found.weights), case.w)
    seen = SubsetResidual(case.subset, residual(case.problem, named(case.model, case.w)))
    assert torch.equal(found.certificate.training_rms, certify(seen).training_rms)
    assert doubles(found.history[0].start_rms).equal(found.held_out.rms)
    assert run(case, 3, rms=float(found.held_out.rms.max())).history == found.history


def textbook(case, steps):
    """Plain preconditioned conjugate gradients with their recursive residual, everything formed; the weights."""
    K, S, y = case.Phi @ case.Phi.mT, case.subset.rows, case.y
    nystrom = K[:, :, S] @ torch.linalg.pinv(K[:, S][:, :, S]) @ K[:, S]
    alike = y.argmax(0)[:, None] == y.argmax(0)
    rest = module._REST * (K - nystrom) * alike
    A, M = (
        K + torch.diag_embed(case.ridge[:, None].expand_as(y)),
        nystrom + rest + torch.diag_embed(case.ridge[:, None].expand_as(y)),
    )
    alpha = torch.linalg.solve(M, y)
    r = y - case.product(A, alpha)
    p = z = torch.linalg.solve(M, r)
    for _ in range(steps - 1):
        Ap = case.product(A, p)
        a = (r * z).sum(1) / (p * Ap).sum(1)
        alpha, new = alpha + a[:, None] * p, r - a[:, None] * Ap
        after = torch.linalg.solve(M, new)
        p, r, z = after + ((new * after).sum(1) / (r * z).sum(1))[:, None] * p, new, after
    return case.product(case.Phi.mT, alpha)


@settings(max_examples=5)
@given(st.builds(Case, st.integers(0, 2**31), n=st.just(5), m=st.integers(0, 2)), st.integers(1, 3))
def test_it_is_textbook_cg(case, steps):
    assert close(flat(run(case, steps).weights), textbook(case, steps), TOL["squared_kernel"])


def test_with_all_rows_one_step_suffices():
    case = Case(1)
    case.subset = training_subset(case.problem, torch.arange(5))
    assert close(flat(run(case, 1).weights), case.star)


def test_the_recursive_residual_certifies_falsely_and_the_true_one_does_not():
    case = Case(3, m=0, dtype=torch.float32)
    found = run(case, 25)
    error = case.errors(flat(found.weights))[0].square().mean(1).sqrt()
    assert bool((error > 0).all())
    assert bool((error <= found.held_out.rms).all())
    scale = case.Phi_t.norm(dim=(1, 2)) / case.ridge / case.Phi_t.shape[1] ** 0.5
    w, r = plain32(case, 12)
    drifted = case.errors(w)[0].square().mean(1).sqrt()
    assert bool((r.norm(dim=1).double() * scale < 0.1 * drifted).all())


def plain32(case, steps):
    """The same in float32 with the residual of the recursion."""
    Phi, lam, w = case.Phi.float(), case.ridge.float(), case.w
    r = ((case.y.float() - (Phi @ w[..., None])[..., 0])[:, None] @ Phi)[:, 0] - lam[:, None] * w
    p = r.clone()
    for _ in range(steps):
        Hp = ((Phi @ p[..., None])[..., 0][:, None] @ Phi)[:, 0] + lam[:, None] * p
        a = r.square().sum(1) / (p * Hp).sum(1)
        w, new = w + a[:, None] * p, r - a[:, None] * Hp
        p, r = new + (new.square().sum(1) / r.square().sum(1))[:, None] * p, new
    return w, r


def test_it_stops_at_the_requested_rms():
    case = Case(5, m=1)
    bounds = [max(one.held_out_rms) for one in run(case, 6).history]
    wanted = bounds[3]
    expected = next(i for i, bound in enumerate(bounds) if bound <= wanted * 1.001)
    found = run(case, 20, rms=wanted * 1.001)
    assert found.converged
    assert found.history[-1].step == expected
    assert float(found.held_out.rms.max()) <= wanted * 1.001
    short = run(case, expected - 1, rms=wanted * 1.001)
    assert not short.converged
    assert short.history[-1].step == expected - 1


def test_passes_are_counted():
    case = Case(2, m=1)
    calls = {"forward": 0, "backward": 0}

    class Counting(FullProblem):
        def forward(self, weights):
            calls["forward"] += 1
            return super().forward(weights)

        def backward(self, coefficients):
            calls["backward"] += 1
            return super().backward(coefficients)

        def rows(self, chosen):
            part = super().rows(chosen)  # the subset's own passes are not passes over the data
            return FullProblem(part.jacobian, part.x, part.targets, part.lam)

    case.problem = Counting(case.model, case.x, case.problem.targets, case.lam)
    case.subset = training_subset(case.problem, torch.tensor([0]))
    last = run(case, 3).history[-1]
    assert (last.forward_passes, last.backward_passes) == (5, 5)  # the start, three steps, w and Phi w afresh
    assert calls == {"forward": 5, "backward": 6}  # and the residual of what is returned


def killed(step, weights):
    if step.step == 3:
        raise KeyboardInterrupt


@pytest.mark.parametrize("refresh", [2, 10])
def test_a_killed_run_goes_on(tmp_path, monkeypatch, refresh):
    monkeypatch.setattr(module, "_REFRESH", refresh)
    case, path = Case(4, m=1), tmp_path / "state.safetensors"

    with pytest.raises(KeyboardInterrupt):
        run(case, 6, checkpoint=path, progress=killed)
    seen = []
    found = run(case, 3, checkpoint=path, progress=lambda *told: seen.append(told))
    straight = run(case, 6)
    assert [step.step for step, _ in seen] == [3, 4, 5, 6]
    assert all(torch.equal(seen[-1][1][name], found.weights[name]) for name in found.weights)
    assert all(torch.equal(found.weights[name], straight.weights[name]) for name in found.weights)
    assert found.history == straight.history
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    other = Case(4, m=1)
    other.problem = FullProblem(other.model, other.x, other.problem.targets, 2 * other.lam)
    other.subset = training_subset(other.problem, torch.tensor([0]))
    with pytest.raises(
        ValueError, match=r"^checkpoint: expected one of the same refinement, got .*, which differs in lam, subset$"
    ):
        run(other, 1, checkpoint=path)
    case.w = case.w + 1
    with pytest.raises(
        ValueError, match=r"^checkpoint: expected one of the same refinement, got .*, which differs in start$"
    ):
        run(case, 1, checkpoint=path)


class Computed(torch.nn.Module):
    """A hidden layer and a head, and between them a function that is no module."""

    def __init__(self, between):
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.head, self.between = torch.nn.Linear(3, 4), torch.nn.Linear(4, 3), between
        self.double()

    def forward(self, x):
        return self.head(self.between(self.hidden(x)))


def changed(model=None, freeze=(), **change):
    """Solve a problem from a checkpoint or not; `freeze` are parameters without a gradient."""
    path = change.pop("path")
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(*size, generator=generator, dtype=torch.float64) for size in ((5, 3), (2, 5)))
    model = model or Computed(torch.tanh)
    for name in freeze:
        model.get_parameter(name).requires_grad_(False)
    problem = FullProblem(Jacobian(model, **{"outputs": [0, 1]} | change), x, y, 0.5)
    held = held_out(training_subset(problem, torch.tensor([0])), x[:2])
    features = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    return solve(problem, features, held, rms=0.0, steps=1, checkpoint=path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"parameters": ["hidden.weight"]}, "parameters"),
        ({"freeze": ["head.bias"]}, "parameters"),
        ({"outputs": [0, 2]}, "gradients at the first input"),
        ({"outputs": lambda model, x: -model(x)[:, :2]}, "gradients at the first input"),
        ({"model": Computed(torch.sigmoid)}, "gradients at the first input"),
        ({"model": Computed(torch.nn.Tanh())}, "network"),
        ({"dtype": torch.float32}, "precision"),
    ],
)
def test_the_checkpoint_of_another_problem_with_the_same_weights_and_data_is_refused(tmp_path, change, told):
    path = tmp_path / "state.safetensors"
    found = changed(path=path)
    with pytest.raises(
        ValueError, match=f"^checkpoint: expected one of the same refinement, got .*, which differs in {told}$"
    ):
        changed(path=path, **change)
    assert changed(path=path, memory=2**28).history[:2] == found.history  # the budget is no part of the problem


def test_what_is_no_checkpoint_of_a_refinement_is_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    for words in ({}, {"owner": "0f" * 32}, {"owner": "[1]"}):
        write_tensors(path, {"a": torch.ones(1)}, words)
        with pytest.raises(ValueError, match=r"^checkpoint: expected one of a refinement, got .* of something else$"):
            changed(path=path)
    with pytest.raises(TypeError, match=r"^checkpoint: expected a path, got int$"):
        changed(path=3)


def test_a_parameter_left_out_starts_at_zero_and_is_refined():
    case = Case(0)
    weights = named(case.model, case.w)
    del weights["0.bias"]
    found = refine(case.problem, weights, case.subset, held_out(case.subset, case.test), rms=0.0, steps=12)
    order = {name: found.weights[name] for name, _ in case.model.named_parameters()}
    assert close(flat(order), case.star, TOL["squared_kernel"])


@settings(max_examples=5)
@given(cases)
def test_the_features_of_a_subset_are_those_of_nystrom_and_the_projected_rest_completes_them(case):
    K, S = case.Phi @ case.Phi.mT, case.subset.rows
    own = case.subset.features
    nystrom = K[:, :, S] @ torch.linalg.pinv(K[:, S][:, :, S]) @ K[:, S]
    assert torch.allclose(own @ own.mT, nystrom, rtol=TOL["squared_kernel"], atol=TOL["squared_kernel"])
    exact = case.subset.completed(case.Phi)
    assert close(exact @ exact.mT, K, TOL["squared_kernel"])
    map_ = torch.randn(case.Phi.shape[2], 3, dtype=torch.float64)
    rest = case.Phi - (K[:, :, S] @ torch.linalg.pinv(K[:, S][:, :, S])) @ case.Phi[:, S]
    found = case.subset.completed(case.Phi @ map_)[..., -3:]
    assert torch.allclose(found, rest @ map_, rtol=TOL["squared_kernel"], atol=TOL["squared_kernel"])


@pytest.mark.parametrize("most", [1, 2, 64])
def test_what_a_subset_leaves_out_is_kept_among_rows_alike(monkeypatch, most):
    monkeypatch.setattr(subset_module, "_BLOCK", most)
    case = Case(6, n=6, m=1)
    S, K = case.subset, case.Phi @ case.Phi.mT
    own = S.features
    rest, alike, seen = K - own @ own.mT, case.y.argmax(0), []
    for rows, values, vectors in S.left_out:
        block = (vectors * values[:, None]) @ vectors.mT
        assert torch.allclose(block, rest[:, rows][:, :, rows], rtol=TOL["float64"], atol=TOL["squared_kernel"])
        assert len(rows) <= most
        assert len(alike[rows].unique()) == 1
        seen += rows.tolist()
    assert sorted(seen) == list(range(6))
    assert close(flat(run(case, 12).weights), case.star, TOL["squared_kernel"])


def test_exact_features_and_a_subset_need_one_step():
    case = Case(1)
    assert close(flat(run(case, 1, features=case.Phi).weights), case.star, TOL["squared_kernel"])
    assert not close(flat(run(case, 1).weights), case.star, TOL["apart"])


def test_rows_without_gradients_stand_for_nothing():
    model = torch.nn.Linear(2, 1, bias=False).double()
    x, y = torch.tensor([[0.0, 0.0], [1.0, 0.0]]).double(), torch.tensor([[5.0, 2.0]]).double()
    problem = FullProblem(model, x, y, 1.0)
    subset = training_subset(problem, torch.tensor([0, 1]))
    assert subset.features.abs().sum() == 1  # the row of zeros adds nothing, and nothing that is no number
    held = held_out(subset, x)
    found = refine(problem, {"weight": torch.zeros(1, 1, 2).double()}, subset, held, rms=0.0, steps=2)
    assert close(found.weights["weight"], torch.tensor([[[1.0, 0.0]]]).double())


def test_inputs_may_be_named(tmp_path):
    case = Case(0)

    class Named(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = case.model

        def forward(self, x):
            return self.inner(x)

    problem = FullProblem(Named().eval(), {"x": case.x}, case.problem.targets, case.lam)
    subset = training_subset(problem, torch.tensor([1]))
    weights = {f"inner.{name}": w for name, w in named(case.model, case.w).items()}
    held = held_out(subset, {"x": case.test})
    path = tmp_path / "state.safetensors"
    found = refine(problem, weights, subset, held, rms=0.0, steps=12, checkpoint=path)
    assert close(flat(found.weights), case.star, TOL["squared_kernel"])


# With the projected features of all training rows


def sketched(case, k=12):
    """Features (C, n, k) by a Gaussian map: a kernel that is near the exact one."""
    generator = torch.Generator().manual_seed(0)
    return case.Phi @ torch.randn(case.Phi.shape[2], k, generator=generator, dtype=torch.float64) / k**0.5


def dual(case, steps, rms=0.0, k=12, **options):
    return solve(case.problem, sketched(case, k), held_out(case.subset, case.test), rms=rms, steps=steps, **options)


def holds(case, step, weights, slack=at_most):
    errors, training, excess, _ = case.errors(flat(weights))
    truths = errors.square().mean(1).sqrt(), training, excess
    return all(
        slack(truth, doubles(bound))
        for truth, bound in zip(truths, (step.held_out_rms, step.training_rms, step.excess), strict=True)
    )


@settings(max_examples=5)
@given(cases, st.sampled_from([3, 12]))  # fewer and more coordinates than rows
def test_every_dual_step_is_certified_and_the_last_is_the_full_solution(case, k):
    first = dual(case, 0, k=k)
    start = case.errors(flat(first.weights))[0].square().mean(1).sqrt()
    for steps in range(4):
        found = dual(case, steps, k=k)
        assert [one.step for one in found.history] == list(range(steps + 1))
        assert holds(case, found.history[-1], found.weights)
        assert at_most(start, doubles(found.history[-1].start_rms))
    found = dual(case, 12, k=k)
    assert close(flat(found.weights), case.star, TOL["squared_kernel"])
    assert close(case.product(case.Phi.mT, found.coefficients), case.star, TOL["squared_kernel"])
    assert torch.allclose(doubles(found.history[-1].start_rms), start, rtol=TOL["apart"], atol=TOL["apart"])


def test_the_dual_bounds_are_the_gap_at_their_own_point():
    case = Case(7, m=1)
    found = dual(case, 1)
    w, lam = flat(found.weights), case.ridge
    rho = case.product(case.Phi, w) - case.y + lam[:, None] * found.coefficients
    assert close(doubles(found.history[-1].excess), rho.square().sum(1) / 2)
    objective = (case.product(case.Phi, w) - case.y).square().sum(1) / 2 + lam * w.square().sum(1) / 2
    a = lam[:, None] * found.coefficients
    value = (case.y * a).sum(1) - a.square().sum(1) / 2 - case.product(case.Phi.mT, a).square().sum(1) / (2 * lam)
    assert close(doubles(found.history[-1].excess), objective - value, TOL["squared_kernel"])


def test_the_allowance_is_added_to_the_dual_bounds_once_for_each_step_carried(monkeypatch):
    case = Case(7, m=1)
    before = dual(case, 3).history
    monkeypatch.setattr(module, "gap_allowance", lambda *parts: torch.ones(2, dtype=torch.float64))
    after = dual(case, 3).history
    for step, times in enumerate((1, 2, 3, 1)):  # at the end the weights are taken afresh
        added = (2 * doubles(after[step].excess)).sqrt() - (2 * doubles(before[step].excess)).sqrt()
        assert close(added, torch.full_like(added, times), TOL["squared_kernel"])


def test_exact_features_start_at_the_solution():
    case = Case(1)
    held = held_out(case.subset, case.test)
    found = solve(case.problem, case.Phi, held, rms=TOL["squared_kernel"], steps=5)
    assert found.converged
    assert found.history[-1].step == 0
    assert close(flat(found.weights), case.star, TOL["squared_kernel"])


def test_the_dual_solver_stops_at_the_requested_rms_and_counts_its_passes():
    case = Case(6, m=1)
    bounds = [max(one.held_out_rms) for one in dual(case, 4, k=4).history]
    wanted = 1.001 * bounds[2]
    found = dual(case, 20, k=4, rms=wanted)
    assert found.converged
    assert found.history[-1].step == next(i for i, bound in enumerate(bounds) if bound <= wanted)
    assert found.history[-1].forward_passes == found.history[-1].backward_passes == 2 + found.history[-1].step


@settings(max_examples=5)
@given(st.integers(0, 2**31), st.sampled_from([0, 3, 25]))
def test_the_dual_bounds_allow_for_float32(seed, steps):
    case = Case(seed, dtype=torch.float32)
    found = solve(case.problem, sketched(case).float(), held_out(case.subset, case.test), rms=0.0, steps=steps)
    assert holds(case, found.history[-1], found.weights, lambda truth, bound: bool((truth <= bound).all()))


@pytest.mark.parametrize("refresh", [2, 10])
def test_a_killed_dual_run_goes_on(tmp_path, monkeypatch, refresh):
    monkeypatch.setattr(module, "_REFRESH", refresh)
    case, path = Case(4, m=1), tmp_path / "state.safetensors"

    with pytest.raises(KeyboardInterrupt):
        dual(case, 6, checkpoint=path, progress=killed)
    seen = []
    found, straight = dual(case, 3, checkpoint=path, progress=lambda *told: seen.append(told)), dual(case, 6)
    assert [step.step for step, _ in seen] == [3, 4, 5, 6]
    assert all(torch.equal(seen[-1][1][name], found.weights[name]) for name in found.weights)
    assert torch.equal(found.coefficients, straight.coefficients)
    assert found.history == straight.history
    with pytest.raises(
        ValueError, match=r"^checkpoint: expected one of the same refinement, got .*, which differs in features$"
    ):
        dual(case, 1, k=11, checkpoint=path)


def test_refused():
    case, other = Case(0), Case(1)
    held, w = held_out(case.subset, case.test), named(case.model, case.w)
    with pytest.raises(ValueError, match="subset: expected training rows of the same problem"):
        refine(case.problem, w, other.subset, held, rms=0.0, steps=1)
    with pytest.raises(ValueError, match=r"features: expected shape \(2, 5, any\), got shape \(2, 4, 12\)"):
        refine(case.problem, w, case.subset, held, rms=0.0, steps=1, features=sketched(case)[:, :4])
    with pytest.raises(ValueError, match="rms: expected a number that is 0 or above"):
        refine(case.problem, w, case.subset, held, rms=-1.0, steps=1)
    with pytest.raises(ValueError, match="steps: expected an integer in"):
        refine(case.problem, w, case.subset, held, rms=0.0, steps=-1)
    with pytest.raises(ValueError, match=r"features: expected shape \(2, 5, any\), got shape \(2, 4, 12\)"):
        solve(case.problem, sketched(case)[:, :4], held, rms=0.0, steps=1)
    with pytest.raises(
        ValueError, match=r"^lam: expected one at which the preconditioner is positive .*\+200 times its"
    ):
        solve(case.problem, sketched(case) * 1e200, held, rms=0.0, steps=1)
    with pytest.raises(
        ValueError, match=r"^test: expected inputs measured by a subset of this problem, got those of another"
    ):
        solve(other.problem, sketched(other), held, rms=0.0, steps=1)
    with pytest.raises(ValueError, match="rms: expected a number that is 0 or above"):
        solve(case.problem, sketched(case), held, rms=-1.0, steps=1)
    with pytest.raises(ValueError, match="steps: expected an integer in"):
        solve(case.problem, sketched(case), held, rms=0.0, steps=-1)
