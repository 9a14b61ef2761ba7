"""Attribution and uncertainty: the fast path and the reference say the same of small networks, group by group."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dntk_fast import Retraining, Uncertainty, tangent_features
from dntk_fast.analysis import attribution as fast
from dntk_fast.analysis.uncertainty import probit_probabilities
from dntk_ref import attribution, uncertainty
from tests.fast.plain import features
from tests.tolerances import TOL

CLOSE = {"rtol": TOL["float64"], "atol": TOL["float64"]}
N, T, C = 9, 4, 3


def network(seed, outputs=C):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, outputs)).double().eval()


def inputs(seed):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.standard_normal((N, 3))), torch.tensor(rng.standard_normal((T, 3)))


LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2])


def by_definition(models, x, new):
    """Added kernel and blocks from gradients by plain automatic differentiation, in the reference."""
    pairs = [(features(model, x).numpy(), features(model, new).numpy()) for model in models]
    kernels = [Phi @ Phi.swapaxes(1, 2) for Phi, _ in pairs]
    scales = [attribution.mean_diagonal(K) for K in kernels]
    crosses = [phi @ Phi.swapaxes(1, 2) for Phi, phi in pairs]
    own = np.stack([np.sum(phi**2, axis=2) / s for (_, phi), s in zip(pairs, scales, strict=True)]).sum(axis=0)
    return attribution.added_kernel(kernels, scales), attribution.added_kernel(crosses, scales), own


@st.composite
def cases(draw):
    """One network or two, a ridge, and groups that leave a row of every class."""
    models = [network(seed) for seed in draw(st.lists(st.integers(0, 99), min_size=1, max_size=2))]
    group = st.sets(st.integers(0, N - 1), min_size=1, max_size=6).filter(
        lambda g: len({i % C for i in range(N) if i not in g}) == C
    )
    groups = [sorted(g) for g in draw(st.lists(group, min_size=1, max_size=3))]
    return models, draw(st.integers(0, 99)), 10.0 ** draw(st.integers(-2, 1)), groups


@settings(max_examples=20)
@given(cases())
def test_exact_kernels_give_what_the_definition_gives(case):
    models, seed, lam, groups = case
    x, new = inputs(seed)
    machine = Retraining(models, ridge=lam).fit(x, LABELS)
    K, cross, _ = by_definition(models, x, new)
    y = attribution.label_targets(LABELS.numpy(), C)
    whole = attribution.machine_prediction(cross, K, y, lam)
    np.testing.assert_allclose(machine.logits(new).T, whole, **CLOSE)
    refits = [attribution.without_rows_by_refitting(cross, K, y, lam, g) for g in groups]
    np.testing.assert_allclose(machine.without(groups, new).transpose(1, 2), np.stack(refits), **CLOSE)
    np.testing.assert_allclose(machine.without(groups[0], new).T, refits[0], **CLOSE)
    np.testing.assert_allclose(machine.leave_one_out().T, attribution.leave_one_out_predictions(K, y, lam), **CLOSE)
    classes = whole.argmax(axis=0)
    gone = [attribution.without_rows_by_refitting(cross, K, y, lam, [i]) for i in range(N)]
    losses = [attribution.machine_margin(whole, classes) - attribution.machine_margin(f, classes) for f in gone]
    np.testing.assert_allclose(machine.scores(new), np.stack(losses, axis=1), **CLOSE)


@settings(max_examples=10)
@given(cases(), st.integers(2, 7))
def test_projected_features_in_dual_and_primal_give_what_their_rows_give(case, k):
    models, seed, lam, groups = case
    x, new = inputs(seed)
    machine = Retraining(models, ridge=lam, k=k, seed=3).fit(x, LABELS)
    parts = [[tangent_features(m, rows, k=k, seed=3).values.numpy() for rows in (x, new)] for m in models]
    roots = [np.mean(np.sum(Phi**2, axis=2)) ** 0.5 for Phi, _ in parts]
    Phi, phi = (np.concatenate([p[i] / r for p, r in zip(parts, roots, strict=True)], axis=2) for i in (0, 1))
    y = attribution.label_targets(LABELS.numpy(), C)
    expected = np.stack([attribution.without_rows_by_features(phi, Phi, y, lam, g) for g in groups])
    np.testing.assert_allclose(machine.without(groups, new).transpose(1, 2), expected, **CLOSE)
    sure = Uncertainty(models, ridge=lam, k=k, seed=3).fit(x)
    variance = uncertainty.predictive_variance_by_features(phi, Phi, lam * len(models)) / len(models)
    np.testing.assert_allclose(sure.variance(new).T, variance, **CLOSE)


@settings(max_examples=10)
@given(cases(), st.sampled_from([None, 3]))
def test_the_variance_of_a_row_by_the_others_is_that_of_a_fit_without_it(case, k):
    models, seed, lam, _ = case
    x, new = inputs(seed)
    sure = Uncertainty(models, ridge=lam, k=k, seed=3).fit(x)
    if k is None:
        K, _, _ = by_definition(models, x, new)
    else:
        parts = [tangent_features(m, x, k=k, seed=3).values.numpy() for m in models]
        Phi = np.concatenate([part / np.mean(np.sum(part**2, axis=2)) ** 0.5 for part in parts], axis=2)
        K = Phi @ Phi.swapaxes(1, 2)
    expected = []
    for i in range(N):
        rest = [j for j in range(N) if j != i]
        own, cross = K[:, i, [i]], K[:, i][:, None, rest]
        v = uncertainty.predictive_variance(own, cross, K[:, rest][:, :, rest], lam * len(models))
        expected.append(v[:, 0] / len(models))
    np.testing.assert_allclose(sure.leave_one_out(), np.stack(expected), **CLOSE)
    scores, own = sure.shift_score(new).numpy(), np.mean(expected, axis=1)
    np.testing.assert_allclose(sure.rarity(new), [np.mean(own >= s) for s in scores], **CLOSE)


@settings(max_examples=10)
@given(cases())
def test_variance_probabilities_and_shift_agree(case):
    models, seed, lam, _ = case
    x, new = inputs(seed)
    sure = Uncertainty(models, ridge=lam).fit(x)
    K, cross, own = by_definition(models, x, new)
    v = uncertainty.predictive_variance(own, cross, K, lam * len(models))
    np.testing.assert_allclose(sure.variance(new).T * len(models), v, **CLOSE)
    np.testing.assert_allclose(sure.shift_score(new), uncertainty.shift_score(v / len(models)), **CLOSE)
    said, said_new = (torch.stack([m(rows) for m in models]).mean(0).T.detach().numpy() for rows in (x, new))
    amplitude = uncertainty.prior_amplitude(K, said, lam * len(models))
    np.testing.assert_allclose(sure.amplitude_, amplitude, rtol=TOL["squared_kernel"])
    expected = uncertainty.probit_probabilities(said_new, amplitude[:, None] * v)
    np.testing.assert_allclose(sure.probabilities(new).T, expected, rtol=TOL["squared_kernel"])


def test_the_small_functions_agree():
    rng = np.random.default_rng(0)
    f, labels = rng.standard_normal((C, T)), np.array([0, 2, 1, 1])
    np.testing.assert_allclose(
        fast.margin(torch.tensor(f), torch.tensor(labels)), attribution.machine_margin(f, labels), **CLOSE
    )
    Phi, phi, q = rng.standard_normal((N, 5)), rng.standard_normal((T, 5)), rng.random(N)
    found = fast.trak_scores(torch.tensor(phi), torch.tensor(Phi), torch.tensor(q), 0.3)
    np.testing.assert_allclose(found, attribution.trak_scores(phi, Phi, q, 0.3), **CLOSE)
    a, b = rng.standard_normal((2, 6, T))
    a[1] = a[0]
    score = fast.linear_datamodelling_score(a, b).mean()
    np.testing.assert_allclose(score, attribution.linear_datamodelling_score(a, b), **CLOSE)
    v = rng.random((C, T))
    found = probit_probabilities(torch.tensor(f), torch.tensor(v))
    np.testing.assert_allclose(found, uncertainty.probit_probabilities(f, v), **CLOSE)


def test_a_machine_with_another_ridge_is_seen():
    x, new = inputs(0)
    K, cross, _ = by_definition([network(0)], x, new)
    y = attribution.label_targets(LABELS.numpy(), C)
    found = Retraining(network(0), ridge=0.1).fit(x, LABELS).logits(new).T.numpy()
    assert not np.allclose(found, attribution.machine_prediction(cross, K, y, 0.11), rtol=TOL["apart"])


@st.composite
def real_cases(draw):
    """Networks of one to three outputs, real targets, k or none, and groups that leave a row."""
    outputs = draw(st.integers(1, 3))
    models = [network(seed, outputs) for seed in draw(st.lists(st.integers(0, 99), min_size=1, max_size=2))]
    groups = draw(st.lists(st.sets(st.integers(0, N - 1), min_size=1, max_size=N - 1), min_size=1, max_size=3))
    k = draw(st.sampled_from([None, 2, 7]))
    return models, outputs, k, draw(st.integers(0, 99)), 10.0 ** draw(st.integers(-2, 1)), [sorted(g) for g in groups]


@settings(max_examples=15)
@given(real_cases())
def test_without_groups_of_real_targets_is_refitting(case):
    """Regression, and soft labels: any real targets of as many outputs."""
    models, outputs, k, seed, lam, groups = case
    x, new = inputs(seed)
    y = np.random.default_rng(seed).random((N, outputs))
    machine = Retraining(models, ridge=lam, k=k, seed=3).fit(x, torch.tensor(y))
    if k is None:
        K, cross, _ = by_definition(models, x, new)
    else:
        parts = [[tangent_features(m, rows, k=k, seed=3).values.numpy() for rows in (x, new)] for m in models]
        roots = [np.mean(np.sum(Phi**2, axis=2)) ** 0.5 for Phi, _ in parts]
        Phi, phi = (np.concatenate([p[i] / r for p, r in zip(parts, roots, strict=True)], axis=2) for i in (0, 1))
        K, cross = Phi @ Phi.swapaxes(1, 2), phi @ Phi.swapaxes(1, 2)
    mean = y.mean(axis=0)
    for group, found in zip(groups, machine.without(groups, new), strict=True):
        refit = attribution.without_rows_by_refitting(cross, K, (y - mean).T, lam, group) + mean[:, None]
        np.testing.assert_allclose(found.T, refit, **CLOSE)


@pytest.mark.parametrize("k", [None, 4])
def test_real_targets_are_fitted_about_their_mean(k):
    x, new = inputs(1)
    y = torch.linspace(-1, 3, N, dtype=torch.float64)
    model = network(2, outputs=1)
    machine = Retraining(model, ridge=0.5, k=k, seed=0).fit(x, y)
    if k is None:
        K, cross, _ = by_definition([model], x, new)
    else:
        Phi, phi = (tangent_features(model, rows, k=k, seed=0).values.numpy() for rows in (x, new))
        scale = np.mean(np.sum(Phi**2, axis=2))
        K, cross = Phi @ Phi.swapaxes(1, 2) / scale, phi @ Phi.swapaxes(1, 2) / scale
    centred = (y - y.mean()).numpy()[None]
    expected = attribution.without_rows_by_refitting(cross, K, centred, 0.5, [1, 4]) + float(y.mean())
    np.testing.assert_allclose(machine.without([1, 4], new).T, expected, **CLOSE)
    worst = machine.suspicious_labels()
    errors = np.abs(attribution.leave_one_out_predictions(K, centred, 0.5) - centred)[0]
    assert worst.rows.tolist() == np.argsort(-errors, kind="stable").tolist()
