"""Certificates of spectra on torch modules: never below the exact rank, rounding allowed for; estimates only estimate."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dntk_fast.certificates import spectral
from dntk_fast.kernels import redundancy
from dntk_fast.projection import Sketch
from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.kernel import kernel_diagonal, tangent_kernel
from dntk_fast.tangent.products import trace_probes
from tests.fast.plain import close
from tests.kinds import back, kernel_stacks, kinds, to
from tests.strategies import epsilons
from tests.tolerances import TOL


def case(seed, n=12, dtype=torch.float64):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv1d(2, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(9, 4), nn.GELU(), nn.Linear(4, 3))
    return model.to(dtype), torch.randn(n, 2, 4, dtype=dtype)


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.integers(1, 12), epsilons, st.sampled_from([torch.float32, torch.float64]))
def test_the_rank_bound_is_never_below_the_exact_rank(seed, rank, epsilon, dtype):
    model, x = case(seed, dtype=dtype)
    features = tangent_features(model, x, k=12, seed=seed)
    found = spectral.spectral_certificate(model, x, spectral.leading_directions(features.values, rank))
    K = tangent_kernel(model, x, dtype=torch.float64)
    assert bool((found.rank_bound(epsilon) >= redundancy.truncation_rank(K, epsilon)).all())
    assert bool((found.rank_bound(epsilon) <= 12).all())
    assert close(found.trace, K.diagonal(dim1=1, dim2=2).sum(1), TOL["float32"])
    whole = torch.linalg.eigvalsh(K).flip(1)
    assert bool((found.captured <= whole.cumsum(1)[:, :rank] * (1 + TOL["float64"])).all())
    assert bool((found.redundancy >= redundancy.parameter_redundancy(K, rank) - TOL["root"]).all())


def test_eigenvectors_of_the_exact_kernel_give_its_rank_and_others_more():
    model, x = case(1)
    K = tangent_kernel(model, x)
    Z = torch.linalg.eigh(K)[1].flip(2)
    for epsilon in (0.5, 0.1, 0.01):
        exact = redundancy.truncation_rank(K, epsilon)
        assert torch.equal(spectral.spectral_certificate(model, x, Z).rank_bound(epsilon), exact)
        turned = spectral.spectral_certificate(model, x, Z.flip(2)).rank_bound(epsilon)
        assert bool((turned > exact).all())  # the worst order of the same directions


def test_what_a_parameter_subspace_loses_is_what_the_formed_one_does():
    model, x = case(2)
    K = tangent_kernel(model, x)
    Z = torch.linalg.qr(torch.randn(12, 4, dtype=torch.float64))[0].expand(3, -1, -1)
    found = spectral.spectral_certificate(model, x, Z)
    inside, whole = Z.mT @ K @ Z, K.diagonal(dim1=1, dim2=2).sum(1)
    kept = K @ Z @ torch.linalg.solve(inside, Z.mT @ K)  # Phi Pi_V Phi^T, V = range(Phi^T Z)
    assert bool((found.lost >= 1 - kept.diagonal(dim1=1, dim2=2).sum(1) / whole - TOL["float64"]).all())
    assert close(found.lost, 1 - inside.diagonal(dim1=1, dim2=2).sum(1) / whole)
    assert bool((found.lost > 0.5).all())  # a random Z holds little, and the bound says so


def test_directions_that_are_not_quite_orthonormal_are_made_good_for():
    model, x = case(3)
    Z = torch.linalg.eigh(tangent_kernel(model, x))[1][..., -2:]
    plain, longer = (spectral.spectral_certificate(model, x, s * Z) for s in (1.0, 1.0001))
    assert bool((longer.energy <= plain.energy).all())
    with pytest.raises(
        ValueError, match=r"directions: expected orthonormal columns, up to 0.001, got \|Z\^T Z - I\| ="
    ):
        spectral.spectral_certificate(model, x, 1.01 * Z)


def test_the_options_are_those_of_the_kernel():
    model, x = case(4)
    options = {"outputs": [2, 0], "parameters": ["3.weight", "5.bias"]}
    K = tangent_kernel(model, x, **options)
    Z = torch.linalg.eigh(K)[1][..., -2:].flip(2)
    found = spectral.spectral_certificate(model, x, Z, **options)
    assert close(found.energy, torch.linalg.eigvalsh(K).flip(1)[:, :2])
    assert close(found.trace, K.diagonal(dim1=1, dim2=2).sum(1))
    known = spectral.spectral_certificate(model, x, Z, trace=torch.tensor([70.0, 90.0]), **options)
    assert known.trace.tolist() == [70.0, 90.0]
    assert torch.equal(known.energy, found.energy)
    with pytest.raises(ValueError, match="memory: expected at least"):
        spectral.spectral_certificate(model, x, Z, memory=1, **options)


def test_double_precision_on_request_leaves_less_to_rounding():
    model, x = case(4, dtype=torch.float32)
    K = tangent_kernel(model, x, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(K)
    Z = vectors[..., -2:].flip(2)
    single, double = (spectral.spectral_certificate(model, x, Z, dtype=dtype) for dtype in (None, torch.float64))
    assert (single.unit, double.unit) == (torch.finfo(torch.float32).eps, torch.finfo(torch.float64).eps)
    assert close(double.energy, values.flip(1)[:, :2])
    assert close(double.trace, values.sum(1))
    assert not close(single.energy, values.flip(1)[:, :2])


def test_rounding_is_allowed_for():
    """Directions that hold the wanted share but for a rounding do not count: float32 cannot tell."""
    energy, trace = torch.tensor([[0.75, 0.25]]), torch.tensor([1.0])
    assert spectral.SpectralCertificate(energy, trace, 4, 0.0).rank_bound(0.25).tolist() == [1]
    assert spectral.SpectralCertificate(energy, trace, 4, 1e-7).rank_bound(0.25).tolist() == [2]
    assert spectral.SpectralCertificate(0 * energy, 0 * trace, 4, 0.0).rank_bound(0.25).tolist() == [0]


@pytest.mark.parametrize("scale", [1e-300, 1e-152, 1e-20, 1.0, 1e150])
def test_a_certificate_knows_no_scale(scale):
    energy, trace = torch.tensor([[4.0, 1.0]], dtype=torch.float64), torch.tensor([8.0], dtype=torch.float64)
    unit, found = (spectral.SpectralCertificate(s * energy, s * trace, 4, 0.0) for s in (1.0, scale))
    assert close(found.redundancy, unit.redundancy)
    assert close(found.lost, unit.lost)
    assert [int(found.rank_bound(e)) for e in (0.0, 0.2, 0.5, 1.0)] == [4, 3, 1, 0]
    assert float(spectral.SpectralCertificate(0 * energy, 0 * trace, 4, 0.0).redundancy) == 0


def test_a_trace_below_the_energies_is_refused():
    model, x = case(4)
    Z = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64))[0].expand(3, -1, -1)
    trace = spectral.spectral_certificate(model, x, Z).trace
    for exact in (trace, trace.float()):  # all directions: the energies are the trace, but for rounding
        assert bool((spectral.spectral_certificate(model, x, Z, trace=exact).lost < TOL["rounded_to_float32"]).all())
    for wrong in (0.99 * trace, -trace, 0 * trace, torch.cat((trace[:2], 0.5 * trace[2:]))):
        with pytest.raises(ValueError, match=r"^trace: expected at least the energy [0-9.]+ of the directions, got "):
            spectral.spectral_certificate(model, x, Z, trace=wrong)
    with pytest.raises(ValueError, match="trace: expected finite entries"):
        spectral.spectral_certificate(model, x, Z, trace=torch.inf * trace)


def test_leading_directions_are_eigenvectors_of_the_sketched_kernel():
    Phi = torch.randn(2, 7, 4, dtype=torch.float64)
    Z = spectral.leading_directions(Phi, 3)
    values = torch.linalg.eigvalsh(Phi @ Phi.mT).flip(1)[:, :3]
    assert close(Phi @ (Phi.mT @ Z), Z * values[:, None])
    assert close(Z.mT @ Z, torch.eye(3, dtype=torch.float64).expand(2, 3, 3))


# --- estimates --------------------------------------------------------------------------------------------------------


@kinds
@given(kernels=kernel_stacks(), epsilon=epsilons)
def test_the_same_half_twice_gives_the_naive_rank(kind, kernels, epsilon):
    K = to(kind, kernels)
    found = back(spectral.cross_validated_rank(K, K, epsilon))
    assert found.tolist() == back(redundancy.truncation_rank(K, epsilon)).tolist()


def test_estimates_of_the_rank_are_no_bracket():
    """One direction that holds .951 at epsilon = .05, and one that holds .949: the audit's two cases (12, item 3)."""
    high = low = 0
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        for share, true in ((0.951, 1), (0.949, 2)):
            root = torch.tensor([share, 1 - share], dtype=torch.float64).sqrt()
            halves = root[:, None] * torch.randn(2, 2, 500, generator=generator, dtype=torch.float64) / 500**0.5
            K1, K2 = halves @ halves.mT
            high += int(redundancy.truncation_rank((K1 + K2) / 2, 0.05)) > true
            low += int(spectral.cross_validated_rank(K1, K2, 0.05)) < true
    assert high > 0
    assert low > 0


