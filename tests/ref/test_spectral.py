"""Certificates of spectra: bounds above the exact ranks and errors, intervals that hold as often as they say."""

from itertools import product
from math import inf, log, log1p

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from dntk_ref import spectral
from dntk_ref.projected_spectrum import rank_upper_bound, trace_failure_bound
from dntk_ref.redundancy import parameter_redundancy, truncation_rank
from tests.strategies import epsilons
from tests.tolerances import TOL

seeds = st.integers(0, 2**31)


def instance(seed):
    """Features with a decaying spectrum, and directions some of which are eigenvectors."""
    rng = np.random.default_rng(seed)
    n, P = rng.integers(2, 8), rng.integers(1, 9)
    Phi = rng.standard_normal((n, P)) * rng.choice([1.0, 0.3], n)[:, None]
    near = Phi + rng.choice([0.0, 0.1, 3.0]) * rng.standard_normal((n, P))
    Z = np.linalg.eigh(near @ near.T)[1][:, ::-1]
    return Phi, Z[:, : rng.integers(1, n + 1)]


@given(seeds, epsilons)
def test_the_completed_bound_lies_between_the_rank_and_the_plain_bound(seed, epsilon):
    Phi, Z = instance(seed)
    found = spectral.completed_rank_bound(Phi, Z, epsilon)
    assert truncation_rank(Phi @ Phi.T, epsilon) <= found <= rank_upper_bound(Phi, Z, epsilon)


def test_the_completed_bound_is_reached_and_its_twin_is_false():
    """A flat spectrum beside the direction: any more of them hold the average, and nothing less would do."""
    Phi, Z = np.diag([2.0, 1.0, 1.0, 1.0, 1.0]), np.eye(5)[:, :1]
    for epsilon in (0.0, 0.125, 0.25, 0.3, 0.375, 0.6):
        assert spectral.completed_rank_bound(Phi, Z, epsilon) == truncation_rank(Phi @ Phi.T, epsilon)
    # The twin counts the average over all n: (1 - 1/4) 8 - 4 = 2 of an average 8/5 would be one more direction.
    assert 1 + int(np.floor(2 / (8 / 5))) < truncation_rank(Phi @ Phi.T, 0.25) == 3


@given(seeds)
def test_the_redundancy_bound_by_energies(seed):
    Phi, Z = instance(seed)
    bound = spectral.redundancy_bound_by_energies(Phi, Z)
    assert parameter_redundancy(Phi @ Phi.T, Z.shape[1]) <= bound + TOL["root"]
    assert 0 <= bound <= 1


def test_redundancy_by_energies_by_hand():
    assert spectral.redundancy_bound_by_energies(np.eye(2), [[1.0], [0.0]]) == pytest.approx(2**-0.5, rel=TOL["hand"])
    assert spectral.redundancy_bound_by_energies(np.eye(2), np.eye(2)) == pytest.approx(0.0, abs=TOL["hand"])
    # The worse direction of two, 1 of 82: lambda_2 <= 82 / 2.
    found = spectral.redundancy_bound_by_energies(np.diag([1.0, 9.0]), [[1.0], [0.0]])
    assert found == pytest.approx((41 * 81 / (1 + 81**2)) ** 0.5, rel=TOL["hand"])
    # Energies 4, 1, 1 of five: rest 2 after them, lambda_4 <= min(8 / 4, 4 / 3, 3 / 2, 2 / 1).
    Phi, Z = np.diag([2.0, 1.0, 1.0, 1.0, 1.0]), np.eye(5)[:, :3]
    squared = (4 / 3) * 2 / (16 + 1 + 1 + 2**2 / 2)
    assert spectral.redundancy_bound_by_energies(Phi, Z) == pytest.approx(squared**0.5, rel=TOL["hand"])


def test_the_twin_of_the_redundancy_bound_is_false():
    """With the mean over r + 1 eigenvalues from j on, one too many, lambda_{r+1} comes out too small."""
    K, r, e = np.eye(2), 1, 1.0
    following = min(2 / (r + 2), (2 - e) / (r + 1))
    assert (following * (2 - e) / (e**2 + (2 - e) ** 2)) ** 0.5 < parameter_redundancy(K, r) - TOL["apart"]


