"""What needs more than torch and numpy, on a GPU: stores, moments, certificates, refinement, the estimator."""

import pytest
import torch

from dntk_fast import DistilledNTK, build, tangent_features, write_features
from dntk_fast.certificates.certificate import (
    FullProblem,
    certify,
    held_out,
    held_out_bounds,
    residual,
    training_subset,
)
from dntk_fast.certificates.conjugate_gradients import SubsetResidual, refine, solve
from dntk_fast.kernels.moments import moments_of
from tests.tolerances import TOL

pytestmark = pytest.mark.gpu


def images(n, seed):
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(device):
    model, x = build("conv8", seed=0).double().to(device), images(12, 0).to(device)
    with torch.no_grad():
        targets = model(x).T.contiguous()
    return FullProblem(model, x, targets, 3.0)


def apart(found, expected):
    assert found.device.type == "cuda"
    return float((found.cpu() - expected).abs().max() / expected.abs().max())


def bounds(device):
    full = problem(device)
    subset = training_subset(full, torch.arange(4, device=device))
    held = held_out(subset, images(5, 1).to(device))
    start = {name: torch.zeros(len(full.targets), *p.shape, dtype=p.dtype, device=device)
             for name, p in full.model.named_parameters()}  # fmt: skip
    seen = SubsetResidual(subset, residual(full, start))
    refined = refine(full, start, subset, held, rms=0.0, steps=3)
    found = certify(seen).training_rms, held_out_bounds(seen, held).rms, refined.held_out.rms, refined.fitted
    features = tangent_features(full.model, full.x, k=40, seed=0).values
    return [*found, solve(full, features, held, rms=0.0, steps=3).fitted]


def test_certificates_and_refinements_are_those_of_the_cpu():
    for found, expected in zip(bounds("cuda"), bounds("cpu"), strict=True):
        assert apart(found, expected) <= TOL["squared_kernel"]


def test_moments_are_those_of_the_cpu():
    features = tangent_features(problem("cpu").model, images(6, 0), k=20, seed=0).values
    targets = torch.randn(10, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = moments_of(features, targets).ridge_weights(0.5)
    assert apart(moments_of(features.cuda(), targets.cuda()).ridge_weights(0.5), weights) <= TOL["float64"]


def test_a_store_holds_what_the_gpu_made(tmp_path):
    model, x = problem("cpu").model, images(6, 0)
    expected = tangent_features(model, x, k=20, seed=0).body
    store = write_features(tmp_path / "store", model.cuda(), x, k=20, seed=0, dtype=torch.float64, shard_rows=4)
    assert float((store.load().body - expected).abs().max() / expected.abs().max()) <= TOL["float64"]


def test_the_estimator_answers_on_the_device():
    model, x, y = build("conv8", seed=0).cuda(), images(40, 0).float().cuda(), torch.arange(40, device="cuda") % 10
    found = DistilledNTK(model, per_class=2, seed=0).fit(x, y).predict(x)
    assert found.device.type == "cuda"
    assert found.shape == (40,)