def test_estimates_from_features_are_near_the_exact_rank_and_their_head_is_in_both_halves():
    torch.manual_seed(4)
    layers = nn.Linear(6, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 3)
    model, x = nn.Sequential(*layers).double(), torch.randn(30, 6, dtype=torch.float64)
    truth = redundancy.truncation_rank(tangent_kernel(model, x), 0.05)
    features = tangent_features(model, x, k=1500, seed=0)
    found = spectral.rank_estimates(features, 0.05)
    assert int((found.naive - truth).abs().max()) <= 2
    assert int((found.cross_validated - truth).abs().max()) <= 2
    assert torch.equal(found.naive, redundancy.truncation_rank(features.kernel(), 0.05))
    bare = tangent_features(model, x, k=1500, seed=0, keep_head=False)
    assert bare.head is None
    assert int((spectral.rank_estimates(bare, 0.05).cross_validated - truth).abs().max()) <= 2


# --- the trace --------------------------------------------------------------------------------------------------------


def test_the_interval_from_sign_probes_holds_the_trace():
    model, x = case(5)
    trace = kernel_diagonal(model, x).sum(1)
    estimate = trace_probes(model, x, 60, seed=0).mean(1)
    found = spectral.trace_interval(estimate, 60, delta=0.01, kind="signs")
    assert bool(((found.low <= trace) & (trace <= found.high)).all())
    wider = spectral.trace_interval(estimate, 60, delta=0.001, kind="signs")
    assert bool(((wider.low < found.low) & (found.high < wider.high)).all())


