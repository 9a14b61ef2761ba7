"""Streamed moments: two halves make the whole, a killed stream goes on, and the primal solution is the dual one."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dntk_fast.files.tensors import read_tensors, write_tensors
from dntk_fast.kernels.moments import accumulate, load_moments, merge, moments_of
from dntk_fast.kernels.ridge import ridge_weights
from dntk_fast.kernels.subspace import energy_gap
from tests.fast.plain import close
from tests.tolerances import TOL


@st.composite
def problems(draw):
    """Features (C, n, k), targets (C, n), and a ridge."""
    C, n, k = draw(st.integers(1, 3)), draw(st.integers(2, 7)), draw(st.integers(1, 5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    Phi, y = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((C, n, k), (C, n)))
    return Phi, y, 10.0 ** draw(st.integers(-2, 1))


def same(a, b):
    return a.n == b.n and all(close(getattr(a, name), getattr(b, name)) for name in ("gram", "right", "squares"))


@given(problems(), st.data())
def test_two_halves_merged_equal_the_whole(problem, data):
    Phi, y, _ = problem
    cut = data.draw(st.integers(1, Phi.shape[1] - 1))
    halves = moments_of(Phi[:, :cut], y[:, :cut]), moments_of(Phi[:, cut:], y[:, cut:])
    whole = moments_of(Phi, y)
    assert same(merge(*halves), whole)
    assert same(merge(*halves[::-1]), whole)
    assert not same(merge(halves[0], halves[0]), whole)


@given(problems())
def test_primal_ridge_regression_and_what_follows(problem):
    Phi, y, lam = problem
    moments = moments_of(Phi, y)
    w = moments.ridge_weights(lam)
    assert close(w, ridge_weights(Phi, y, lam))
    per_class = lam * torch.arange(1, len(Phi) + 1, dtype=torch.float64)
    assert close(moments.ridge_weights(per_class), ridge_weights(Phi, y, per_class))
    error = ((Phi @ w[..., None])[..., 0] - y).square().sum(1)
    assert torch.allclose(
        moments.squared_error(w), error, rtol=TOL["float64"], atol=TOL["float64"] * float(y.square().sum())
    )
    assert close(moments.total, Phi.square().sum((1, 2)))
    values = torch.linalg.svdvals(Phi) ** 2
    assert close(moments.spectrum()[:, : values.shape[1]], values)
    assert not close(moments.ridge_weights(2 * lam), w)


@given(problems(), st.integers(1, 3))
def test_the_energy_gap_needs_no_features(problem, m):
    Phi, y, _ = problem
    inducing = torch.randn(len(Phi), m, Phi.shape[2], generator=torch.Generator().manual_seed(m), dtype=torch.float64)
    found, expected = moments_of(Phi, y).energy_gap(inducing), energy_gap(Phi, inducing)
    assert torch.equal(found.rank, expected.rank)
    for name in ("residual", "tail", "misalignment", "total"):
        pair = getattr(found, name), getattr(expected, name)
        assert torch.allclose(*pair, rtol=TOL["float64"], atol=TOL["float64"] * float(expected.total.max()))


def test_directions_of_little_energy_span_nothing():
    inducing = torch.tensor([[[1.0, 0.0], [0.0, 0.1]]], dtype=torch.float64)  # a hundredth of the largest energy
    moments = moments_of(torch.eye(2, dtype=torch.float64)[None], torch.ones(1, 2))
    gaps = [moments.energy_gap(inducing, rtol=rtol) for rtol in (0.001, 0.1)]
    assert [int(gap.rank) for gap in gaps] == [2, 1]
    assert [float(gap.residual) for gap in gaps] == [0.0, 1.0]


@given(problems(), st.data())
def test_principal_directions_hold_the_leading_eigenvalues(problem, data):
    Phi, y, _ = problem
    moments, k = moments_of(Phi, y), Phi.shape[2]
    r = data.draw(st.integers(1, k))
    V = moments.principal(r)
    assert close(V @ V.mT, torch.eye(r, dtype=torch.float64).expand(len(Phi), r, r))
    room = TOL["float64"] * float(moments.total.max())
    held = (Phi @ V.mT).square().sum(1)
    assert torch.allclose(held, moments.spectrum()[:, :r], rtol=0, atol=room)
    gap = moments.energy_gap(V)
    assert float(gap.misalignment.abs().max()) <= room
    turned = moments.energy_gap(V.flip(2))  # the broken twin: the same directions with coordinates reversed
    assert k == r or float(turned.residual.sum()) > float(gap.residual.sum())


def stream(seen, parts=4):
    generator = torch.Generator().manual_seed(0)
    data = [(torch.randn(2, 3, 4, generator=generator), torch.randn(2, 3, generator=generator)) for _ in range(parts)]

    def part(i):
        seen.append(i)
        return data[i]

    return part, data


def test_a_stream_is_summed_part_by_part():
    seen, done = [], []
    part, data = stream(seen)
    found = accumulate(part, 4, progress=lambda i, total: done.append((i, total)))
    assert seen == [0, 1, 2, 3]
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert found.gram.dtype == torch.float64  # float32 features, float64 sums
    whole = moments_of(*(torch.cat([pair[j].double() for pair in data], 1) for j in (0, 1)))
    assert same(found, whole)
    assert found.n == 12
    assert found.parts == 4


def test_a_killed_stream_goes_on(tmp_path):
    seen = []
    part, _ = stream(seen)
    path = tmp_path / "moments.safetensors"

    def killed(i):
        if i == 2:
            raise KeyboardInterrupt
        return part(i)

    with pytest.raises(KeyboardInterrupt):
        accumulate(killed, 4, checkpoint=path)
    assert load_moments(path).parts == 2
    found = accumulate(part, 4, checkpoint=path)
    assert seen == [0, 1, 0, 2, 3]  # of what stood, the first alone was asked for again
    straight = accumulate(part, 4)
    assert all(torch.equal(getattr(found, name), getattr(straight, name)) for name in ("gram", "right", "squares"))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    again = accumulate(part, 4, checkpoint=path)  # nothing left to ask for
    assert seen == [0, 1, 0, 2, 3, 0, 1, 2, 3, 0]
    assert same(again, found)


def test_sums_of_another_stream_are_refused(tmp_path):
    path, (Phi, y) = tmp_path / "moments.safetensors", (torch.rand(2, 3, 4), torch.rand(2, 3))
    total = accumulate(lambda i: (Phi, y), 2, checkpoint=path)
    others = [(2 * Phi, y), (Phi.roll(1, dims=2), y), (Phi, -y), (Phi[:, :2], y[:, :2]), (Phi[:1], y[:1]), (-Phi, -y)]
    for other in others:
        with pytest.raises(
            ValueError, match=r"^checkpoint: expected one of the same sum over a stream, got .* in its first part$"
        ):
            accumulate(lambda i, other=other: other, 3, checkpoint=path)
    rounded = Phi * (1 + 4 * torch.finfo(Phi.dtype).eps)
    assert accumulate(lambda i: (rounded, y), 3, checkpoint=path).parts == 3
    total.save(path)  # without the first part
    with pytest.raises(
        ValueError, match=r"^checkpoint: expected one of a sum over a stream, got .* of something else$"
    ):
        accumulate(lambda i: (Phi, y), 3, checkpoint=path)
    with pytest.raises(TypeError, match=r"^checkpoint: expected a path, got int$"):
        accumulate(lambda i: (Phi, y), 3, checkpoint=3)


def test_refused(tmp_path):
    Phi, y = torch.ones(2, 3, 4), torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"targets: expected shape \(2, 3\), got shape \(3, 2\)"):
        moments_of(Phi, y.T)
    with pytest.raises(TypeError, match=r"^features: expected a torch tensor, got ndarray$"):
        moments_of(Phi.numpy(), y)
    with pytest.raises(ValueError, match="features: expected 3 axes"):
        moments_of(Phi[0], y)
    with pytest.raises(ValueError, match=r"second: expected moments of shape \(2, 4, 4\), got shape \(2, 3, 3\)"):
        merge(moments_of(Phi, y), moments_of(Phi[..., :3], y))
    with pytest.raises(ValueError, match=r"weights: expected shape \(2, 4\)"):
        moments_of(Phi, y).squared_error(torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"inducing: expected shape \(2, any, 4\)"):
        moments_of(Phi, y).energy_gap(torch.ones(2, 1, 3))
    with pytest.raises(ValueError, match=r"rank: expected an integer in \[1, 4\], got 5"):
        moments_of(Phi, y).principal(5)
    with pytest.raises(ValueError, match="lam: expected a number above 0"):
        moments_of(Phi, y).ridge_weights(0.0)
    with pytest.raises(ValueError, match="parts: expected an integer in"):
        accumulate(lambda i: (Phi, y), 0)
    path = tmp_path / "moments.safetensors"
    accumulate(lambda i: (Phi, y), 3, checkpoint=path)
    with pytest.raises(ValueError, match="checkpoint: expected at most 2 parts, got 3"):
        accumulate(lambda i: (Phi, y), 2, checkpoint=path)
    other = tmp_path / "other.safetensors"
    write_tensors(other, {"gram": Phi})
    with pytest.raises(ValueError, match="path: expected saved moments"):
        load_moments(other)


@pytest.mark.parametrize(
    "change",
    [
        {"gram": torch.zeros(2, 3, 4, dtype=torch.float64)},
        {"gram": torch.full((2, 4, 4), torch.nan, dtype=torch.float64)},
        {"gram": torch.arange(32, dtype=torch.float64).reshape(2, 4, 4)},
        {"right": torch.zeros(2, 3, dtype=torch.float64)},
        {"right": torch.zeros(2, 4)},
        {"squares": -torch.ones(2, dtype=torch.float64)},
    ],
    ids=["shape", "NaN", "skew", "right", "precision", "negative"],
)
def test_moments_of_another_kind_are_refused_though_their_checksum_is_right(tmp_path, change):
    path = tmp_path / "moments"
    moments_of(torch.ones(2, 3, 4), torch.ones(2, 3)).save(path)
    tensors, words = read_tensors(path)
    write_tensors(path, tensors | change, words)
    with pytest.raises(ValueError, match=r"^path: expected (moments|finite sums)"):
        load_moments(path)
    write_tensors(path, tensors, words | {"n": "-3"})
    with pytest.raises(ValueError, match=r"^path: expected a number of rows, and of parts"):
        load_moments(path)


def test_sums_that_overflow_are_refused():
    with pytest.raises(
        ValueError, match=r"^features: expected numbers whose squares float64 holds, got some up to 1e\+200"
    ):
        moments_of(torch.ones(1, 2, 3).double() * 1e200, torch.ones(1, 2))
