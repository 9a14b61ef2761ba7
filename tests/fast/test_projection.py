"""Sketches: the map is fixed by (seed, name, k), its adjoint is exact, its first two moments are those derived for it.

Simulations use fixed seeds. Every z-score is compared with 5: for a mean of 1,500 draws the normal approximation gives
one false alarm in 1.7 million comparisons, about one in 50,000 for all of this file.
"""

import hashlib
import itertools
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from dntk_fast.projection import KINDS, Sketch, hashing, maps
from tests.fast.moments_by_hand import tensorsketch_variance
from tests.tolerances import TOL

SHAPES = {"conv.weight": (3, 2, 2), "conv.bias": (3,), "fc.weight": (2, 5), "fc.bias": (2,)}
P = 27
DRAWS = 1500


def sketch_of(kind, *, k=8, seed=0, shapes=SHAPES):
    return Sketch(shapes, k, seed, kind)


def draw_gradients(shapes, lead, seed):
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.randn(*lead, *s, generator=generator, dtype=torch.float64) for n, s in shapes.items()}


def flat(gradients, lead):
    return torch.cat([g.reshape(*lead, -1) for g in gradients.values()], dim=-1)


# --- the counter-based hash -------------------------------------------------------------------------------------------


def test_words_are_two_keyed_rounds_of_splitmix_in_plain_integers():
    mask = 2**64 - 1

    def mix(z):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    key = hashing.key(5, "layer", "sign")
    inner = (mix((i * 0x9E3779B97F4A7C15 + key.first) & mask) for i in range(3, 40))
    expected = [mix(word ^ (key.second & mask)) for word in inner]
    assert [word & mask for word in hashing.words(key, 3, 37).tolist()] == expected


@given(start=st.integers(0, 200), count=st.integers(1, 200))
def test_a_stream_read_in_pieces_is_the_stream(start, count):
    key = hashing.key(1, "w")
    for draw in (hashing.signs, hashing.normals):
        whole = draw(key, 0, 400, dtype=torch.float64)
        assert torch.equal(draw(key, start, count, dtype=torch.float64), whole[start : start + count])


def test_draws_follow_their_laws():
    key = hashing.key(2, "law")
    normals = hashing.normals(key, 0, 100_000, dtype=torch.float64).numpy()
    assert scipy.stats.kstest(normals, "norm").pvalue > 1e-6
    angles = np.arctan2(normals[::2], normals[1::2]) / (2 * np.pi) + 0.5
    assert scipy.stats.kstest(angles, "uniform").pvalue > 1e-6
    for count in (torch.bincount(hashing.shifts(key, 50_000, 40)), hashing.signs(key, 0, 50_000, dtype=torch.float64)):
        seen = count.numpy() if len(count) == 40 else np.bincount(((count + 1) / 2).long().numpy())
        assert scipy.stats.chisquare(seen).pvalue > 1e-6
    runs = hashing.permutations(key, 7, 50)
    assert torch.equal(runs.sort(1).values, torch.arange(50).expand(7, 50))


def test_logarithm_cosine_and_sine_are_those_of_the_library():
    u = torch.linspace(1e-16, 1 - 1e-16, 5001, dtype=torch.float64)
    assert torch.allclose(hashing._logarithm(u), u.log(), rtol=TOL["elementary"], atol=TOL["elementary"])
    x = torch.linspace(-math.pi / 4, math.pi / 4, 5001, dtype=torch.float64)
    for found, expected in zip(hashing._cosine_sine(x), (x.cos(), x.sin()), strict=True):
        assert torch.allclose(found, expected, rtol=0, atol=TOL["elementary"])


# --- one map, whatever the order of the work --------------------------------------------------------------------------


@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**63 - 1), k=st.sampled_from([4, 8, 12, 20]))
def test_adjoint_is_the_adjoint(kind, seed, k):
    sketch, u = sketch_of(kind, k=k, seed=seed), draw_gradients(SHAPES, (2, 3), 1)
    w = torch.randn(2, 3, k, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    back = dict(sketch.adjoint(w))
    left, right = (sketch.apply(u) * w).sum(), sum((u[name] * back[name]).sum() for name in SHAPES)
    scale = float(sketch.matrix().norm() * flat(u, (2, 3)).norm() * w.norm())
    assert abs(float(left - right)) <= TOL["adjoint"] * scale


@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 99))
def test_matrix_acts_as_the_map_does(kind, seed):
    sketch, u = sketch_of(kind, seed=seed), draw_gradients(SHAPES, (5,), seed)
    assert torch.allclose(sketch.apply(u), flat(u, (5,)) @ sketch.matrix(), rtol=TOL["adjoint"], atol=TOL["adjoint"])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "haar"])
