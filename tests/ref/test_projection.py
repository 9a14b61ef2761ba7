"""Random maps against the enumeration of their whole law, and the exact laws behind JL against tables and twins."""

from collections import Counter
from itertools import combinations, permutations, product
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import hadamard
from scipy.stats import beta, chi2

from dntk_ref import projection as pr
from tests.ref.sides import CLOSE, HAND, differs
from tests.tolerances import TOL

SEEDS = st.integers(0, 2**32 - 1)
RESNET = 11_181_642


# The whole law of a small map: pairs (map, probability), from the words of the definition.


def signs(shape):
    for flat in product([-1.0, 1.0], repeat=int(np.prod(shape))):
        yield np.array(flat).reshape(shape)


def equally(maps):
    maps = list(maps)
    return [(A, 1 / len(maps)) for A in maps]


def at(P, k, columns, values):
    """A map with the given values at the given columns of each row."""
    A = np.zeros((P, k))
    for i in range(P):
        for column, value in zip(columns[i], values[i], strict=True):
            A[i, column] = value
    return A


def law_rademacher():
    return equally(s / sqrt(2) for s in signs((2, 2)))


def law_achlioptas():  # sparsity 2: +-1 with probability 1/4 each, 0 with 1/2, times sqrt(2/k) = 1
    chance = {-1.0: 1 / 4, 0.0: 1 / 2, 1.0: 1 / 4}
    return [(np.array(e).reshape(2, 2), np.prod([chance[x] for x in e])) for e in product(chance, repeat=4)]


def law_countsketch():
    return equally(at(3, 2, [[h] for h in hash_], s) for hash_ in product(range(2), repeat=3) for s in signs((3, 1)))


def law_sjlt_block():  # k = 4, two blocks of two
    places = list(product((0, 1), (2, 3)))
    return equally(at(2, 4, [a, b], s / sqrt(2)) for a in places for b in places for s in signs((2, 2)))


def law_sjlt_uniform():  # k = 3, two of three
    places = list(combinations(range(3), 2))
    return equally(at(2, 3, [a, b], s / sqrt(2)) for a in places for b in places for s in signs((2, 2)))


def law_srht(choices):  # P = 3 padded to 4, k = 2
    H = hadamard(4).astype(float)[:3]
    return equally(s * H[:, list(c)] / sqrt(2) for c in choices for s in signs((3, 1)))


def law_coordinates():
    return equally(np.eye(3)[:, list(c)] * sqrt(3 / 2) for c in product(range(3), repeat=2))


def law_contiguous():  # P = 3, k = 2: a run of two and a run of one
    return equally(
        at(3, 2, [[run[0]], [run[1]], [last]], s)
        for run in permutations(range(2))
        for last in range(2)
        for s in signs((3, 1))
    )


def law_tensorsketch(shape, k, hashes):
    p, q = shape
    found = []
    for h, g in product(hashes(p, k), hashes(q, k)):
        for s, t in product(product([-1, 1], repeat=p), product([-1, 1], repeat=q)):
            entries = list(product(range(p), range(q)))
            columns = [[(h[i] + g[j]) % k] for i, j in entries]
            found.append(at(p * q, k, columns, [[s[i] * t[j]] for i, j in entries]))
    return equally(found)


def free(size, k):
    return list(product(range(k), repeat=size))


def bijective(size, k):
    runs = [list(permutations(range(k), min(k, size - start))) for start in range(0, size, k)]
    return [sum(parts, ()) for parts in product(*runs)]


LAWS = {
    "rademacher": (law_rademacher(), {}),
    "achlioptas": (law_achlioptas(), {"sparsity": 2.0}),
    "countsketch": (law_countsketch(), {}),
    "sjlt_block": (law_sjlt_block(), {"nonzeros": 2}),
    "sjlt_uniform": (law_sjlt_uniform(), {"nonzeros": 2}),
    "srht": (law_srht(permutations(range(4), 2)), {}),
    "srht_replace": (law_srht(product(range(4), repeat=2)), {}),
    "coordinates": (law_coordinates(), {}),
    "contiguous": (law_contiguous(), {}),
    "tensorsketch": (law_tensorsketch((2, 2), 2, free), {"shape": (2, 2)}),
}