@given(st.integers(1, 4000), st.floats(1e-3, 0.5))
def test_the_gaussian_interval_inverts_the_failure_bound(count, delta):
    found = spectral.trace_interval(1.0, count, delta, "gaussian")
    above, below = 1 / found.low - 1, 1 - 1 / found.high
    assert above - log1p(above) == pytest.approx(2 * log(2 / delta) / count, rel=TOL["tail"])
    assert -below - log1p(-below) == pytest.approx(2 * log(2 / delta) / count, rel=TOL["tail"])
    if above < 1:  # the larger of the two as a symmetric distortion fails with at most delta
        assert trace_failure_bound(count, above) <= delta * (1 + TOL["tail"])
    assert found.low < 1 < found.high


def test_the_gaussian_interval_covers_the_worst_kernel():
    """Rank one is the worst: tr K~ / tr K is chi-squared over its degrees of freedom, exactly."""
    for count, delta in ((5, 0.1), (50, 0.05), (500, 0.01)):
        found, law = spectral.trace_interval(1.0, count, delta, "gaussian"), scipy.stats.chi2(count)
        covered = law.cdf(count / found.low) - law.cdf(count / found.high)
        assert covered >= 1 - delta
        narrow = spectral.trace_interval(1.0, count, min(0.99, 20 * delta), "gaussian")  # the broken twin
        assert law.cdf(count / narrow.low) - law.cdf(count / narrow.high) < 1 - delta


@pytest.mark.parametrize("probes", [1, 2, 3])
@pytest.mark.parametrize("delta", [0.05, 0.3])
def test_the_interval_of_sign_probes_over_all_signs(probes, delta):
    """Every choice of the signs, for kernels of rank one (the worst), of full rank, and diagonal (no spread at all)."""
    signs = np.array(list(product([-1.0, 1.0], repeat=4)))
    for Phi in (np.ones((4, 1)), np.diag([1.0, 2.0, 3.0, 4.0]), np.tril(np.ones((4, 4)))):
        values, trace = np.sum((signs @ Phi) ** 2, axis=1), np.sum(Phi**2)
        means = [np.mean(drawn) for drawn in product(values, repeat=probes)]
        found = [spectral.trace_interval(T, probes, delta, "signs") for T in means]
        missed = np.mean(
            [not one.low <= trace * (1 + TOL["hand"]) or one.high < trace * (1 - TOL["hand"]) for one in found]
        )
        assert missed <= delta


def test_the_interval_of_many_sign_probes_is_finite_and_misses_seldom():
    rng, Phi, trace, count, delta = np.random.default_rng(0), np.ones((8, 1)), 8.0, 100, 0.2
    z = rng.choice([-1.0, 1.0], (2000, count, 8))
    means = np.mean((z @ Phi)[..., 0] ** 2, axis=1)

    def misses(level):
        found = [spectral.trace_interval(T, count, level, "signs") for T in means]
        assert all(one.high < inf for one in found)
        return np.mean([not one.low <= trace <= one.high for one in found])

    assert misses(delta) <= delta
    narrow = 1 / (1 + 0.05)  # the broken twin: five per cent on either side
    assert np.mean([not narrow * T <= trace <= T / 0.95 for T in means]) > delta


def test_the_interval_of_moments_by_hand_and_where_nothing_bounds_above():
    assert spectral.trace_interval(3.0, 40, 0.2, "moments") == spectral.TraceInterval(2.0, 6.0)
    assert spectral.trace_interval(3.0, 2, 0.2, "moments").high == inf
    assert spectral.trace_interval(3.0, 3, 0.2, "signs").high == inf
    assert spectral.trace_interval(0.0, 3, 0.2, "gaussian") == spectral.TraceInterval(0.0, 0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spectral.completed_rank_bound([1.0], [[1.0]], 0.1), "features: expected 2 axes"),
        (lambda: spectral.completed_rank_bound([[1.0]], [[1.0]], 1.1), r"epsilon: expected a number in \[0, 1\]"),
        (lambda: spectral.completed_rank_bound(np.eye(2), [[1.0], [1.0]], 0.1), "directions: expected orthonormal"),
        (lambda: spectral.redundancy_bound_by_energies([[0.0]], [[1.0]]), "tr K: expected a number above 0"),
        (lambda: spectral.trace_interval(-1.0, 1, 0.1, "signs"), "estimate: expected a number that is 0 or above"),
        (lambda: spectral.trace_interval(1.0, 0, 0.1, "signs"), "count: expected an integer"),
        (lambda: spectral.trace_interval(1.0, 1, 1.0, "signs"), r"delta: expected a number in \[0, 1\)"),
        (lambda: spectral.trace_interval(1.0, 1, 0.0, "signs"), "delta: expected a number above 0"),
        (lambda: spectral.trace_interval(1.0, 1, 0.1, "haar"), "kind: expected one of"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
