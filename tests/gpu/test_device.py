"""On a GPU every function gives what it gives on the CPU: float64, the same seeds, the same maps. Torch and numpy alone."""

import pytest
import torch
from torch import nn

from dntk_fast import (
    Sketch,
    build,
    feature_plan,
    fingerprint,
    head_weights,
    jacobian_vector,
    kernel_diagonal,
    kernel_vector,
    norm_errors,
    penultimate,
    quadratic_forms,
    tangent_features,
    tangent_kernel,
    tangent_kernel_full,
    tangent_kernel_sum,
    trace_probes,
    train,
    vector_jacobian,
)
from dntk_fast.bench.subjects import random_subject
from dntk_fast.projection import KINDS
from tests.tolerances import TOL


class Words(nn.Module):
    """An embedding, attention and norms: what the image networks lack."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.last = nn.Linear(8, 3)

    def forward(self, words):
        return self.last(self.layer(self.table(words)).mean(1))


def words():
    torch.manual_seed(0)
    return Words().double().eval(), torch.arange(20).reshape(4, 5) % 7


def images(name, n):
    model, x = random_subject(name, n)
    return model.double(), x.double()


SUBJECTS = {
    "conv28": lambda: images("conv28", 6),
    "vit_tiny": lambda: images("vit_tiny", 3),
    "resnet18": lambda: images("resnet18", 3),
    "words": words,
}


def _like(model, x):
    """Weights (C, *shape) for every parameter, the same on every device."""
    generator = torch.Generator().manual_seed(1)
    C = len(model(x[:1])[0])
    return {
        name: torch.randn(C, *p.shape, generator=generator, dtype=p.dtype).to(p.device)
        for name, p in model.named_parameters()
    }


def _rows(model, x):
    C = len(model(x[:1])[0])
    made = torch.randn(C, len(x), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return made.to(x.device)


CALLS = {
    "tangent_kernel": tangent_kernel,
    "tangent_kernel, crossed": lambda m, x: tangent_kernel(m, x, x[:2]),
    "tangent_kernel_sum": tangent_kernel_sum,
    "tangent_kernel_full": lambda m, x: tangent_kernel_full(m, x[:2]),
    "kernel_diagonal": kernel_diagonal,
    "tangent_features": lambda m, x: tangent_features(m, x, k=64, seed=0).values,
    "norm_errors": lambda m, x: norm_errors(m, x, tangent_features(m, x, k=64, seed=0)),
    "jacobian_vector": lambda m, x: jacobian_vector(m, x, _like(m, x)),
    "vector_jacobian": lambda m, x: torch.cat([g.flatten() for g in vector_jacobian(m, x, _rows(m, x)).values()]),
    "kernel_vector": lambda m, x: kernel_vector(m, x, _rows(m, x)),
    "quadratic_forms": lambda m, x: quadratic_forms(m, x, _rows(m, x)[..., None]),
    "trace_probes": lambda m, x: trace_probes(m, x, probes=2, seed=0),
}


def _apart(found, expected):
    """Largest difference of two results over the largest entry."""
    assert found.device.type == "cuda"
    return float((found.cpu() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", list(CALLS))
def test_every_call_is_one_that_the_package_takes(name):
    assert bool(torch.isfinite(CALLS[name](*words())).all())


@pytest.mark.gpu
@pytest.mark.parametrize("name", list(CALLS))
@pytest.mark.parametrize("subject", list(SUBJECTS))
def test_a_gpu_gives_what_the_cpu_gives(subject, name):
    model, x = SUBJECTS[subject]()
    expected = CALLS[name](model, x)
    assert _apart(CALLS[name](model.cuda(), x.cuda()), expected) <= TOL["float64"]


@pytest.mark.gpu
def test_the_comparison_sees_another_network():
    model, x = SUBJECTS["conv28"]()
    expected = tangent_kernel(model, x)
    with torch.no_grad():
        next(model.parameters()).mul_(1.01)
    assert _apart(tangent_kernel(model.cuda(), x.cuda()), expected) > TOL["apart"]


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_map_is_the_same_on_every_device(kind):
    sketch = Sketch({"w": (6, 5), "b": (7,)}, k=8, seed=3, kinds=kind)
    generator = torch.Generator().manual_seed(0)
    rows = {
        "w": torch.randn(4, 6, 5, generator=generator).double(),
        "b": torch.randn(4, 7, generator=generator).double(),
    }
    moved = sketch.apply({name: value.cuda() for name, value in rows.items()})
    assert _apart(moved, sketch.apply(rows)) <= TOL["float64"]
    back = dict(sketch.adjoint(moved))
    for name, value in sketch.adjoint(moved.cpu()):
        assert _apart(back[name], value) <= TOL["float64"]


@pytest.mark.gpu
def test_float32_stays_within_its_rounding():
    model, x = random_subject("conv28", 8)
    exact = tangent_kernel(model, x, dtype=torch.float64)
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        found = tangent_kernel(model.cuda(), x.cuda())
    finally:
        torch.backends.cudnn.allow_tf32 = before
    assert _apart(found, exact) <= TOL["float32"]


@pytest.mark.gpu
def test_a_small_budget_gives_the_same():
    model, x = SUBJECTS["conv28"]()
    whole = tangent_features(model, x, k=32, seed=0).values
    parts = tangent_features(model.cuda(), x.cuda(), k=32, seed=0, memory=2**23)
    assert parts.plan.rows < len(x)
    assert _apart(parts.values, whole) <= TOL["float64"]
    assert str(feature_plan(model, x.cuda(), k=32, seed=0))


@pytest.mark.gpu
def test_training_and_the_head_stay_on_the_device():
    x = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model = train(build("conv8", seed=0).cuda(), x, torch.arange(32) % 10, epochs=1, seed=0).model
    assert {p.device.type for p in model.parameters()} == {"cuda"}
    assert penultimate(model, x.cuda()).device.type == head_weights(model).device.type == "cuda"
    assert len(fingerprint(model)) == len(fingerprint(model.cpu()))
