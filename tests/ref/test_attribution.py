"""Attribution: the downdate against refitting, the first-order form as a limit, the score by hand; twins that must fail."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from dntk_ref import attribution, ridge
from tests.ref.attribution_problems import kernel_of, problems
from tests.ref.sides import CLOSE, HAND, differs
from tests.tolerances import TOL


@given(problems())
def test_the_downdate_is_the_refit_in_the_dual_and_in_the_primal(problem):
    Phi, new, y, lam, G = problem
    cross, K = kernel_of(Phi, new)
    refit = attribution.without_rows_by_refitting(cross, K, y, lam, G)
    np.testing.assert_allclose(attribution.without_rows(cross, K, y, lam, G), refit, **CLOSE)
    np.testing.assert_allclose(attribution.without_rows_by_features(new, Phi, y, lam, G), refit, **CLOSE)


@given(problems())
def test_the_refit_is_ridge_regression_on_the_other_rows(problem):
    Phi, new, y, lam, G = problem
    rest = [i for i in range(y.shape[1]) if i not in G]
    found = attribution.without_rows_by_refitting(*kernel_of(Phi, new), y, lam, G)
    weights = np.stack([ridge.ridge_weights(P[rest], t[rest], lam) for P, t in zip(Phi, y, strict=True)])
    np.testing.assert_allclose(found, np.einsum("ctk,ck->ct", new, weights), **CLOSE)


def test_a_downdate_that_forgets_to_invert_the_block_is_seen():
    rng = np.random.default_rng(0)
    Phi, new, y = rng.standard_normal((1, 5, 3)), rng.standard_normal((1, 2, 3)), rng.standard_normal((1, 5))
    cross, K = kernel_of(Phi, new)
    A = ridge.dual_inverse(K[0], 0.1)
    alpha = A @ y[0]
    broken = cross[0] @ (alpha - A[:, [0, 1]] @ (alpha[[0, 1]] / np.diag(A)[[0, 1]]))
    refit = attribution.without_rows_by_refitting(cross, K, y, 0.1, [0, 1])[0]
    assert differs(broken, refit)
    assert differs(attribution.first_order_without(cross, K, y, 0.1, [0, 1])[0], refit)


@given(problems())
def test_leaving_one_out_is_removing_it(problem):
    Phi, new, y, lam, _ = problem
    cross, K = kernel_of(Phi, new)
    own = attribution.leave_one_out_predictions(K, y, lam)
    effects = attribution.removal_effects(cross, K, y, lam)
    whole = attribution.machine_prediction(cross, K, y, lam)
    for i in range(y.shape[1]):
        without = attribution.without_rows_by_refitting(K[:, [i]], K, y, lam, [i])[:, 0]
        np.testing.assert_allclose(own[:, i], without, **CLOSE)
        gone = attribution.without_rows_by_refitting(cross, K, y, lam, [i])
        np.testing.assert_allclose(whole - effects[:, :, i], gone, **CLOSE)


@given(problems())
def test_a_weight_of_zero_removes_and_influence_is_the_slope_at_full_weight(problem):
    Phi, new, y, lam, G = problem
    cross, K = kernel_of(Phi, new)
    gone = attribution.without_rows_by_refitting(cross, K, y, lam, G)
    np.testing.assert_allclose(attribution.reweighted(cross, K, y, lam, G, 1.0), gone, **CLOSE)
    whole = attribution.machine_prediction(cross, K, y, lam)
    np.testing.assert_allclose(attribution.reweighted(cross, K, y, lam, G, 0.0), whole, **CLOSE)
    first = whole - attribution.first_order_without(cross, K, y, lam, G)
    # f_share = f - share first + O(share^2): what is left, over share, falls as share does.
    left = [
        np.abs((whole - attribution.reweighted(cross, K, y, lam, G, share)) / share - first).max()
        for share in (1e-2, 1e-4)
    ]
    size = np.abs(first).max() + np.abs(whole - gone).max()
    assert left[1] <= left[0] / 50 + TOL["float64"] * size / 1e-4


@given(problems())
def test_reweighting_solves_the_weighted_problem(problem):
    Phi, new, y, lam, G = problem
    omega = np.where(np.isin(np.arange(y.shape[1]), G), 0.25, 1.0)
    found = attribution.reweighted(*kernel_of(Phi, new), y, lam, G, 0.75)
    for c, (P, t) in enumerate(zip(Phi, y, strict=True)):
        w = np.linalg.solve(P.T @ (omega[:, None] * P) + lam * np.eye(P.shape[1]), P.T @ (omega * t))
        np.testing.assert_allclose(found[c], new[c] @ w, **CLOSE)


@given(problems())
def test_several_networks_are_their_features_side_by_side(problem):
    Phi, new, y, lam, _ = problem
    other, other_new = Phi[..., ::-1] ** 2, new[..., ::-1] ** 2
    scales = [attribution.mean_diagonal(kernel_of(P, P)[1]) for P in (Phi, other)]
    K = attribution.added_kernel([kernel_of(P, P)[1] for P in (Phi, other)], scales)
    cross = attribution.added_kernel([kernel_of(P, p)[0] for P, p in ((Phi, new), (other, other_new))], scales)
    beside = np.concatenate([Phi / scales[0] ** 0.5, other / scales[1] ** 0.5], axis=2)
    new_beside = np.concatenate([new / scales[0] ** 0.5, other_new / scales[1] ** 0.5], axis=2)
    np.testing.assert_allclose(attribution.mean_diagonal(K), 2.0, **CLOSE)
    expected = attribution.machine_prediction(*kernel_of(beside, new_beside), y, lam)
    np.testing.assert_allclose(attribution.machine_prediction(cross, K, y, lam), expected, **CLOSE)


def test_label_targets_sum_to_zero_over_classes():
    y = attribution.label_targets([2, 0, 1, 2], 3)
    np.testing.assert_allclose(y.sum(axis=0), 0, **HAND)
    assert y.argmax(axis=0).tolist() == [2, 0, 1, 2]


@given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_margins_are_told_from_each_class_by_a_loop(C, t, seed):
    rng = np.random.default_rng(seed)
    f, labels = rng.standard_normal((C, t)), rng.integers(0, C, t)
    others = [np.delete(f[:, i], labels[i]) for i in range(t)]
    largest = [f[labels[i], i] - others[i].max() for i in range(t)]
    odds = [f[labels[i], i] - np.log(np.exp(others[i]).sum()) for i in range(t)]
    np.testing.assert_allclose(attribution.machine_margin(f, labels), largest, **CLOSE)
    np.testing.assert_allclose(attribution.network_margin(f, labels), odds, **CLOSE)
    p = np.exp(f) / np.exp(f).sum(axis=0)
    own = p[labels, np.arange(t)]
    np.testing.assert_allclose(attribution.network_margin(f, labels), np.log(own / (1 - own)), **CLOSE)


@given(problems())
def test_the_linear_form_of_trak_is_ridge_regression_row_by_row(problem):
    Phi, new, y, lam, _ = problem
    found = attribution.trak_scores(new[0], Phi[0], y[0], lam)
    for i in range(y.shape[1]):
        pull = np.zeros(y.shape[1])
        pull[i] = y[0, i]
        np.testing.assert_allclose(found[:, i], new[0] @ ridge.ridge_weights(Phi[0], pull, lam), **CLOSE)
    assert differs(attribution.trak_scores(new[0], Phi[0], y[0], 2 * lam), found) or np.allclose(found, 0)


@given(st.integers(2, 7), st.integers(1, 4), st.integers(0, 2**32 - 1), st.booleans())
def test_the_score_is_the_mean_of_spearmans_correlation(S, t, seed, tied):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, S, t))
    if tied and S > 2:
        a[1] = a[0]
    expected = np.mean([spearmanr(a[:, i], b[:, i]).statistic for i in range(t)])
    np.testing.assert_allclose(attribution.linear_datamodelling_score(a, b), expected, **CLOSE)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda K: attribution.without_rows(K, K, np.ones((1, 2)), 1.0, [0, 1]), "rows: expected some of the 2 rows"),
        (
            lambda K: attribution.without_rows(K, K, np.ones((1, 2)), 1.0, [2]),
            r"rows: expected distinct integers in \[0, 1\]",
        ),
        (lambda K: attribution.without_rows(K, K, np.ones((1, 2)), 1.0, []), "rows: expected"),
        (lambda K: attribution.reweighted(K, K, np.ones((1, 2)), 1.0, [0, 0], 1.0), "rows: expected distinct"),
        (lambda K: attribution.label_targets([0, 3], 3), "labels: expected one at least, from 0 to 2, got \\[0, 3\\]"),
        (lambda K: attribution.machine_margin([[1.0]], [0]), "outputs: expected two classes or more, got 1"),
        (lambda K: attribution.linear_datamodelling_score([[1.0]], [[1.0]]), "predicted: expected two subsets or more"),
        (
            lambda K: attribution.linear_datamodelling_score([[1.0, 1.0], [2.0, 1.0]], [[1.0, 1.0], [2.0, 2.0]]),
            "predicted: expected margins that vary over subsets, got equal ones for input 1",
        ),
        (lambda K: attribution.mean_diagonal(0 * K), "mean of the kernel's diagonal: expected a number above 0"),
    ],
)
def test_what_has_no_answer_is_refused_in_one_line(call, line):
    with pytest.raises((ValueError, TypeError), match=line):
        call(np.eye(2)[None])
