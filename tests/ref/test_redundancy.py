"""Defs 3.1 and 3.2 and Prop B.6: printed readings, improved bounds, embedding versions, with twins that fail."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dntk_ref import cases, redundancy, subspace
from dntk_ref.cases import COUNTEREXAMPLES
from tests.ref.sides import CLOSE, HAND, differs
from tests.strategies import epsilons, features, generators, kernels, spectra
from tests.tolerances import TOL


def slack(K):
    """Rounding of a trace."""
    return TOL["float64"] * float(np.trace(K))


# Definition 3.1


@given(spectra(), generators())
def test_the_spectrum_is_the_one_that_was_put_in(values, rng):
    found = redundancy.spectrum(cases.kernel_with_spectrum(values, rng=rng))
    np.testing.assert_allclose(found, values, **CLOSE)
    assert (np.diff(found) <= 0).all()
    assert found.min() >= 0


def test_rounding_below_zero_is_clipped_and_a_negative_eigenvalue_refused():
    assert redundancy.spectrum(np.diag([1.0, -1e-12])).tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match=r"^kernel: expected no negative eigenvalue, got -1 beside 2$"):
        redundancy.spectrum(np.diag([2.0, -1.0]))
    with pytest.raises(ValueError, match="kernel: expected no negative eigenvalue, got -1 beside -1"):
        redundancy.spectrum([[-1.0]])


@given(spectra(), epsilons)
def test_the_truncation_rank_is_the_least_that_holds_enough(values, epsilon):
    r, total = redundancy.truncation_rank_of_spectrum(values, epsilon), values.sum()
    assert values[:r].sum() >= (1 - epsilon) * total - TOL["float64"] * total
    assert values[: r - 1].sum() < (1 - epsilon) * total
    assert redundancy.truncation_rank_of_spectrum(np.random.default_rng(0).permutation(values), epsilon) == r
    assert redundancy.truncation_rank_of_spectrum(1e-6 * values, epsilon) == r


@given(kernels(), epsilons, epsilons)
def test_the_truncation_rank_falls_as_epsilon_grows(K, first, second):
    low, high = sorted([first, second])
    assert redundancy.truncation_rank(K, high) <= redundancy.truncation_rank(K, low) <= len(K)
    assert redundancy.truncation_rank(K, 1.0) == 0
    assert redundancy.truncation_rank(K, 0.0) == np.linalg.matrix_rank(K, rtol=TOL["rank"] ** 2, hermitian=True)


@given(st.integers(1, 40), st.integers(1, 40), generators())
def test_rotation_does_not_change_the_rank_of_a_flat_spectrum(n, kept, rng):
    # (1 - eps) n = kept exactly: without the tolerance of the comparison, rounding would decide.
    assume(kept <= n)
    K = cases.kernel_with_spectrum(cases.flat_spectrum(n), rng=rng)
    assert redundancy.truncation_rank(K, 1 - kept / n) == kept


def test_ranks_by_hand():
    assert [redundancy.truncation_rank_of_spectrum([4, 3, 2, 1], e) for e in (0, 0.09, 0.1, 0.3, 0.6, 0.61, 1)] == [
        *(4, 4, 3, 2, 1, 1, 0)
    ]
    assert redundancy.truncation_rank(np.zeros((3, 3)), 0.05) == 0
    assert redundancy.truncation_rank_of_spectrum([0.0], 0.0) == 0


@given(kernels(), epsilons, st.sampled_from([1.25, 2.0, 4.0]))
def test_the_two_readings_of_data_redundancy_have_the_same_content(K, epsilon, gamma):
    first = redundancy.data_redundant_r1(K, epsilon, gamma)
    assert first == redundancy.data_redundant_r2(K, epsilon, 1 / gamma)
    assert first == (redundancy.truncation_rank(K, epsilon) <= len(K) / gamma)


def test_data_redundancy_at_its_edge():
    K = np.diag([1.0, 1.0, 0.0, 0.0])
    assert redundancy.data_redundant_r1(K, 0.0, 2.0)
    assert not redundancy.data_redundant_r1(K, 0.0, 2.1)
    assert redundancy.data_redundant_r2(K, 0.0, 0.5)
    assert not redundancy.data_redundant_r2(K, 0.0, 0.49)


def test_the_comparison_with_the_data_is_made_up_to_rounding():
    K = np.diag(np.repeat([1.0, 0.0], [29, 71]))
    assert redundancy.truncation_rank(K, 0.0) == 29
    assert redundancy.data_redundant_r1(K, 0.0, 1 / 0.29)
    assert redundancy.data_redundant_r2(K, 0.0, 0.29)  # 0.29 * 100 < 29 in floating point
    assert not redundancy.data_redundant_r2(K, 0.0, 0.2899)


@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1.0, 1e160])
def test_what_is_relative_knows_no_scale(scale):
    assert redundancy.parameter_redundancy(scale * np.diag([4.0, 3.0]), 1) == pytest.approx(0.6, rel=TOL["hand"])
    assert redundancy.participation_ratio(scale * np.eye(2)) == pytest.approx(2, rel=TOL["hand"])
    Phi, Pi = scale * np.array([[2.0, 0.0], [0.0, 1.0]]), np.diag([1.0, 0.0])
    assert redundancy.parameter_redundancy_r1(Phi, Pi) == pytest.approx(17**-0.5, rel=TOL["hand"])
    assert redundancy.parameter_redundancy_r2(Phi, Pi) == pytest.approx(0.2, rel=TOL["hand"])
    assert redundancy.parameter_redundant_r1(Phi, 0.25, 2.0)
    assert not redundancy.parameter_redundant_r1(Phi, 0.24, 2.0)


# The gloss of Definition 3.1, and what subsets can do


@given(kernels((2, 6)), st.data())
def test_the_residual_of_a_subset_is_that_of_projecting_on_its_rows(K, data):
    rows = data.draw(st.lists(st.integers(0, len(K) - 1), min_size=1, unique=True))
    values, vectors = np.linalg.eigh(K)
    Phi = vectors * np.sqrt(np.clip(values, 0, None))
    assert redundancy.subset_residual(K, rows) == pytest.approx(
        subspace.projection_residual(Phi, Phi[rows]), abs=TOL["squared_kernel"]
    )


def test_a_residual_far_below_the_trace_keeps_its_digits():
    # lambda_6 = e^-25: of sixteen digits of K five are left; a difference of traces has none.
    K = cases.kernel_with_spectrum(np.exp(-5.0 * np.arange(6)), rng=np.random.default_rng(0))
    inverse = 1 / np.diag(np.linalg.inv(K))  # what row i adds to the others: the Schur complement
    for i in range(6):
        others = [j for j in range(6) if j != i]
        assert redundancy.subset_residual(K, others) == pytest.approx(inverse[i], rel=TOL["float32"])
    assert redundancy.best_subset(K, 5).rows == tuple(j for j in range(6) if j != np.argmin(inverse))
    assert 0 <= redundancy.subset_residual(K, range(6)) < TOL["float64"] ** 2
    with pytest.raises(ValueError, match=r"^kernel: expected no negative eigenvalue, got -1 beside 2$"):
        redundancy.subset_residual(np.diag([2.0, -1.0]), [0])


@given(kernels((1, 5)), st.data())
def test_some_subset_meets_the_volume_sampling_bound(K, data):
    size = data.draw(st.integers(1, len(K)))
    best = redundancy.best_subset(K, size)
    all_of_them = [redundancy.subset_residual(K, list(rows)) for rows in combinations(range(len(K)), size)]
    assert best.residual == min(all_of_them)
    assert best.residual == redundancy.subset_residual(K, list(best.rows))
    tail = redundancy.spectrum(K)[size:].sum()
    assert tail - TOL["squared_kernel"] <= best.residual
    assert best.residual <= redundancy.volume_sampling_bound(K, size) + TOL["squared_kernel"]
    assert redundancy.volume_sampling_bound(K, size) == pytest.approx((size + 1) * tail, abs=slack(K))


@given(kernels((1, 5)), st.data())
def test_the_mean_residual_under_volume_sampling(K, data):
    size = data.draw(st.integers(0, len(K)))
    subsets = [list(rows) for rows in combinations(range(len(K)), size)]
    volumes = np.array([np.linalg.det(K[np.ix_(rows, rows)]) if rows else 1.0 for rows in subsets])
    assume(volumes.max() > TOL["rank"])
    residuals = [redundancy.subset_residual(K, rows) if rows else np.trace(K) for rows in subsets]
    found = redundancy.volume_sampling_residual(K, size)
    assert found == pytest.approx(volumes @ residuals / volumes.sum(), rel=TOL["rank"], abs=TOL["rank"])
    assert found <= redundancy.volume_sampling_bound(K, size) + TOL["squared_kernel"]


def test_the_factor_of_volume_sampling_cannot_be_improved():
    # The corners of a regular simplex about the origin, lifted a little: any r of the r + 1 leave (r + 1) times the tail.
    for r in (1, 2, 3):
        K = np.eye(r + 1) - (1 - 1e-5) / (r + 1)
        ratio = redundancy.best_subset(K, r).residual / redundancy.spectrum(K)[r:].sum()
        assert (r + 1) * (1 - 1e-3) < ratio <= (r + 1) * (1 + TOL["squared_kernel"])


def test_volume_sampling_beyond_the_rank_is_refused():
    with pytest.raises(ValueError, match=r"^size: expected at most the rank of the kernel, got 2$"):
        redundancy.volume_sampling_residual(np.diag([1.0, 0.0]), 2)
    for scale in (1e-150, 1e-9, 1.0, 1e8, 1e150):  # e_40 of these fifty is below or above every float64
        found = redundancy.volume_sampling_residual(scale * np.eye(50), 40)
        assert found == pytest.approx(10 * scale, rel=TOL["hand"])
        found = redundancy.volume_sampling_residual(scale * np.diag([4.0, 3.0, 1.0]), 2)
        assert found == pytest.approx(3 * 12 / 19 * scale, rel=TOL["hand"])
    assert redundancy.volume_sampling_residual(np.diag([1.0, 0.0]), 1) == 0.0


def test_cex_8_the_gloss_fails_and_its_correction_holds():
    case = COUNTEREXAMPLES["CEX-8"]
    K, epsilon = case["kernel"], case.numbers["epsilon"]
    best = redundancy.best_subset(K, redundancy.truncation_rank(K, epsilon))
    assert 1 - best.residual / np.trace(K) == pytest.approx(case.numbers["captured"], rel=TOL["hand"])
    assert best.residual > redundancy.subset_bound_printed(K, epsilon) + TOL["apart"]
    assert best.residual <= redundancy.corrected_subset_bound(K, epsilon)


@given(kernels((2, 5)), epsilons)
def test_the_corrected_gloss_holds(K, epsilon):
    best = redundancy.best_subset(K, redundancy.truncation_rank(K, epsilon))
    assert best.residual <= redundancy.corrected_subset_bound(K, epsilon) + TOL["squared_kernel"]


@given(features((2, 5), (2, 6)), epsilons)
def test_that_many_combinations_do_what_the_gloss_says(Phi, epsilon):
    K = Phi @ Phi.T
    r = redundancy.truncation_rank(K, epsilon)
    U = np.linalg.eigh(K)[1][:, ::-1][:, :r]
    assert subspace.projection_residual(Phi, U.T @ Phi) <= redundancy.subset_bound_printed(K, epsilon) + slack(K)


# Definition 3.2


@st.composite
def projected(draw):
    """Features with a random projector of rank r."""
    Phi = draw(features())
    P = Phi.shape[1]
    r = draw(st.integers(0, P))
    return Phi, cases.random_projector(P, r, rng=draw(generators())), r


@given(projected())
def test_the_readings_of_parameter_redundancy_by_their_formulas(case):
    Phi, Pi, _ = case
    K, K_V = Phi @ Phi.T, Phi @ Pi @ Phi.T
    first = redundancy.parameter_redundancy_r1(Phi, Pi)
    assert first == pytest.approx(np.linalg.norm(K - K_V) / np.linalg.norm(K), abs=TOL["float64"])
    assert redundancy.parameter_redundancy_r1_squared(Phi, Pi) == pytest.approx(first**2, abs=TOL["float64"])
    second = redundancy.parameter_redundancy_r2(Phi, Pi)
    assert second == pytest.approx(np.trace(K - K_V) / np.trace(K), abs=TOL["float64"])


@given(projected())
def test_no_subspace_beats_the_leading_singular_vectors_in_any_reading(case):
    Phi, Pi, r = case
    best = redundancy.optimal_parameter_projector(Phi, r)
    for reading in (
        redundancy.parameter_redundancy_r1,
        redundancy.parameter_redundancy_r1_squared,
        redundancy.parameter_redundancy_r2,
    ):
        assert reading(Phi, best) <= reading(Phi, Pi) + TOL["float64"]


@given(features(), st.data())
def test_eckart_young_is_attained_and_is_a_bound(Phi, data):
    K = Phi @ Phi.T
    r = data.draw(st.integers(0, min(Phi.shape)))
    least = redundancy.eckart_young_error(K, r)
    kept = Phi @ redundancy.optimal_parameter_projector(Phi, r)
    assert np.linalg.norm(K - kept @ kept.T) == pytest.approx(least, abs=slack(K))
    factor = data.draw(generators()).standard_normal((len(K), r))
    assert np.linalg.norm(K - factor @ factor.T) >= least - slack(K)
    at_best = redundancy.parameter_redundancy_r1(Phi, redundancy.optimal_parameter_projector(Phi, r))
    assert redundancy.parameter_redundancy(K, r) == pytest.approx(at_best, abs=TOL["root"])
    assert redundancy.truncation_error_squared(K, r) == pytest.approx(
        np.linalg.norm(K - kept @ kept.T) ** 2, abs=slack(K)
    )


@given(features((1, 5), (2, 8)), epsilons, st.sampled_from([1.0, 1.5, 2.0, 4.0]))
def test_parameter_redundancy_asks_for_a_dimension_of_at_most_p_over_gamma(Phi, epsilon, gamma):
    K, P = Phi @ Phi.T, Phi.shape[1]
    dimension = redundancy.largest_redundant_dimension(P, gamma)
    assert dimension <= P / gamma < dimension + 1
    r = min(dimension, len(K))
    value, room = redundancy.parameter_redundancy(K, r), TOL["root"]
    for reading, quantity in (
        (redundancy.parameter_redundant_r1, value),
        (redundancy.parameter_redundant_r1_squared, value**2),
        (redundancy.parameter_redundant_r2, redundancy.spectrum(K)[r:].sum() / np.trace(K)),
    ):
        if abs(quantity - epsilon) > room:
            assert reading(Phi, epsilon, gamma) == (quantity < epsilon)


@pytest.mark.parametrize(
    "reading", ["parameter_redundant_r1", "parameter_redundant_r1_squared", "parameter_redundant_r2"]
)
def test_redundancy_holds_at_equality(reading):
    Phi = np.diag([1.0, 1.0, 0.0, 0.0])  # two of four dimensions hold everything: both sides are nought
    assert getattr(redundancy, reading)(Phi, 0.0, 2.0)
    assert not getattr(redundancy, reading)(Phi, 0.0, 4.0)


@given(features((1, 5), (2, 8)), epsilons)
def test_in_the_second_reading_the_least_dimension_is_the_truncation_rank(Phi, epsilon):
    r = redundancy.truncation_rank(Phi @ Phi.T, epsilon)
    at = redundancy.parameter_redundancy_r2(Phi, redundancy.optimal_parameter_projector(Phi, r))
    assert at <= epsilon + TOL["float64"]
    below = redundancy.parameter_redundancy_r2(Phi, redundancy.optimal_parameter_projector(Phi, r - 1))
    assert below > epsilon


def test_nothing_is_redundant_to_nothing():
    zero = np.zeros((2, 3))
    assert redundancy.parameter_redundancy(np.zeros((2, 2)), 1) == 0.0
    assert redundancy.parameter_redundancy_r1(zero, np.zeros((3, 3))) == 0.0
    assert redundancy.parameter_redundancy_r2(zero, np.zeros((3, 3))) == 0.0
    assert redundancy.participation_ratio(np.zeros((2, 2))) == 0.0


@given(kernels())
def test_the_participation_ratio_counts_equal_eigenvalues(K):
    found = redundancy.participation_ratio(K)
    assert found == pytest.approx(np.trace(K) ** 2 / np.sum(K**2), rel=TOL["float64"])
    assert 1 - TOL["float64"] <= found <= len(K) + TOL["float64"]
    assert redundancy.participation_ratio(np.kron(np.eye(3), K)) == pytest.approx(3 * found, rel=TOL["float64"])


# Prop B.6


@given(kernels(), epsilons)
def test_equations_23_to_25_and_both_combinations_hold(K, epsilon):
    values, r = redundancy.spectrum(K), redundancy.truncation_rank(K, epsilon)
    left = redundancy.truncation_error_squared(K, r)
    energy, room = np.sum(K**2), TOL["float64"] * np.trace(K) ** 2
    assert left == pytest.approx(np.sum(values[r:] ** 2), abs=room)
    assert left <= redundancy.tail_bound_r1_printed(K, epsilon) + room
    assert redundancy.tail_bound_r1_printed(K, epsilon) <= redundancy.tail_bound_r2_printed(K, epsilon) + room
    assert energy >= redundancy.energy_floor_printed(K) - room
    ratio = redundancy.parameter_redundancy(K, r)
    assert ratio <= redundancy.redundancy_bound_r1_printed(K, epsilon) + TOL["root"]
    assert ratio <= redundancy.redundancy_bound_r2_printed(K, epsilon) + TOL["root"]


@given(kernels(), epsilons)
def test_the_combined_bounds_are_the_quotients_of_their_parts(K, epsilon):
    floor = redundancy.energy_floor_printed(K)
    for tail, bound in (
        (redundancy.tail_bound_r1_printed, redundancy.redundancy_bound_r1_printed),
        (redundancy.tail_bound_r2_printed, redundancy.redundancy_bound_r2_printed),
    ):
        assert bound(K, epsilon) == pytest.approx(
            np.sqrt(tail(K, epsilon) / floor), rel=TOL["float64"], abs=TOL["float64"]
        )


@given(kernels(), epsilons)
def test_the_improved_bounds_hold_and_the_first_is_at_most_sqrt_epsilon(K, epsilon):
    r = redundancy.truncation_rank(K, epsilon)
    ratio = redundancy.parameter_redundancy(K, r)
    first = redundancy.improved_redundancy_bound_gap(K, epsilon)
    assert ratio <= first + TOL["root"]
    assert first <= np.sqrt(epsilon) + TOL["float64"]
    assert ratio <= redundancy.improved_redundancy_bound_mean(K, epsilon) + TOL["root"]


def test_the_bounds_of_b_6_by_hand():
    K, epsilon = np.diag([6.0, 2.0, 1.0, 1.0]), 0.25  # r = 2, next 1, last 2, mean 5/2, n = 4
    assert redundancy.truncation_rank(K, epsilon) == 2
    assert redundancy.truncation_error_squared(K, 2) == 2.0
    assert redundancy.tail_bound_r1_printed(K, epsilon) == 2.5
    assert redundancy.tail_bound_r2_printed(K, epsilon) == 6.25
    assert redundancy.energy_floor_printed(K) == 25.0
    squared = {
        redundancy.redundancy_bound_r1_printed: 0.1,
        redundancy.redundancy_bound_r2_printed: 0.25,
        redundancy.improved_redundancy_bound_gap: 0.125 / 0.875,
        redundancy.improved_redundancy_bound_mean: 0.25 / (0.5625 * 2.5) * 0.5,
        redundancy.projected_redundancy_bound_printed: 0.1,
    }
    for bound, expected in squared.items():
        assert bound(K, epsilon) ** 2 == pytest.approx(expected, rel=TOL["hand"])


def test_equation_25_is_an_equality_only_for_a_flat_spectrum():
    assert redundancy.energy_floor_printed(np.eye(5)) == pytest.approx(5.0, **{"rel": HAND["rtol"]})
    assert differs(redundancy.energy_floor_printed(np.diag([2.0, 1.0])), 5.0)


def test_all_directions_kept_leave_a_bound_of_zero():
    K = np.diag([2.0, 1.0])
    for bound in (
        redundancy.redundancy_bound_r1_printed,
        redundancy.improved_redundancy_bound_gap,
        redundancy.improved_redundancy_bound_mean,
    ):
        assert bound(K, 0.1) == 0.0  # r = n = 2, and lambda_3 counts as zero


B_6 = [
    redundancy.tail_bound_r1_printed,
    redundancy.tail_bound_r2_printed,
    redundancy.redundancy_bound_r1_printed,
    redundancy.redundancy_bound_r2_printed,
    redundancy.improved_redundancy_bound_gap,
    redundancy.improved_redundancy_bound_mean,
]


@pytest.mark.parametrize("bound", B_6)
def test_the_hypotheses_of_b_6_are_asked_for(bound):
    with pytest.raises(ValueError, match=r"^kernel: expected a kernel that is not zero, got zero$"):
        bound(np.zeros((2, 2)), 0.1)
    with pytest.raises(ValueError, match=r"^epsilon: expected a number in \[0, 1\), got 1.0$"):
        bound(np.eye(2), 1.0)


# Refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: redundancy.truncation_rank_of_spectrum([1.0, -1.0], 0.1),
            "eigenvalues: expected numbers that are 0 or",
        ),
        (lambda: redundancy.truncation_rank_of_spectrum([1.0], 1.1), r"epsilon: expected a number in \[0, 1\]"),
        (lambda: redundancy.data_redundant_r1([[1.0]], 0.1, 1.0), "gamma: expected a number above 1, got 1.0"),
        (lambda: redundancy.data_redundant_r2([[1.0]], 0.1, 1.0), r"gamma: expected a number in \(0, 1\), got 1.0"),
        (lambda: redundancy.data_redundant_r2([[1.0]], 0.1, 0.0), r"gamma: expected a number in \(0, 1\), got 0.0"),
        (lambda: redundancy.subset_residual(np.eye(2), [0, 0]), r"rows: expected distinct indices in \[0, 1\], got"),
        (lambda: redundancy.subset_residual(np.eye(2), [2]), r"rows: expected distinct indices in \[0, 1\], got \[2\]"),
        (lambda: redundancy.subset_residual(np.eye(2), [-1]), r"rows: expected distinct indices in \[0, 1\], got"),
        (lambda: redundancy.best_subset(np.eye(2), 3), r"size: expected an integer in \[1, 2\], got 3"),
        (lambda: redundancy.volume_sampling_bound(np.eye(2), 3), r"size: expected an integer in \[0, 2\], got 3"),
        (lambda: redundancy.volume_sampling_residual(np.eye(2), 3), r"size: expected an integer in \[0, 2\], got 3"),
        (lambda: redundancy.parameter_redundancy_r1(np.eye(2), np.eye(2) / 2), "projector: expected an orthogonal"),
        (lambda: redundancy.optimal_parameter_projector(np.eye(2), 3), r"rank: expected an integer in \[0, 2\], got 3"),
        (lambda: redundancy.parameter_redundancy(np.eye(2), 3), r"rank: expected an integer in \[0, 2\], got 3"),
        (
            lambda: redundancy.largest_redundant_dimension(3, 0.5),
            "gamma: expected a number that is 1 or above, got 0.5",
        ),
        (lambda: redundancy.parameter_redundant_r1(np.eye(2), 2.0, 2.0), r"epsilon: expected a number in \[0, 1\]"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
