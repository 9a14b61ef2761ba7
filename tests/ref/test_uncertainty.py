"""Predictive variance: primal and dual, per class and joint, against its definition; probabilities; twins that must fail."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import expit

from dntk_ref import uncertainty
from tests.ref.attribution_problems import kernel_of, problems
from tests.ref.sides import CLOSE, differs
from tests.tolerances import TOL


@given(problems())
def test_primal_and_dual_variance_are_one(problem):
    Phi, new, _, lam, _ = problem
    cross, K = kernel_of(Phi, new)
    own = np.sum(new**2, axis=2)
    dual = uncertainty.predictive_variance(own, cross, K, lam)
    np.testing.assert_allclose(uncertainty.predictive_variance_by_features(new, Phi, lam), dual, **CLOSE)
    assert (dual >= -TOL["float64"] * own).all()
    assert (dual <= own * (1 + TOL["float64"])).all()


@given(problems())
def test_the_variance_is_that_of_the_conditional_gaussian(problem):
    Phi, new, _, lam, _ = problem
    found = uncertainty.predictive_variance_by_features(new, Phi, lam)
    for c in range(len(Phi)):
        rows = np.concatenate([new[c], Phi[c]])
        precision = np.linalg.inv(rows @ rows.T + lam * np.eye(len(rows)))
        t = new.shape[1]
        # the covariance of new observations given the old is the inverse of their block of the precision
        conditional = np.diag(np.linalg.inv(precision[:t, :t])) - lam
        np.testing.assert_allclose(found[c], conditional, rtol=TOL["squared_kernel"], atol=TOL["squared_kernel"])


@given(problems())
def test_more_data_never_makes_it_larger(problem):
    Phi, new, _, lam, G = problem
    rest = [i for i in range(Phi.shape[1]) if i not in G]
    whole = uncertainty.predictive_variance_by_features(new, Phi, lam)
    fewer = uncertainty.predictive_variance_by_features(new, Phi[:, rest], lam)
    assert (whole <= fewer + TOL["float64"] * np.sum(new**2, axis=2)).all()


def test_a_variance_that_grows_with_data_is_seen():
    Phi = np.array([[[1.0], [2.0]]])
    fewer, whole = (uncertainty.predictive_variance_by_features([[[1.0]]], P, 1.0) for P in (Phi[:, :1], Phi))
    assert fewer > whole + TOL["apart"]
    assert differs(fewer, whole)


@given(problems())
def test_joint_variance_in_primal_and_dual_and_for_independent_logits(problem):
    Phi, new, _, lam, _ = problem
    J, J_new = Phi.transpose(1, 0, 2), new.transpose(1, 0, 2)  # (n, C, P): logits that share parameters
    found = uncertainty.joint_variance_by_features(J_new, J, lam)
    own, cross = np.einsum("tcp,tdp->tcd", J_new, J_new), np.einsum("tcp,ndp->tcnd", J_new, J)
    whole = np.einsum("ncp,mdp->ncmd", J, J)
    np.testing.assert_allclose(uncertainty.joint_variance(own, cross, whole, lam), found, **CLOSE)
    # the joint variance has seen more: never above that of a class alone
    alone = uncertainty.predictive_variance_by_features(new, Phi, lam)
    assert (np.einsum("tcc->ct", found) <= alone + TOL["float64"] * np.sum(new**2, axis=2)).all()
    # parameters of its own for every logit: per class again
    C, n, k = Phi.shape
    apart, new_apart = np.zeros((n, C, C * k)), np.zeros((new.shape[1], C, C * k))
    for c in range(C):
        apart[:, c, c * k : (c + 1) * k], new_apart[:, c, c * k : (c + 1) * k] = Phi[c], new[c]
    separate = uncertainty.joint_variance_by_features(new_apart, apart, lam)
    np.testing.assert_allclose(np.einsum("tcc->ct", separate), alone, **CLOSE)


@given(problems())
def test_the_amplitude_is_where_the_likelihood_is_largest(problem):
    Phi, _, y, lam, _ = problem
    K = kernel_of(Phi, Phi)[1]
    found = uncertainty.prior_amplitude(K, y, lam)

    def log_likelihood(c, a):
        covariance = a * (K[c] + lam * np.eye(y.shape[1]))
        return -y[c] @ np.linalg.solve(covariance, y[c]) / 2 - np.linalg.slogdet(covariance)[1] / 2

    for c in range(len(y)):
        assert log_likelihood(c, found[c]) > max(log_likelihood(c, found[c] * s) for s in (0.9, 1.1))


@given(st.floats(-6, 6), st.floats(0, 25))
def test_for_two_classes_it_is_near_the_average_of_the_logistic_function(mean, variance):
    def weighed(u):
        return expit(mean + variance**0.5 * u) * np.exp(-u * u / 2) / np.sqrt(2 * np.pi)

    exact = quad(weighed, -8, 8)[0]
    found = uncertainty.probit_probabilities([[mean], [0.0]], [[variance], [0.0]])[0, 0]
    assert abs(found - exact) < TOL["probit"]
    if variance > 4 and abs(mean) > 1:
        assert abs(expit(mean) - exact) > abs(found - exact)


def test_without_variance_it_is_softmax_and_with_it_less_sure():
    f = np.array([[2.0], [0.0], [-1.0]])
    plain = uncertainty.probit_probabilities(f, np.zeros((3, 1)))
    np.testing.assert_allclose(plain[:, 0], np.exp(f[:, 0]) / np.exp(f).sum(), **CLOSE)
    assert uncertainty.probit_probabilities(f, np.full((3, 1), 5.0)).max() < plain.max()


def test_the_shift_score_is_the_mean_over_classes():
    assert uncertainty.shift_score([[1.0, 0.0], [2.0, 4.0]]).tolist() == [1.5, 2.0]


def test_a_negative_variance_is_refused():
    with pytest.raises(ValueError, match="variance: expected numbers that are 0 or above, got -1"):
        uncertainty.probit_probabilities([[0.0]], [[-1.0]])