def test_a_parameters_map_depends_on_its_name_alone(kind):
    whole, turned = sketch_of(kind), sketch_of(kind, shapes=dict(reversed(SHAPES.items())))
    alone = sketch_of(kind, shapes={"fc.weight": (2, 5)})
    rows = torch.eye(10, dtype=torch.float64)
    expected = whole.block("fc.weight", dtype=torch.float64).apply(rows)
    for other in (turned, alone):
        assert torch.equal(other.block("fc.weight", dtype=torch.float64).apply(rows), expected)
    assert not torch.equal(sketch_of(kind, seed=1).block("fc.weight", dtype=torch.float64).apply(rows), expected)
    renamed = sketch_of(kind, shapes={"other": (2, 5)})
    assert not torch.equal(renamed.block("other", dtype=torch.float64).apply(rows), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_do_not_see_each_other(kind):
    # Not bit for bit: a library may sum a product of matrices in another order for another number of rows.
    sketch, u = sketch_of(kind), draw_gradients(SHAPES, (6,), 0)
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    apart = torch.stack([sketch.apply({n: g[i] for n, g in u.items()}) for i in order])
    assert torch.allclose(apart, sketch.apply(u)[order], rtol=TOL["adjoint"], atol=TOL["adjoint"])


def test_dense_blocks_drawn_for_every_call_are_the_blocks_that_are_kept(monkeypatch):
    kept = {kind: sketch_of(kind).matrix() for kind in ("gaussian", "rademacher")}
    monkeypatch.setattr(maps, "_DENSE_BLOCK", 24)
    monkeypatch.setattr("dntk_fast.projection.sketch._MATRIX", 1)
    for kind, matrix in kept.items():
        sketch, rows = sketch_of(kind), torch.eye(12, dtype=torch.float64)
        block = sketch.block("conv.weight", dtype=torch.float64)
        assert block.kept is None
        assert torch.equal(block.apply(rows), matrix[:12])
        assert torch.equal(block.adjoint(torch.eye(8, dtype=torch.float64)), matrix[:12].T)


def fingerprint():
    digest = hashlib.sha256()
    for kind in KINDS:
        if kind != "haar":  # the factorisation of a library may differ in its last bit from machine to machine
            digest.update(sketch_of(kind, seed=7).matrix().numpy().tobytes())
    return digest.hexdigest()


def test_another_process_draws_the_same_bits():
    code = "from tests.fast.test_projection import fingerprint; print(fingerprint())"
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == fingerprint()


# A stored feature is worth nothing without its map, which is drawn again from the seed: other bits for the same seed are
# another format of the store.
BITS = {
    "contiguous": "d812c3998de07ef4",
    "sjlt": "276212fc3f55a982",
    "tensorsketch": "f47ac723c9bb0f5d",
    "srht": "a15bb5055977d1f9",
    "rademacher": "d7a4143199700038",
}


@pytest.mark.parametrize("kind", BITS)
def test_the_bits_of_a_map_never_change(kind):
    # Several runs on both sides of the matrix. The entries times sqrt(k) = 4 are integers in every sum: no rounding.
    entries = sketch_of(kind, k=16, seed=7, shapes={"w": (20, 40)}).matrix() * 4
    assert torch.equal(entries, entries.round())
    assert hashlib.sha256(entries.to(torch.int8).numpy().tobytes()).hexdigest()[:16] == BITS[kind]


@pytest.mark.parametrize(
    ("kind", "shape", "rows"),
    [
        ("gaussian", (20, 40), [[0.43377444453, -1.00602735417], [-0.73935948903, 0.17734825661]]),
        ("haar", (3, 2), [[-0.67227309252, -0.00429080104], [-0.37860126257, -0.28665951835]]),
    ],
)
def test_the_numbers_of_a_map_never_change(kind, shape, rows):
    # An odd k, where two normal numbers of one pair of words would fall to two coordinates.
    found = sketch_of(kind, k=5, seed=7, shapes={"w": shape}).matrix()[[0, -1], :2]
    assert torch.allclose(found, torch.tensor(rows, dtype=torch.float64), rtol=0, atol=TOL["float64"])


def test_labels_that_read_the_same_side_by_side_name_different_streams():
    assert hashing.key(1, "2w") != hashing.key(12, "w")
    assert hashing.key(0, "a", "bc") != hashing.key(0, "ab", "c")


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_draws_the_same_bits(kind):
    for name, shape in SHAPES.items():
        rows = torch.eye(math.prod(shape), dtype=torch.float64)
        here = sketch_of(kind).block(name, dtype=torch.float64).apply(rows)
        there = sketch_of(kind).block(name, dtype=torch.float64, device="cuda").apply(rows.cuda())
        assert torch.equal(here, there.cpu())


def test_single_precision_carries_the_same_map():
    for kind in KINDS:
        found, expected = sketch_of(kind).matrix(dtype=torch.float32), sketch_of(kind).matrix()
        assert found.dtype == torch.float32
        assert torch.allclose(found.double(), expected, rtol=0, atol=1e-6)


# --- what each kind is made of ----------------------------------------------------------------------------------------


@given(d=st.integers(1, 60), k=st.integers(1, 16), seed=st.integers(0, 999))
def test_contiguous_is_one_sign_per_coordinate_without_collisions_inside_a_run(d, k, seed):
    matrix = Sketch({"w": (d,)}, k, seed).matrix()
    assert torch.equal(matrix.abs().sum(1), torch.ones(d, dtype=torch.float64))
    assert set(matrix.unique().tolist()) <= {-1.0, 0.0, 1.0}
    for run in matrix.split(k):
        assert run.abs().sum(0).max() <= 1
        buckets = run.abs().argmax(1)
        assert torch.equal((buckets - buckets[0]) % k, torch.arange(len(run)))


def test_sjlt_has_four_independent_entries_of_one_half_in_every_column():
    matrix = sketch_of("sjlt", k=16).matrix()
    assert torch.equal(matrix.reshape(P, 4, 4).abs().sum(2), torch.full((P, 4), 0.5, dtype=torch.float64))
    assert matrix.reshape(P, 4, 4).sum(2).unique(dim=1).shape[1] == 4  # signs differ from draw to draw


@given(
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    k=st.integers(2, 12),
    positions=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_tensorsketch_of_the_factors_is_that_of_their_product(sizes, k, positions, seed):
    generator = torch.Generator().manual_seed(seed)
    delta, a = (torch.randn(3, positions, size, generator=generator, dtype=torch.float64) for size in sizes)
    block = Sketch({"w": sizes}, k, seed, "tensorsketch").block("w", dtype=torch.float64)
    product = torch.einsum("nto,nti->noi", delta, a).reshape(3, -1)
    spectrum = (block.spectrum(0, delta) * block.spectrum(1, a)).sum(1)
    assert torch.allclose(torch.fft.irfft(spectrum, k), block.apply(product), rtol=0, atol=TOL["adjoint"])


@given(bits=st.integers(0, 7))
def test_hadamard_transform_is_sylvesters(bits):
    size = 2**bits
    block = maps.SubsampledHadamard((0, "w"), size, size, torch.float64, torch.device("cpu"))
    expected = torch.from_numpy(scipy.linalg.hadamard(size)).double()
    assert torch.equal(block._hadamard(torch.eye(size, dtype=torch.float64)), expected)


def test_srht_is_an_isometry_of_a_run_where_k_is_a_power_of_two():
    matrix = Sketch({"w": (8,)}, 8, 3, "srht").matrix()
    assert torch.allclose(matrix @ matrix.T, torch.eye(8, dtype=torch.float64), rtol=0, atol=TOL["adjoint"])


def test_haar_has_orthogonal_columns_of_equal_length():
    matrix = sketch_of("haar").matrix()
    expected = P / 8 * torch.eye(8, dtype=torch.float64)
    assert torch.allclose(matrix.T @ matrix, expected, rtol=0, atol=TOL["adjoint"])


# --- first and second moments -----------------------------------------------------------------------------------------


def v0(u, v):
    return float((u @ u) * (v @ v) + (u @ v) ** 2)


def diagonal(u, v):
    return float((u**2 * v**2).sum())


def runs_of(u, v, size):
    return zip(u.split(size), v.split(size), strict=True)


def parameter_variance(kind, u, v, shape, k):
    """Variance of <Au, Av> for one parameter, as the docstrings state it."""
    if kind == "tensorsketch" and len(shape) > 1:
        return tensorsketch_variance(u.reshape(shape[0], -1), v.reshape(shape[0], -1), k)
    if kind == "gaussian":
        return v0(u, v) / k
    if kind == "rademacher":
        return (v0(u, v) - 2 * diagonal(u, v)) / k
    if kind == "srht":
        size = 1 << (k - 1).bit_length()
        within = sum(v0(a, b) - 2 * diagonal(a, b) for a, b in runs_of(u, v, size))
        between = v0(u, v) - sum(v0(a, b) for a, b in runs_of(u, v, size))
        return between / k + (size - k) / (k * (size - 1)) * within
    size = k // 4 if kind == "sjlt" else k
    return (v0(u, v) - sum(v0(a, b) for a, b in runs_of(u, v, size))) / k


def variance(kind, u, v, shapes, k):
    if kind == "haar":
        size = len(u)
        factor = size * (size - k) / (k * (size - 1) * (size + 2))
        return factor * float((u @ u) * (v @ v) + (1 - 2 / size) * (u @ v) ** 2)
    sizes = [math.prod(shape) for shape in shapes.values()]
    parts = list(zip(u.split(sizes), v.split(sizes), shapes.values(), strict=True))
    within = sum(parameter_variance(kind, a, b, shape, k) for a, b, shape in parts)
    return within + (v0(u, v) - sum(v0(a, b) for a, b, _ in parts)) / k


def errors(kind, u, v, shapes, k):
    found = []
    for seed in range(DRAWS):
        matrix = sketch_of(kind, k=k, seed=seed, shapes=shapes).matrix()
        found.append(float((u @ matrix) @ (v @ matrix) - u @ v))
    return np.array(found)


def z_score(sample, expected):
    return float((sample.mean() - expected) / (sample.std(ddof=1) / math.sqrt(len(sample))))


@pytest.fixture(scope="module")
def vectors():
    generator = torch.Generator().manual_seed(3)
    u = torch.randn(P, generator=generator, dtype=torch.float64)
    # Correlated, and an outer product in the second weight, where TensorSketch is worst.
    v = u + 0.7 * torch.randn(P, generator=generator, dtype=torch.float64)
    row, column = (torch.randn(s, generator=generator, dtype=torch.float64) for s in (2, 5))
    u[15:25] = v[15:25] = torch.outer(row, column).reshape(-1)
    return u, v


@pytest.mark.parametrize("kind", [*KINDS, "mixed"])
def test_unbiased_with_the_variance_of_the_docstring(kind, vectors):
    kinds = (
        dict(zip(SHAPES, ("tensorsketch", "gaussian", "contiguous", "srht"), strict=True)) if kind == "mixed" else kind
    )
    k = 6 if kind in ("srht", "tensorsketch") else 4
    sample = errors(kinds, *vectors, SHAPES, k)
    assert abs(z_score(sample, 0.0)) < 5
    if kind == "mixed":
        sizes = [math.prod(shape) for shape in SHAPES.values()]
        parts = list(zip(*(x.split(sizes) for x in vectors), SHAPES.values(), kinds.values(), strict=True))
        within = sum(parameter_variance(one, a, b, shape, k) for a, b, shape, one in parts)
        expected = within + (v0(*vectors) - sum(v0(a, b) for a, b, *_ in parts)) / k
    else:
        expected = variance(kind, *vectors, SHAPES, k)
    assert abs(z_score(sample**2, expected)) < 5


@pytest.mark.parametrize(("kind", "k"), [(kind, k) for k in (4, 6) for kind in KINDS if k == 4 or kind != "sjlt"])
def test_every_pair_of_coordinates_is_unbiased_with_the_variance_of_the_docstring(kind, k):
    """Random vectors average over pairs; a sign that two entries share, or two runs, shows in single pairs of entries."""
    shape, draws = (3, 3), 300
    unit = torch.eye(9, dtype=torch.float64)
    matrices = torch.stack([sketch_of(kind, k=k, seed=s, shapes={"w": shape}).matrix() for s in range(draws)])
    grams = matrices @ matrices.mT
    for i, j in itertools.combinations(range(9), 2):
        products, law = grams[:, i, j], variance(kind, unit[i], unit[j], {"w": shape}, k)
        if law == 0:
            assert float(products.abs().max()) <= TOL["hand"]
            continue
        # The square's variance is below 3 law^2 for Gaussian entries and below law for a product that is at most 1.
        spread = math.sqrt(max(3 * law**2, law) / draws)
        assert abs(float(products.mean())) < 5 * math.sqrt(law / draws)
        assert abs(float(products.square().mean()) - law) < 5 * spread


def test_the_check_of_the_variance_rejects_other_laws(vectors):
    u, v = vectors
    sample = errors("contiguous", u, v, {"w": (P,)}, 16) ** 2
    assert abs(z_score(sample, v0(u, v) / 16)) > 5  # Gaussian
    assert abs(z_score(sample, (v0(u, v) - 2 * diagonal(u, v)) / 16)) > 5  # CountSketch with independent hashes
    # Two parameters under one name share one map: what the names are there to prevent.
    matrices = (Sketch({"same": (9,)}, 4, seed).matrix().repeat(3, 1) for seed in range(DRAWS))
    shared = np.array([float((u @ m) @ (v @ m) - u @ v) for m in matrices])
    assert abs(z_score(shared, 0.0)) > 5


def test_contiguous_is_never_worse_than_countsketch_and_tensorsketch_at_most_three_gaussians():
    generator = torch.Generator().manual_seed(4)
    for shape, k in (((7, 11), 4), ((3, 11), 4), ((3, 3), 4)):
        u = torch.outer(*(torch.randn(s, generator=generator, dtype=torch.float64) for s in shape)).reshape(-1)
        gaussian = v0(u, u) / k
        assert parameter_variance("contiguous", u, u, shape, k) <= gaussian - 2 * diagonal(u, u) / k
        fits = sum(size <= k for size in shape)
        assert parameter_variance("tensorsketch", u, u, shape, k) <= (3 - fits) * gaussian * k / (k - 1) * (1 + 1 / k)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_without_entries_add_nothing(kind):
    shapes = {"none": (0, 3), "weight": (2, 3), "nothing": (0,)}
    sketch = Sketch(shapes, 4, 0, kind)
    gradients = {name: torch.ones(5, *shape, dtype=torch.float64) for name, shape in shapes.items()}
    assert torch.equal(sketch.apply(gradients), sketch.apply({"weight": gradients["weight"]}))
    back = dict(sketch.adjoint(torch.ones(5, 4, dtype=torch.float64)))
    assert {name: tuple(part.shape) for name, part in back.items()} == {name: (5, *s) for name, s in shapes.items()}
    assert sketch.matrix().shape == (6, 4)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Sketch(SHAPES, 0, 0), r"^k: expected an integer in \[1, inf\], got 0$"),
        (lambda: Sketch(SHAPES, 4, -1), "^seed: expected"),
        (lambda: sketch_of("kronecker"), "^projection: expected one of contiguous, .*, got 'kronecker'$"),
        (lambda: sketch_of({"conv.weight": "srht"}), "^kinds: expected a kind for every parameter, got"),
        (lambda: sketch_of("sjlt", k=6), "^k: expected a multiple of 4 for sjlt, got 6$"),
        (lambda: sketch_of("haar", k=28), r"^k: expected an integer in \[1, 27\], got 28$"),
        (lambda: sketch_of({**dict.fromkeys(SHAPES, "haar"), "fc.bias": "srht"}), "^kinds: expected haar for all"),
        (lambda: Sketch({"w": (2**24,)}, 8, 0).matrix(), "^matrix: expected P k of at most 67108864, got P = 16777216"),
        (lambda: Sketch({"w": (2**24,)}, 8, 0, "haar"), "^haar: expected P k of at most"),
        (
            lambda: list(sketch_of("srht").adjoint(torch.ones(3))),
            r"^weights: expected shape \(\.\.\., 8\), got \(3,\)$",
        ),
        (lambda: sketch_of("srht").apply({}), "^gradients: expected at least one parameter, got none$"),
        (lambda: sketch_of("srht").apply({"fc.bias": torch.ones(4, 3)}), r"^gradients\['fc.bias'\]: expected shape"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("k", [1, 2, 7, 64, 255])
@pytest.mark.parametrize("d", [1, 63, 64, 65, 500, 513])
def test_short_runs_summed_by_shift_are_the_same_map(k, d, monkeypatch):
    """Against the loop over runs, which serves long runs: bucket by bucket the same signed sums."""
    rows = torch.linspace(-1, 1, 3 * d, dtype=torch.float64).reshape(3, d).sin()
    weights = torch.linspace(-1, 1, 2 * k, dtype=torch.float64).reshape(2, k).cos()
    one = maps.Contiguous((5, "w"), d, k, torch.float64, torch.device("cpu"))
    monkeypatch.setattr(maps, "_SUMMED", 2 * d)  # several steps, the last one short
    monkeypatch.setattr(maps, "_MANY", 0)
    together = one.apply(rows), one.adjoint(weights)
    monkeypatch.setattr(maps, "_MANY", d + 1)
    monkeypatch.setattr(maps, "_SHORT", 0)
    torch.testing.assert_close(together[0], one.apply(rows), rtol=0, atol=TOL["features"] * d)
    assert torch.equal(together[1], one.adjoint(weights))