def moments(law, u, v):
    """Mean and variance of <Au, Av> over a whole law."""
    values = np.array([(u @ A) @ (v @ A) for A, _ in law])
    weights = np.array([p for _, p in law])
    mean = weights @ values
    return mean, weights @ (values - mean) ** 2


def without_nonzeros(options):
    return {name: value for name, value in options.items() if name != "nonzeros"}


@pytest.mark.parametrize("kind", LAWS)
@given(seed=SEEDS)
def test_moments_table_by_enumeration(kind, seed):
    law, options = LAWS[kind]
    P, k = law[0][0].shape
    u, v = np.random.default_rng(seed).standard_normal((2, P))
    mean, variance = moments(law, u, v)
    np.testing.assert_allclose(mean, u @ v, **CLOSE)
    formula = pr.inner_product_variance(kind, u, v, k, **without_nonzeros(options))
    np.testing.assert_allclose(variance, formula, **CLOSE)
    np.testing.assert_allclose(sum(p * A @ A.T for A, p in law), np.eye(P), **CLOSE)
    assert differs(variance, pr.inner_product_variance("gaussian", u, v, k))


@pytest.mark.parametrize("kind", LAWS)
def test_draws_have_the_enumerated_law(kind):
    law, options = LAWS[kind]
    P, k = law[0][0].shape
    rng = np.random.default_rng(20)
    expected = Counter()
    for A, p in law:  # -0.0 and 0.0 are one entry
        expected[tuple((A + 0.0).round(6).ravel())] += p
    number = 40 * len(expected)
    drawn = Counter(tuple((pr.draw(kind, P, k, rng=rng, **options) + 0.0).round(6).ravel()) for _ in range(number))
    assert set(drawn) <= set(expected)
    statistic = sum((drawn[A] - number * p) ** 2 / (number * p) for A, p in expected.items())
    # A right sampler fails this at one seed in a million; one that never draws a map is caught in the line above.
    assert chi2.sf(statistic, len(expected) - 1) > 1e-6
    # The twin: one map drawn twice as often as it should be, at the expense of another.
    first, second = list(expected)[:2]
    skewed = dict(expected) | {first: 2 * expected[first], second: 1e-9}
    assert any(abs(drawn[A] - number * p) > 5 * sqrt(number * p) for A, p in skewed.items())


@given(SEEDS)
def test_haar_moments_by_exact_quadrature_over_the_circle(seed):
    # P = 2, k = 1: Q = (cos t, sin t), and <Au, Av>^2 is a trigonometric polynomial of degree 4: eight angles are exact.
    u, v = np.random.default_rng(seed).standard_normal((2, 2))
    angles = 2 * np.pi * np.arange(8) / 8
    law = equally(sqrt(2) * np.array([[np.cos(t)], [np.sin(t)]]) for t in angles)
    mean, variance = moments(law, u, v)
    np.testing.assert_allclose(mean, u @ v, **CLOSE)
    np.testing.assert_allclose(variance, pr.inner_product_variance("haar", u, v, 1), **CLOSE)


@given(SEEDS)
def test_gaussian_moments_by_exact_quadrature(seed):
    # k = 1, P = 2: Gauss-Hermite with five nodes is exact to degree 9.
    u, v = np.random.default_rng(seed).standard_normal((2, 2))
    x, w = np.polynomial.hermite_e.hermegauss(5)
    law = [
        (np.array([[a], [b]]), p * q / (2 * np.pi))
        for a, p in zip(x, w, strict=True)
        for b, q in zip(x, w, strict=True)
    ]
    mean, variance = moments(law, u, v)
    np.testing.assert_allclose(mean, u @ v, **CLOSE)
    np.testing.assert_allclose(variance, pr.inner_product_variance("gaussian", u, v, 1), **CLOSE)


