"""What a step of the refinement tells is its own bound in three scales, and how few steps the preconditioner leaves."""

import pytest
import torch
from torch import nn

from dntk_fast.certificates import subset as subset_module
from dntk_fast.certificates.certificate import FullProblem, SubsetResidual, certify, held_out, residual, training_subset
from dntk_fast.certificates.conjugate_gradients import refine, solve
from dntk_fast.tangent.kernel import tangent_kernel
from tests.fast.plain import close
from tests.fast.test_certificate import Case, named
from tests.tolerances import TOL


def doubles(values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_bounds_of_a_step_are_one_distance_in_three_scales():
    """|w - w_*|_H <= d: excess d^2 / 2, training RMS d / sqrt(n), held-out RMS d sqrt(spread / t)."""
    case = Case(7, n=5, t=3, m=1)
    held = held_out(case.subset, case.test)
    generator = torch.Generator().manual_seed(0)
    features = case.Phi @ torch.randn(case.Phi.shape[2], 12, generator=generator, dtype=torch.float64) / 12**0.5
    dual = solve(case.problem, features, held, rms=0.0, steps=2).history
    primal = refine(case.problem, named(case.model, case.w), case.subset, held, rms=0.0, steps=2).history[1:]
    for step in (*dual, *primal):
        squares = 2 * doubles(step.excess)
        assert close(doubles(step.training_rms), (squares / 5).sqrt())
        assert close(doubles(step.held_out_rms), (squares * held.spread / 3).sqrt())


def test_step_0_tells_the_excess_of_the_weights_given_and_not_their_gap():
    case = Case(2)
    held, start = held_out(case.subset, case.test), named(case.model, case.w)
    certificate = certify(SubsetResidual(case.subset, residual(case.problem, start)))
    found = refine(case.problem, start, case.subset, held, rms=0.0, steps=0)
    assert close(doubles(found.history[0].excess), certificate.excess)
    assert not close(certificate.excess, certificate.duality_gap, TOL["apart"])


def grouped(count):
    """Four groups of rows of one class each, no two neighbours alike, and a subset of the first rows."""
    torch.manual_seed(0)
    classes = torch.arange(80) % 4
    x = 2 * torch.randn(4, 8, dtype=torch.float64)[classes] + 0.5 * torch.randn(80, 8, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4)).double().eval()
    problem = FullProblem(model, x, nn.functional.one_hot(classes, 4).T.double() - 0.25, 1.0)
    return problem, training_subset(problem, torch.arange(count))


@pytest.mark.parametrize(("rows", "steps", "error"), [(0, 11, 1e-3), (5, 12, 5e-6)])
def test_the_preconditioner_leaves_no_more_steps_than_it_did(monkeypatch, rows, steps, error):
    """The errors that these numbers of steps reach now: none, all or other parts of the rest need one to three more."""
    monkeypatch.setattr(subset_module, "_BLOCK", 20)  # as many as there are rows alike
    problem, subset = grouped(rows)
    K = tangent_kernel(problem.model, problem.x)
    exact = (K @ torch.linalg.solve(K + torch.eye(80, dtype=torch.float64), problem.targets[..., None]))[..., 0]
    zeros = {name: p.new_zeros(4, *p.shape).detach() for name, p in problem.model.named_parameters()}
    found = refine(problem, zeros, subset, held_out(subset, problem.x[:2]), rms=0.0, steps=steps)
    assert float((found.fitted - exact).norm() / exact.norm()) <= error


def test_rows_alike_share_their_largest_target():
    _, subset = grouped(5)
    blocks = [set((rows % 4).tolist()) for rows, _, _ in subset.left_out]
    assert sorted(blocks, key=min) == [{0}, {1}, {2}, {3}]


def test_directions_of_a_subset_below_the_precision_of_the_kernel_are_left_out():
    """Two rows a millionth apart: in float32 their difference is rounding, and must not be scaled up to a direction."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).eval(), torch.randn(6, 3)
    x[1] = x[0] + 2.0**-20
    problem = FullProblem(model, x, torch.randn(2, 6), 1.0)
    own = training_subset(problem, torch.tensor([0, 1])).features
    K = tangent_kernel(model, x, dtype=torch.float64)
    nystrom = K[:, :, :1] @ K[:, :1] / K[:, :1, :1]
    assert close(own @ own.mT, nystrom, TOL["float32"])