@given(st.integers(5, 10_000), st.floats(1e-3, 0.99))
def test_both_ends_of_the_gaussian_interval_solve_their_equations(count, delta):
    found = spectral.trace_interval(torch.ones(1), count, delta=delta, kind="gaussian")
    above, below = 1 / float(found.low) - 1, 1 - 1 / float(found.high)
    wanted = 2 * math.log(2 / delta) / count
    assert above - math.log1p(above) == pytest.approx(wanted, rel=TOL["tail"])
    assert -below - math.log1p(-below) == pytest.approx(wanted, rel=TOL["tail"])


@pytest.mark.parametrize("kind", ["contiguous", "sjlt", "srht", "gaussian", "rademacher", "haar"])
def test_the_interval_of_moments_misses_no_more_often_than_it_says(kind):
    """One gradient, the worst kernel there is: 200 maps to 64 coordinates."""
    u = torch.randn(1, 300, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    maps = (Sketch({"w": (300,)}, k=64, seed=seed, kinds=kind) for seed in range(200))
    T = torch.stack([image.apply({"w": u}).square().sum() for image in maps])
    found = spectral.trace_interval(T, 64, delta=0.2, kind="moments")
    trace = u.square().sum()
    assert float(((trace < found.low) | (trace > found.high)).double().mean()) <= 0.2
    assert float(((T / trace - 1).abs() > 0.1).double().mean()) > 0.2  # a tenth on either side would miss more often


def test_too_few_probes_bound_the_trace_from_below_alone():
    found = spectral.trace_interval(torch.tensor([3.0, 0.0]), 3, delta=0.2, kind="signs")
    assert np.isinf(found.high.tolist()).all()
    assert 0 < float(found.low[0]) < 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x, Z: spectral.spectral_certificate(m, x, Z[0]), "directions: expected 3 axes"),
        (lambda m, x, Z: spectral.spectral_certificate(m, x, Z[:, :3]), r"directions: expected shape \(any, 5, any\)"),
        (
            lambda m, x, Z: spectral.spectral_certificate(m, x, Z[:2]),
            r"vectors: expected a tensor of shape \(3, 5, r\)",
        ),
        (
            lambda m, x, Z: spectral.spectral_certificate(m, x, Z, trace=torch.ones(2)),
            r"trace: expected shape \(3\), got shape \(2,\)",
        ),
        (lambda m, x, Z: spectral.spectral_certificate(m.train(), x, Z), "evaluation mode"),
        (lambda m, x, Z: spectral.leading_directions(Z, 6), r"rank: expected an integer in \[1, 2\]"),
        (
            lambda m, x, Z: spectral.rank_estimates(tangent_features(m, x, k=1, seed=0), 0.1),
            "number of coordinates of the features: expected an integer",
        ),
        (
            lambda m, x, Z: spectral.cross_validated_rank(Z @ Z.mT, torch.eye(5), 0.1),
            r"second: expected shape \(3, 5, 5\)",
        ),
        (
            lambda m, x, Z: spectral.trace_interval(-torch.ones(2), 1, delta=0.1, kind="signs"),
            "estimate: expected numbers that are 0 or above, got down to -1",
        ),
        (
            lambda m, x, Z: spectral.trace_interval(torch.ones(2), 0, delta=0.1, kind="signs"),
            "count: expected an integer",
        ),
        (
            lambda m, x, Z: spectral.trace_interval(torch.ones(2), 1, delta=1.0, kind="signs"),
            "delta: expected a number between 0 and 1, got 1.0",
        ),
        (lambda m, x, Z: spectral.trace_interval(torch.ones(2), 1, delta=0.1, kind="haar"), "kind: expected one of"),
    ],
)
def test_refused(call, message):
    model, x = case(0, n=5)
    model.insert(1, nn.BatchNorm1d(3).double().eval())
    Z = torch.eye(5, dtype=torch.float64)[:, :2].expand(3, -1, -1)
    with pytest.raises(ValueError, match=message):
        call(model, x, Z)