@pytest.mark.parametrize(("P", "k"), [(16, 6), (12, 3)])
@pytest.mark.parametrize("kind", pr.KINDS)
def test_moments_table_by_monte_carlo(kind, P, k):
    rng, number = np.random.default_rng(7), 1500
    u, v = rng.standard_normal((2, P))
    shape = (P // 4, 4)
    nonzeros = 3  # divides both k
    maps = (pr.draw(kind, P, k, rng=rng, shape=shape, nonzeros=nonzeros) for _ in range(number))
    values = np.array([(u @ A) @ (v @ A) for A in maps])
    variance = pr.inner_product_variance(kind, u, v, k, shape=shape)
    centred = values - u @ v
    spread = np.sqrt(np.var(centred**2) / number)
    z_mean = centred.mean() / np.sqrt(variance / number)
    z_variance = ((centred**2).mean() - variance) / spread
    # 48 z-scores below 4.5: a right sampler fails at three seeds in ten thousand.
    assert abs(z_mean) < 4.5
    assert abs(z_variance) < 4.5
    assert abs((centred**2).mean() - 2 * variance) / spread > 4.5


@given(SEEDS, st.integers(1, 9), st.integers(1, 5))
def test_unified_form_gives_every_row_with_signs(seed, P, k):
    u, v = np.random.default_rng(seed).standard_normal((2, P))
    uniform, run = np.full((P, P), 1 / k), pr.runs_of(P, k)
    for kind in ("countsketch", "sjlt_block", "sjlt_uniform", "rademacher", "srht_replace"):
        np.testing.assert_allclose(
            pr.inner_product_variance(kind, u, v, k), pr.signed_map_variance(u, v, uniform), **CLOSE
        )
    apart = np.where(run[:, None] == run, 0.0, 1 / k)
    contiguous = pr.inner_product_variance("contiguous", u, v, k)
    np.testing.assert_allclose(contiguous, pr.signed_map_variance(u, v, apart), **CLOSE)
    assert contiguous <= pr.inner_product_variance("countsketch", u, v, k) + TOL["float64"]
    padded = pr.padded_dimension(P)
    if k <= padded:
        share = (padded - k) / (k * max(padded - 1, 1))
        srht = pr.signed_map_variance(u, v, np.full((P, P), share))
        np.testing.assert_allclose(pr.inner_product_variance("srht", u, v, k), srht, **CLOSE)


@pytest.mark.parametrize(
    ("shape", "k", "hashes"),
    [((2, 2), 3, free), ((1, 3), 2, free), ((3, 1), 2, free), ((3, 2), 2, bijective), ((2, 2), 3, bijective),
     ((2, 3), 2, bijective), ((2, 2), 2, bijective), ((2, 2), 1, bijective)],
)  # fmt: skip
def test_tensor_sketch_variance_by_enumeration(shape, k, hashes):
    law, rng = law_tensorsketch(shape, k, hashes), np.random.default_rng(2)
    for rank_one in (False, True):
        U, V = rng.standard_normal((2, *shape))
        if rank_one:
            U, V = (np.outer(X[:, 0], X[0]) for X in (U, V))
        mean, variance = moments(law, U.ravel(), V.ravel())
        np.testing.assert_allclose(mean, np.sum(U * V), **CLOSE)
        formula = pr.tensor_sketch_variance(U, V, k, bijective=hashes is bijective)
        np.testing.assert_allclose(variance, formula, **CLOSE)


def test_bijective_tensor_sketches_are_drawn_from_their_law():
    rng = np.random.default_rng(1)
    law = {tuple(A.ravel()) for A, _ in law_tensorsketch((3, 2), 2, bijective)}
    drawn = {tuple(pr.tensor_sketch((3, 2), 2, rng=rng, bijective=True).ravel()) for _ in range(1500)}
    assert drawn == law
    assert {tuple(pr.tensor_sketch((3, 2), 2, rng=rng).ravel()) for _ in range(200)} - law


def test_tensor_sketch_is_a_circular_convolution():
    # The map of a rank-one matrix is the convolution of the two vectors' CountSketches: its transform is a product.
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal(5), rng.standard_normal(3)
    A = pr.tensor_sketch((5, 3), 4, rng=rng)
    whole = (np.outer(a, b).ravel() @ A).reshape(-1)
    rows, columns = A.reshape(5, 3, 4)[:, 0], A.reshape(5, 3, 4)[0]
    # Sketches of each side up to the common shift and sign of the corner, which is divided out.
    corner = A.reshape(5, 3, 4)[0, 0]
    left, right, middle = (np.fft.fft(x) for x in (a @ rows, b @ columns, corner))
    np.testing.assert_allclose(np.fft.fft(whole), left * right / middle, **CLOSE)


@pytest.mark.parametrize("kind", pr.KINDS)
@given(seed=SEEDS)
def test_whole_kernel_expectation_is_the_sum_over_entries(kind, seed):
    Phi, k = np.random.default_rng(seed).standard_normal((3, 6)), 3
    options = {"sparsity": 5.0, "shape": (2, 3)}
    total = sum(pr.inner_product_variance(kind, u, v, k, **options) for u in Phi for v in Phi)
    expected = pr.kernel_error_expectation(kind, Phi, k, **options)
    np.testing.assert_allclose(expected, total, **CLOSE)
    if kind != "gaussian":
        assert differs(expected, pr.kernel_error_expectation("gaussian", Phi, k))


def test_rows_of_the_table_by_hand():
    flat = np.full(16, 1 / 4)
    rows = {"haar": 1 / 9, "srht": 1 / 8, "countsketch": 15 / 64, "gaussian": 1 / 4}
    for kind, value in rows.items():
        assert pr.inner_product_variance(kind, flat, flat, 8) == pytest.approx(value, rel=TOL["hand"])
    assert pr.inner_product_variance("coordinates", flat, flat, 8) == pytest.approx(0, abs=TOL["hand"])
    assert pr.inner_product_variance("haar", flat, flat, 16) == 0
    assert pr.variance_coefficients("srht", 1, 1) == pr.VarianceCoefficients(0, 0, 0)
    assert pr.variance_coefficients("srht_replace", 1, 1) == pr.VarianceCoefficients(1, 1, -2)


def test_achlioptas_and_padding():
    wide = pr.variance_coefficients("achlioptas", 9, 2, sparsity=3.0)
    assert wide == pr.variance_coefficients("gaussian", 9, 2)
    assert pr.variance_coefficients("achlioptas", 9, 2, sparsity=1) == pr.variance_coefficients("rademacher", 9, 2)
    assert [pr.padded_dimension(P) for P in (1, 2, 3, 8, 9)] == [1, 2, 4, 8, 16]
    assert pr.runs_of(7, 3).tolist() == [0, 0, 0, 1, 1, 1, 2]


@given(SEEDS, st.integers(1, 6))
def test_haar_maps_are_scaled_orthonormal(seed, k):
    A = pr.haar(6, k, rng=np.random.default_rng(seed))
    np.testing.assert_allclose(A.T @ A, 6 / k * np.eye(k), **CLOSE)


def test_cex_16_a_fixed_orthonormal_map_loses_a_vector():
    A = pr.orthonormal_map(np.eye(4)[:, :2])
    assert np.eye(4)[2] @ A @ A.T @ np.eye(4)[2] == 0
    assert np.eye(4)[0] @ A @ A.T @ np.eye(4)[0] == pytest.approx(2, rel=TOL["hand"])


# Exact laws


@given(st.integers(1, 2000), st.floats(0.01, 2.0))
def test_failure_probabilities_are_those_of_the_laws(k, eps):
    gauss = chi2.cdf(k * (1 - eps), k) + chi2.sf(k * (1 + eps), k)
    assert pr.failure_probability("gaussian", k, eps) == pytest.approx(gauss, rel=TOL["tail"], abs=1e-300)
    P = 4 * k
    law = beta(k / 2, (P - k) / 2)
    expected = law.cdf((1 - eps) / 4) + law.sf((1 + eps) / 4)
    assert pr.failure_probability("haar", k, eps, P=P) == pytest.approx(expected, rel=TOL["tail"], abs=1e-300)
    assert pr.failure_probability("haar", k, eps, P=k) == 0
    assert pr.union_bound("gaussian", 7, k, eps) == pytest.approx(21 * gauss, rel=TOL["tail"], abs=1e-300)


def test_squared_lengths_follow_the_laws():
    rng, u = np.random.default_rng(3), np.full(8, 1 / sqrt(8))
    for kind, P in (("gaussian", None), ("haar", 8)):
        lengths = np.array([np.sum((u @ pr.draw(kind, 8, 3, rng=rng)) ** 2) for _ in range(3000)])
        p = pr.failure_probability(kind, 3, 0.5, P=P)
        share = np.mean(np.abs(lengths - 1) > 0.5)
        assert abs(share - p) < 4.5 * sqrt(p * (1 - p) / 3000)  # seven false alarms in a million seeds
    gap = pr.failure_probability("gaussian", 3, 0.5) - pr.failure_probability("haar", 3, 0.5, P=8)
    assert gap > 9 * sqrt(p * (1 - p) / 3000)  # so the two laws cannot be taken for each other


TABLE = [
    (500, 0.1, 4972, 5327, (4050, 4048), (5245, 5243), (5896, 5893)),
    (1300, 0.05, 22945, 23736, (18977, 18945), (23664, 23613), (26199, 26137)),
    (1300, 0.1, 5737, 6146, (4811, 4809), (6019, 6016), (6674, 6670)),
    (1300, 0.2, 1435, 1655, (1257, 1257), (1581, 1581), (1757, 1757)),
    (1300, 0.3, 638, 797, (588, 588), (741, 741), (824, 824)),
    (9469, 0.1, 7325, 7848, (6416, 6412), (7643, 7638), (8306, 8300)),
]


@pytest.mark.parametrize(("n", "eps", "simplified", "printed", "existence", "five", "one"), TABLE)
def test_the_dimension_table_of_4_2(n, eps, simplified, printed, existence, five, one):
    assert pr.simplified_dimension(n, eps) == simplified
    assert pr.dasgupta_gupta_dimension(n, eps) == printed
    for delta, pair in ((1 - 1 / n, existence), (0.05, five), (0.01, one)):
        found = (
            pr.smallest_dimension("gaussian", n, eps, delta),
            pr.smallest_dimension("haar", n, eps, delta, P=RESNET),
        )
        assert found == pair
        assert pr.union_bound("gaussian", n, pair[0], eps) <= delta < pr.union_bound("gaussian", n, pair[0] - 1, eps)


@given(st.integers(1, 40), st.floats(0.2, 1.5), st.sampled_from([0.05, 0.5, 0.9]), st.sampled_from([None, 30]))
def test_smallest_dimension_is_the_first_that_is_enough(n, eps, delta, P):
    kind = "gaussian" if P is None else "haar"
    found = pr.smallest_dimension(kind, n, eps, delta, P=P)
    linear = next(k for k in range(1, 10**5) if pr.union_bound(kind, n, k, eps, P=P) <= delta)
    assert found == linear


def test_union_bound_at_the_simplified_threshold():
    at_threshold = [pr.union_bound("gaussian", 1300, pr.simplified_dimension(1300, e), e) for e in (0.1, 0.3, 0.5, 0.9)]
    assert [round(x, d) for x, d in zip(at_threshold, (2, 2, 2, 1), strict=True)] == [0.1, 0.37, 1.14, 6.2]
    for n, eps in product((2, 10, 1300, 10**6), (0.05, 0.3, 0.9, 0.999)):
        assert pr.union_bound("gaussian", n, pr.dasgupta_gupta_dimension(n, eps), eps) < 1  # a theorem


def test_guaranteed_and_typical_distortion_of_4_2():
    guaranteed = [round(pr.guaranteed_distortion("gaussian", 1300, k, 0.05), 3) for k in (1000, 2048, 4096)]
    assert guaranteed == [0.255, 0.175, 0.122]
    assert [round(pr.typical_distortion(k), 3) for k in (1000, 2048, 4096)] == [0.045, 0.031, 0.022]
    assert pr.guaranteed_distortion("haar", 1300, 4096, 0.05, P=RESNET) < pr.guaranteed_distortion(
        "gaussian", 1300, 4096, 0.05
    )


@given(st.integers(1, 50), st.integers(1, 50), st.sampled_from([0.05, 0.5]))
def test_guaranteed_distortion_is_the_smallest(n, k, delta):
    eps = pr.guaranteed_distortion("gaussian", n, k, delta)
    assert eps == 0 or pr.union_bound("gaussian", n, k, eps) <= delta
    assert eps == 0 or pr.union_bound("gaussian", n, k, eps * (1 - TOL["tail"])) > delta
    assert (eps == 0) == (n == 1)
    assert pr.guaranteed_distortion("haar", n, k, delta, P=k) == 0


# Inner products


@given(st.integers(1, 60), st.floats(0.05, 2))
def test_inner_product_law_at_its_closed_ends(k, eps):
    # cosine 1: the chi-squared law itself; cosine 0 and k = 2: half a difference of exponentials, the Laplace law.
    assert pr.inner_product_failure(k, 1.0, eps) == pytest.approx(
        pr.failure_probability("gaussian", k, eps), rel=TOL["tail"]
    )
    assert pr.inner_product_failure(k, -1.0, eps) == pytest.approx(
        pr.inner_product_failure(k, 1.0, eps), rel=TOL["hand"]
    )
    assert pr.inner_product_failure(2, 0.0, eps) == pytest.approx(np.exp(-2 * eps), rel=TOL["tail"])


@pytest.mark.parametrize("cosine", [0.0, 0.6, -0.6])
@pytest.mark.parametrize("k", [1, 5])
def test_inner_product_law_by_monte_carlo(cosine, k):
    rng, number = np.random.default_rng(11), 200_000
    X, Y = rng.standard_normal((2, number, k)) / sqrt(k)
    inner = np.sum(X * (cosine * X + sqrt(1 - cosine**2) * Y), axis=1)
    for eps in (0.2, 1.0):
        p = pr.inner_product_failure(k, cosine, eps)
        share = np.mean(np.abs(inner - cosine) > eps)
        assert abs(share - p) < 4.5 * sqrt(p * (1 - p) / number)  # one false alarm in ten thousand seeds for the twelve
        wrong = pr.inner_product_failure(k, cosine, 1.1 * eps)
        assert abs(share - wrong) > 4.5 * sqrt(p * (1 - p) / number)


@given(st.integers(1, 400), st.floats(0, 1), st.floats(0, 1), st.floats(0.05, 0.5))
def test_parallel_vectors_are_the_worst_case(k, first, second, eps):
    low, high = sorted((first, second))
    if high - low > 1e-3 and k * eps**2 > 8:  # in the tail; around the median the order is another
        assert pr.inner_product_failure(k, low, eps) <= pr.inner_product_failure(k, high, eps) * (1 + TOL["tail"])


def test_inner_product_dimensions_of_4_2():
    assert pr.inner_product_dimension(1, 0.1, 0.05) == 1  # no pairs
    assert pr.inner_product_dimension(1300, 0.1, 0.05) == 6019
    assert pr.inner_product_dimension(1300, 0.1, 0.05, norms=True) == 6020
    assert pr.inner_product_dimension(1300, 0.1, 0.05, cosine=0.0) == 2952
    assert pr.inner_product_dimension(1300, 0.1, 0.05, cosine=0.0, norms=True) == 3462


def test_cex_17_exact_distances_and_wrong_inner_products():
    onto = np.eye(3) - 1 / 3
    basis = np.linalg.svd(onto)[0][:, :2]
    images = np.eye(3) @ basis
    assert pr.distance_distortion(np.eye(3), images) == pytest.approx(0, abs=TOL["hand"])
    np.testing.assert_allclose(images @ images.T, onto, **HAND)
    np.testing.assert_allclose(np.linalg.eigvalsh(images @ images.T), [0, 1, 1], **HAND)
    # With the origin in the set the distances are no longer kept.
    with_origin = np.vstack([np.eye(3), np.zeros(3)])
    assert pr.distance_distortion(with_origin, with_origin @ basis) == pytest.approx(1 / 3, rel=TOL["hand"])


@given(SEEDS, st.integers(2, 5))
def test_inner_products_with_the_origin_or_both_signs_in_the_set(seed, n):
    rng = np.random.default_rng(seed)
    X, A = rng.standard_normal((n, 6)), pr.gaussian(6, 20, rng=rng)
    with_origin = np.vstack([X, np.zeros(6)])
    eps = pr.distance_distortion(with_origin, with_origin @ A)
    units = X / np.linalg.norm(X, axis=1, keepdims=True)
    both = np.vstack([units, -units])
    eps_signs = pr.distance_distortion(both, both @ A)
    for i, j in combinations(range(n), 2):
        u, v = X[i], X[j]
        error = abs((u @ A) @ (v @ A) - u @ v)
        assert error <= pr.inner_product_bound_with_origin(u, v, eps) * (1 + TOL["float64"])
        assert error <= pr.inner_product_bound_with_signs(u, v, eps_signs) * (1 + TOL["float64"])


def test_inner_product_bounds_by_hand_and_attained():
    assert pr.inner_product_bound_with_origin([2, 0], [0, 1], 0.1) == pytest.approx(0.5, rel=TOL["hand"])
    assert pr.inner_product_bound_with_origin([2, 0], [1, 0], 0.1) == pytest.approx(0.3, rel=TOL["hand"])
    assert pr.inner_product_bound_with_signs([2, 0], [1, 1], 0.1) == pytest.approx(0.2 * sqrt(2), rel=TOL["hand"])
    # Lengths kept up to 1 + eps in the direction of u = v: the bound with signs is an equality.
    assert pr.inner_product_bound_with_signs([1, 0], [1, 0], 0.21) == pytest.approx(1.1**2 - 1, rel=TOL["hand"])
    assert pr.distance_distortion([[0, 0], [1, 0], [0, 2]], [[0.0], [0.5], [2.0]]) == pytest.approx(
        0.75, rel=TOL["hand"]
    )


# Refusals

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pr.draw("fourier", 2, 2, rng=RNG), "kind: expected one of gaussian, .* got 'fourier'"),
        (lambda: pr.draw("tensorsketch", 4, 2, rng=RNG), r"shape: expected a pair \(p, q\), got None"),
        (lambda: pr.draw("tensorsketch", 4, 2, rng=RNG, shape=(3, 2)), "shape: expected p q = 4"),
        (lambda: pr.draw("tensorsketch", 4, 2, rng=RNG, shape=(1, 2, 2)), r"shape: expected a pair \(p, q\)"),
        (lambda: pr.tensor_sketch((0, 2), 2, rng=RNG), "shape: expected an integer in"),
        (lambda: pr.tensor_sketch((1, 2), 0, rng=RNG), "k: expected an integer in"),
        (lambda: pr.achlioptas(2, 2, rng=RNG, sparsity=0.5), "sparsity: expected a number that is 1 or above"),
        (lambda: pr.sjlt_block(2, 4, rng=RNG, nonzeros=3), "nonzeros: expected a divisor of k = 4, got 3"),
        (lambda: pr.sjlt_block(2, 4, rng=RNG, nonzeros=0), r"nonzeros: expected an integer in \[1, 4\]"),
        (lambda: pr.sjlt_uniform(2, 4, rng=RNG, nonzeros=5), r"nonzeros: expected an integer in \[1, 4\]"),
        (lambda: pr.srht(3, 5, rng=RNG), r"k: expected an integer in \[1, 4\]"),
        (lambda: pr.haar(3, 4, rng=RNG), r"k: expected an integer in \[1, 3\]"),
        (lambda: pr.orthonormal_map([[1], [1]]), "basis: expected orthonormal columns"),
        (lambda: pr.padded_dimension(0), "P: expected an integer in"),
        (lambda: pr.runs_of(0, 1), "P: expected an integer in"),
        (lambda: pr.runs_of(1, 0), "k: expected an integer in"),
        (lambda: pr.variance_coefficients("contiguous", 2, 2), "kind: expected one of gaussian"),
        (lambda: pr.variance_coefficients("gaussian", 0, 2), "P: expected an integer in"),
        (lambda: pr.variance_coefficients("gaussian", 2, 0), "k: expected an integer in"),
        (lambda: pr.variance_coefficients("haar", 2, 3), r"k: expected an integer in \[1, 2\]"),
        (lambda: pr.variance_coefficients("srht", 3, 5), r"k: expected an integer in \[1, 4\]"),
        (lambda: pr.variance_coefficients("achlioptas", 3, 5, sparsity=0.0), "sparsity: expected a number that is 1"),
        (lambda: pr.inner_product_variance("fourier", [1], [1], 1), "kind: expected one of"),
        (lambda: pr.inner_product_variance("gaussian", [1], [1, 2], 1), "v: expected length 1"),
        (lambda: pr.inner_product_variance("tensorsketch", [1], [1], 1), r"shape: expected a pair \(p, q\)"),
        (lambda: pr.signed_map_variance([1, 2], [1], [[1]]), "v: expected length 2"),
        (lambda: pr.signed_map_variance([1, 2], [1, 2], [[1]]), "squared_overlaps: expected 2 rows"),
        (lambda: pr.tensor_sketch_variance([[1]], [[1, 2]], 1), "V: expected 1 columns"),
        (lambda: pr.tensor_sketch_variance([[1]], [[1]], 0), "k: expected an integer in"),
        (lambda: pr.kernel_error_expectation("fourier", [[1]], 1), "kind: expected one of"),
        (lambda: pr.kernel_error_expectation("gaussian", [1], 1), "features: expected 2 axes"),
        (lambda: pr.failure_probability("srht", 1, 0.1), "kind: expected one of gaussian, haar, got 'srht'"),
        (lambda: pr.failure_probability("gaussian", 1, 0.0), "epsilon: expected a number above 0"),
        (lambda: pr.failure_probability("gaussian", 0, 0.1), "k: expected an integer in"),
        (lambda: pr.failure_probability("haar", 3, 0.1, P=2), r"P: expected an integer in \[3, inf\]"),
        (lambda: pr.union_bound("gaussian", 0, 1, 0.1), "n: expected an integer in"),
        (lambda: pr.smallest_dimension("gaussian", 2, 0.1, 0.0), "delta: expected a number above 0"),
        (lambda: pr.guaranteed_distortion("gaussian", 2, 1, 0.0), "delta: expected a number above 0"),
        (lambda: pr.typical_distortion(0), "k: expected an integer in"),
        (lambda: pr.dasgupta_gupta_dimension(1, 0.1), "n: expected an integer in"),
        (lambda: pr.dasgupta_gupta_dimension(2, 1.0), r"epsilon: expected a number in \[0, 1\)"),
        (lambda: pr.simplified_dimension(2, 0.0), "epsilon: expected a number above 0"),
        (lambda: pr.simplified_dimension(1, 0.5), "n: expected an integer in"),
        (lambda: pr.distance_distortion([[1.0], [1.0]], [[1.0], [1.0]]), "points: expected rows that differ"),
        (lambda: pr.distance_distortion([[1.0]], [[1.0]]), "number of points: expected an integer in"),
        (lambda: pr.distance_distortion([[1.0], [2.0]], [[1.0]]), "images: expected 2 rows"),
        (lambda: pr.inner_product_bound_with_origin([1], [1, 2], 0.1), "v: expected length 1"),
        (lambda: pr.inner_product_bound_with_origin([1], [1], 0.0), "epsilon: expected a number above 0"),
        (lambda: pr.inner_product_bound_with_signs([1], [1, 2], 0.1), "v: expected length 1"),
        (lambda: pr.inner_product_bound_with_signs([1], [1], 0.0), "epsilon: expected a number above 0"),
        (lambda: pr.inner_product_failure(1, 1.5, 0.1), r"cosine: expected a number in \[-1, 1\], got 1.5"),
        (lambda: pr.inner_product_failure(1, 0.5, 0.0), "epsilon: expected a number above 0"),
        (lambda: pr.inner_product_failure(0, 0.5, 0.1), "k: expected an integer in"),
        (lambda: pr.inner_product_dimension(0, 0.1, 0.1), "n: expected an integer in"),
        (lambda: pr.inner_product_dimension(2, 0.1, 0.0), "delta: expected a number above 0"),
        *((lambda name=name: getattr(pr, name)(0, 1, rng=RNG), "P: expected an integer in")
          for name in ("gaussian", "rademacher", "count_sketch", "coordinate_sampling", "contiguous_sketch", "srht")),
        *((lambda name=name: getattr(pr, name)(1, 0, rng=RNG), "k: expected an integer in")
          for name in ("gaussian", "achlioptas", "rademacher", "srht_with_replacement", "haar")),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_generator_and_a_dimension_are_demanded():
    with pytest.raises(TypeError, match=r"rng: expected a numpy.random.Generator, got int"):
        pr.gaussian(2, 2, rng=0)
    with pytest.raises(TypeError, match="P: expected an integer, got None"):
        pr.failure_probability("haar", 1, 0.1)
    with pytest.raises(TypeError, match="P: expected an integer, got None"):
        pr.smallest_dimension("haar", 3, 0.1, 0.1)
