"""Retraining and Uncertainty at the door: kinds of input, what is kept, what is refused, and the ridge's rule."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dntk_fast import Retraining, Uncertainty
from dntk_fast.analysis import attribution, machines
from dntk_fast.analysis.mind import minds
from dntk_fast.analysis.pull import pull_ridge
from dntk_fast.analysis.shift import false_alarms, separation
from dntk_fast.analysis.sources import Features, Forecast, Kernels, source_of
from tests.tolerances import TOL

N, C = 12, 3
CLOSE = {"rtol": TOL["float64"], "atol": TOL["float64"]}


class Named(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(x)


def network(seed=0, outputs=C):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, outputs)).double().eval()


X = torch.randn(N, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
NEW = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
Y = torch.arange(N) % C


def fitted(**options):
    return Retraining(network(), **{"ridge": 0.3} | options).fit(X, Y)


@pytest.mark.parametrize("k", [None, 6])
def test_arrays_loaders_and_dicts_say_what_tensors_say(k):
    expected = fitted(k=k).without([0, 4], NEW)
    array = Retraining(network(), k=k, ridge=0.3).fit(X.numpy(), Y.numpy())
    assert isinstance(array.without([0, 4], NEW.numpy()), np.ndarray)
    np.testing.assert_allclose(array.without(np.array([4, 0]), NEW.numpy()), expected, **CLOSE)
    loader = Retraining(network(), k=k, ridge=0.3).fit(DataLoader(TensorDataset(X), batch_size=5), Y)
    np.testing.assert_allclose(loader.without([0, 4], DataLoader(TensorDataset(NEW), batch_size=2)), expected, **CLOSE)
    named = Retraining(Named(network()), ridge=0.3).fit({"x": X}, Y)
    np.testing.assert_allclose(named.logits({"x": NEW}), fitted().logits(NEW), **CLOSE)


def test_features_that_are_made_again_give_the_same_as_kept_ones(monkeypatch):
    monkeypatch.setattr(Features, "batch", 5)
    monkeypatch.setattr(machines, "STREAM", 8 * C * 8 * 5)  # five rows at a time
    models = [network(0), network(1)]
    found = []
    for kept in (True, False):
        source = Features(models, X, 0, None, Forecast(4, N, C, 2, 0, kept))
        hot = nn.functional.one_hot(Y, C).T.double() - 1 / C
        source.prepare(hot, None)
        machine = source.machine(hot, 0.3)
        found.append(machine.without(source.new(NEW), [torch.tensor([0, 4]), torch.tensor([1])]))
        found.append(machine.effects(source.new(NEW))[..., :3].contiguous())
        assert source.rows(torch.tensor([3, 1])).shape == source.rows(None)[:, :2].shape
    torch.testing.assert_close(found[0], found[2], rtol=TOL["float64"], atol=TOL["float64"])
    torch.testing.assert_close(found[1], found[3], rtol=TOL["float64"], atol=TOL["float64"])


def test_a_small_memory_takes_projected_features_and_a_smaller_one_is_refused():
    assert isinstance(source_of([network()], X, 30, 0, None, 2**20), Kernels)  # fewer rows than coordinates
    assert isinstance(source_of([network()], X, 4, 0, None, 2**20), Features)
    few = 8 * 3 * C * N * N - 1
    assert Retraining(network(), k=2, memory=few).forecast(X).k == 2
    assert "exact kernels of 3 outputs of 12 rows" in str(Retraining(network()).forecast(X))
    with pytest.raises(ValueError, match=r"^k: expected second moments"):
        Retraining(network(), memory=few).forecast(X)


@pytest.mark.parametrize("k", [None, 6])
def test_what_is_saved_says_the_same_when_it_is_read(tmp_path, k):
    machine = fitted(k=k)
    machine.save(tmp_path / "machine")
    again = Retraining.load(tmp_path / "machine", network(), X)
    np.testing.assert_allclose(again.without([2, 3], NEW), machine.without([2, 3], NEW), **CLOSE)
    np.testing.assert_allclose(again.scores(NEW), machine.scores(NEW), **CLOSE)
    with pytest.raises(ValueError, match=r"^models: expected the networks that were fitted"):
        Retraining.load(tmp_path / "machine", network(5), X)
    with pytest.raises(ValueError, match=r"^X: expected the inputs that were fitted"):
        Retraining.load(tmp_path / "machine", network(), X + 1)
    sure = Uncertainty(network(), k=k).fit(X)
    sure.save(tmp_path / "sure")
    np.testing.assert_allclose(
        Uncertainty.load(tmp_path / "sure", network(), X).probabilities(NEW), sure.probabilities(NEW), **CLOSE
    )
    with pytest.raises(ValueError, match=r"^models: expected the networks that were fitted"):
        Uncertainty.load(tmp_path / "sure", network(5), X)
    with pytest.raises(ValueError, match=r"^X: expected the inputs that were fitted"):
        Uncertainty.load(tmp_path / "sure", network(), X + 1)
    with pytest.raises(ValueError, match=r"^path: expected a saved Uncertainty"):
        Uncertainty.load(tmp_path / "machine", network(), X)
    with pytest.raises(ValueError, match=r"^path: expected a saved Retraining"):
        Retraining.load(tmp_path / "sure", network(), X)


def test_a_function_of_outputs_is_attributed():
    first = Retraining(network(), ridge=0.3, outputs=lambda model, batch: model(batch)[:, :2]).fit(X, Y % 2)
    assert first.logits(NEW).shape == (5, 2)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: fitted().without([12], NEW), r"^rows: expected distinct rows in \[0, 11\]"),
        (lambda: fitted().without([1, 1], NEW), "^rows: expected distinct rows"),
        (lambda: fitted().without([], NEW), "^rows: expected at least one row in a set, got none"),
        (lambda: fitted().without([0.5], NEW), "^rows: expected integers"),
        (lambda: fitted().without(["first"], NEW), "^rows: expected integers, got str of <U5"),
        (lambda: fitted().without([True, False], NEW), "^rows: expected integers"),
        (lambda: fitted().without([[0, 1], [5, 12]], NEW), r"^rows: expected distinct rows in \[0, 11\]"),
        (lambda: fitted().without([-1], NEW), "^rows: expected distinct rows"),
        (
            lambda: Retraining(network()).fit(X, ["a"] * N),
            "^y: expected integer classes or real targets, got list of <U1",
        ),
        (lambda: Retraining(network()).fit(X, [[0], [1, 2]] * 6), "^y: expected integer classes .* unlike parts"),
        (lambda: fitted().without(3, NEW), "^rows: expected row numbers, or a list of sets of them, got int"),
        (lambda: fitted().without(range(12), NEW), "^rows: expected sets that leave some of the 12 rows"),
        (
            lambda: fitted().without([0, 3, 6, 9], NEW),
            "^rows: expected sets that leave a row of every class, got one with all",
        ),
        (lambda: Retraining(network()).fit(X, Y[:5]), "^y: expected 12 labels or targets"),
        (lambda: Retraining(network()).fit(X, Y + 1), "^y: expected classes"),
        (lambda: Retraining(network()).fit(X, Y > 0), "^y: expected integer classes or real targets, got torch.bool"),
        (lambda: Retraining(network()).fit(X, Y.double()), r"^y: expected real targets \(12, 3\), or integer classes"),
        (lambda: Retraining(network(outputs=1)).fit(X, Y), "^y: expected real targets, for a network of one output"),
        (
            lambda: Retraining([network(), network(outputs=2)]).fit(X, Y),
            "^models: expected networks of as many outputs",
        ),
        (lambda: Retraining([]), "^models: expected at least one network"),
        (lambda: Retraining(network(), outputs=[1]), "^outputs: expected a function"),
        (lambda: Retraining(network(), ridge=0.0), "^ridge: expected a number above 0"),
        (lambda: Retraining(network(), k=10**6).fit(X, Y), "^k: expected an integer in"),
        (lambda: Retraining(network()).logits(NEW), "^Retraining: expected a fitted estimator"),
        (lambda: Uncertainty(network()).variance(NEW), "^Uncertainty: expected a fitted estimator"),
        (lambda: Uncertainty(network()).fit(X * math.nan), "^X: expected finite entries"),
        (lambda: fitted().scores(NEW, [0, 1, 2, 3, 0]), r"^y: expected classes \(5,\) of 0 ... 2"),
    ],
)
def test_what_has_no_answer_is_refused_in_one_line(call, line):
    with pytest.raises((ValueError, TypeError), match=line) as refusal:
        call()
    assert "\n" not in str(refusal.value)


def test_labels_that_were_exchanged_are_the_most_suspicious():
    x = torch.cat([torch.full((8, 3), float(c), dtype=torch.float64) + 0.01 * X[:8] for c in range(C)])
    y = torch.arange(C).repeat_interleave(8)
    y[[2, 20]] = y[[20, 2]]
    worst = Retraining(network(), ridge=0.3).fit(x, y).suspicious_labels()
    assert set(worst.rows[:2].tolist()) == {2, 20}
    assert (worst.margins.diff() >= 0).all()


def test_scores_of_given_classes_are_about_their_margins():
    machine = fitted()
    said = machine.logits(NEW).argmax(1)
    np.testing.assert_allclose(machine.scores(NEW, said), machine.scores(NEW), **CLOSE)
    assert not np.allclose(machine.scores(NEW, (said + 1) % C), machine.scores(NEW))


@pytest.mark.parametrize("k", [None, 6])
@pytest.mark.parametrize("memory", [2**32, 3000])
def test_uncertainty_beside_a_retraining_is_uncertainty_of_its_rows(monkeypatch, k, memory):
    monkeypatch.setattr(Features, "batch", 5)
    memory = memory if k else 2**32
    machine = Retraining(network(), ridge=0.3, k=k, memory=memory).fit(X, Y)
    beside, alone = Uncertainty.beside(machine), Uncertainty(network(), k=k, memory=memory).fit(X)
    for name in ("variance", "probabilities", "rarity"):
        np.testing.assert_allclose(getattr(beside, name)(NEW), getattr(alone, name)(NEW), **CLOSE)
    np.testing.assert_allclose(machine.without([1], NEW), fitted(k=k).without([1], NEW), **CLOSE)


# What holds an answer up


def test_an_answer_changes_where_refitting_without_its_supporters_changes_it():
    machine = fitted(ridge=0.02)
    answers = machine.logits(NEW).argmax(1)
    found = minds(machine.ask(NEW), answers, most=9)
    assert any(mind.changes_at for mind in found)
    for place, mind in enumerate(found):
        np.testing.assert_allclose(mind.scores, machine.scores(NEW, answers)[place][mind.order], **CLOSE)
        assert (mind.scores.diff() <= 0).all()
        for size, said, own in zip(mind.sizes, mind.without, mind.margins(), strict=True):
            rest = [i for i in range(N) if i not in mind.order[:size].tolist()]
            assert set(Y[rest].tolist()) == set(range(C))
            expected = machine.without(mind.order[:size].tolist(), NEW[place : place + 1])[0]
            np.testing.assert_allclose(said, expected, **CLOSE)
            others = [expected[c] for c in range(C) if c != mind.answer]
            assert float(own) == pytest.approx(float(expected[mind.answer] - max(others)))
            np.testing.assert_array_equal(mind.after(size), said)
        changed = [size for size, said in zip(mind.sizes, mind.without, strict=True) if said.argmax() != mind.answer]
        assert mind.changes_at == (changed[0] if changed else None)


def test_sets_grow_by_a_quarter_and_leave_a_row_of_every_class():
    asked = fitted().ask(NEW[:1])
    one = minds(asked, torch.tensor([0]), most=4, sizes=(3, 50))[0]
    assert one.sizes == (1, 2, 3, 4)
    gone = torch.bincount(Y[one.order[: one.sizes[-1]]], minlength=C)
    assert (gone < torch.bincount(Y)).all()
    real = Retraining(network(outputs=1), ridge=0.3).fit(X, X[:, 0]).ask(NEW)
    with pytest.raises(ValueError, match=r"^y: expected classes: real targets have no answer that changes"):
        minds(real, torch.zeros(5, dtype=torch.int64), most=4)
    lonely = Retraining(network(), ridge=0.3).fit(X[:3], Y[:3]).ask(NEW[:1])
    with pytest.raises(ValueError, match=r"^most: expected a number of rows that leaves a row of every class"):
        minds(lonely, torch.tensor([0]), most=4)


# The ridge


def test_the_pull_of_one_image_a_class_is_known_in_closed_form():
    for loss in (0.3, 0.05):
        lam = pull_ridge(lambda a: a, torch.tensor([0, 1]), 2, loss=loss)
        exact = 1 / math.log(1 / (math.exp(loss) - 1))  # -log p = loss where p = 1 / (1 + exp(-2 a)), 1/lam = 2 a
        # steps of a tenth of the inverse curvature, and a straight last one: an Euler error of a few hundredths
        assert abs(lam / exact - 1) < 0.05
        assert abs(2 * lam / exact - 1) > 0.05


def test_the_rule_has_the_kernels_unit_and_falls_with_a_better_fit():
    features = torch.randn(C, N, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    K = features @ features.mT

    def ridge(scale, loss):
        return pull_ridge(lambda a: scale * (K @ a[..., None])[..., 0], Y, C, loss=loss)

    assert ridge(7.0, 0.5) == pytest.approx(7 * ridge(1.0, 0.5), rel=TOL["squared_kernel"])
    assert ridge(1.0, 0.2) < ridge(1.0, 0.5)


def test_a_network_no_better_than_chance_needs_a_ridge_of_its_own():
    with pytest.raises(
        ValueError, match=r"^ridge: expected a number, or a network whose mean cross-entropy is below chance"
    ):
        Retraining(network()).fit(X, torch.zeros_like(Y) + network()(X).argmin(1))


def test_auto_is_the_rule_on_half_of_the_rows_and_half_the_mean_diagonal_for_real_targets(monkeypatch):
    model = network()
    with torch.no_grad():
        model[2].weight.mul_(5)
    labels = model(X).argmax(1)
    machine = Retraining(model, seed=4).fit(X, labels)
    half = torch.randperm(N, generator=torch.Generator().manual_seed(4))[: N // 2].sort().values
    loss = float(nn.functional.cross_entropy(model(X), labels).detach())
    assert machine.lam_ == pull_ridge(machine._source.products(half), labels[half], C, loss=loss)
    monkeypatch.setattr(attribution, "PULL_ROWS", 4)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(4))
    two, four = (
        pull_ridge(machine._source.products(rows), labels[rows], C, loss=loss)
        for rows in (order[:2].sort().values, order[:4].sort().values)
    )
    extrapolated = Retraining(model, seed=4).fit(X, labels).lam_
    assert extrapolated == pytest.approx(four * (4 / 6) ** -math.log2(four / two))
    assert extrapolated != pytest.approx(four, rel=TOL["apart"])
    real = Retraining([network(outputs=1), network(1, outputs=1)]).fit(X, X[:, 0])
    assert (real.lam_, real.lam_relative_) == (1.0, 0.5)


# Shift


def test_separation_and_false_alarms_are_what_counting_gives():
    rng = np.random.default_rng(0)
    usual, shifted = rng.integers(0, 5, 30).astype(float), rng.integers(2, 8, 20).astype(float)
    pairs = [(s > u) + 0.5 * (s == u) for s in shifted for u in usual]
    assert separation(usual, shifted) == pytest.approx(np.mean(pairs))
    threshold = sorted(shifted)[1]  # 19 of 20 reach it
    assert false_alarms(usual, shifted) == pytest.approx(np.mean(usual >= threshold))
    assert separation(shifted, usual) == pytest.approx(1 - separation(usual, shifted))


def test_inputs_far_away_have_more_variance_whatever_the_set_they_are_held_against():
    for k in (None, 6):
        sure = Uncertainty(network(), k=k).fit(X)
        assert sure.shift_score(X).max() < sure.shift_score(10 * torch.randn_like(X[:3])).min() * 10
        assert sure.variance(X).shape == (N, C)
