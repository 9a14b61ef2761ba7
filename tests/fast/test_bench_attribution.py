"""The benchmarks of attribution and shift: trainings are kept and resumed, rivals are what they are named for."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from dntk_fast import load, tangent_kernel
from dntk_fast.analysis.attribution import Retraining
from dntk_fast.bench import attribution, attributors, shift
from dntk_fast.bench.attributors import Block, Question
from dntk_fast.bench.retraining import QUICK, Retrained, Settings, settings_of
from dntk_fast.cli import main
from dntk_fast.files.stages import StageStore
from tests.fast.plain import features
from tests.tolerances import TOL

CLOSE = {"rtol": TOL["float64"], "atol": TOL["float64"]}
N, T, C = 8, 3, 2
SMALL = Settings(20, 2, 2, networks=1, epochs=1, removals=1, random_removals=1, removal_retrainings=1)


def question():
    generator = torch.Generator().manual_seed(0)
    x, new = (torch.randn(rows, 3, dtype=torch.float64, generator=generator) for rows in (N, T))
    kept = np.ones((2, N), dtype=bool)
    kept[0, [0, 3, 5]] = kept[1, [1, 2]] = False
    return Question(x, torch.arange(N) % C, new, torch.tensor([0, 1, 1]), kept, C)


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, C)).double().eval()


def retrained(folder, seed=0):
    digits = load("digits")
    return Retrained(digits, SMALL, seed, StageStore(folder, {"seed": seed}), lambda *_: None)


def test_trainings_are_kept_and_the_seeds_are_each_their_own(tmp_path, monkeypatch):
    first = retrained(tmp_path / "a")
    outputs = first.outputs()
    assert outputs.shape == (2, 2, 360, 10)
    assert not torch.equal(outputs[0, 0], outputs[0, 1])
    assert first.subsets.sum(1).tolist() == [10, 10]
    assert len(set(first.rows)) == 20
    first.store.close()
    monkeypatch.setattr(Retrained, "_train", lambda *_: pytest.fail("trained again"))
    assert torch.equal(retrained(tmp_path / "a").outputs(), outputs)
    assert not np.array_equal(retrained(tmp_path / "b", seed=1).subsets, first.subsets)


def test_removals_share_their_seeds_so_that_nothing_removed_twice_is_the_same(tmp_path):
    nothing = np.array([], dtype=int)
    found = retrained(tmp_path).without("removals", [nothing, nothing, np.array([3])])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_settings_are_those_of_the_data_and_never_more_images_than_there_are():
    digits = load("digits")
    assert settings_of(digits) == Settings(500, 40, 4)
    assert settings_of(digits, quick=True) == QUICK


def test_a_block_predicts_what_the_estimator_does():
    asked, model = question(), network()
    machine = Retraining(model, ridge=0.2).fit(asked.x, asked.y)
    said = machine.without(asked.removed, asked.new)
    expected = np.stack([[row[c] - row[1 - c] for row, c in zip(part, asked.y_new, strict=True)] for part in said])
    block = Block.tangent(model, asked)
    np.testing.assert_allclose(block.margins(asked, 0.2), expected, **CLOSE)
    both = Block.added([block, Block.tangent(network(1), asked)])
    several = Retraining([model, network(1)], ridge=0.4).fit(asked.x, asked.y).without(asked.removed, asked.new)
    expected = np.stack([[row[c] - row[1 - c] for row, c in zip(part, asked.y_new, strict=True)] for part in several])
    np.testing.assert_allclose(both.margins(asked, 0.2), expected, **CLOSE)


def test_the_last_layer_s_block_is_the_tangent_kernel_of_the_last_layer():
    asked, model = question(), network()
    exact = tangent_kernel(model, asked.new, asked.x, parameters=["2.weight", "2.bias"])
    scale = tangent_kernel(model, asked.x, parameters=["2.weight", "2.bias"]).diagonal(dim1=1, dim2=2).mean()
    np.testing.assert_allclose(Block.last_layer(model, asked).cross, exact / scale, **CLOSE)


def test_margin_features_have_the_kernel_of_the_margin_s_gradient():
    asked, model = question(), network()
    pulls = attributors.margin_features(model, asked, 28, 0)[2]
    logits = model(asked.x).detach()
    p = logits.softmax(1)[torch.arange(N), asked.y]
    np.testing.assert_allclose(pulls, 1 - p, **CLOSE)
    # for two classes the margin is the difference of the logits
    gradients = features(model, asked.x)
    sign = (2.0 * nn.functional.one_hot(asked.y, C) - 1).T
    exact = (sign[..., None] * gradients).sum(0)
    seeds = [attributors.margin_features(model, asked, 28, seed)[0] for seed in range(200)]
    mean = torch.stack([f @ f.T for f in seeds]).mean(0)
    kernel = exact @ exact.T
    assert (mean - kernel).norm() / kernel.norm() < TOL["slope"]


def test_the_rules_choose_what_they_are_named_for():
    asked = question()
    block = Block.tangent(network(), asked)
    chosen = attributors.ridge_rules(block, asked, 0.5, 0)
    assert list(chosen) == list(attributors.RULES)
    assert chosen["half the mean diagonal"] == 0.5
    losses = {}
    for ridge in attributors.GRID:
        machine = Retraining(network(), ridge=ridge).fit(asked.x, asked.y)
        losses[ridge] = float((asked.targets.T - machine.leave_one_out()).square().mean())
    assert chosen["leave-one-out on labels"] == min(losses, key=losses.get)

    def evidence(ridge):
        total = 0.0
        for K, y in zip(block.kernel.numpy(), asked.targets.numpy(), strict=True):
            covariance = K + ridge * np.eye(N)
            amplitude = y @ np.linalg.solve(covariance, y) / N
            total += -N * np.log(amplitude) / 2 - np.linalg.slogdet(covariance)[1] / 2
        return total

    assert chosen["marginal likelihood"] == max(attributors.GRID, key=evidence)


def test_added_scores_and_votes_are_sums_over_the_rows_that_are_kept():
    asked = question()
    scores = torch.randn(T, N, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = attributors.additive(scores, asked)
    expected = [[scores[t, asked.subsets[s]].sum() for t in range(T)] for s in range(2)]
    np.testing.assert_allclose(found, expected, **CLOSE)
    near = asked.x.clone()
    near[0] = asked.new[0]  # of the labelled class: its vote is one
    with_it, without = np.ones((1, N), dtype=bool), np.ones((1, N), dtype=bool)
    without[0, 0] = False
    votes = [
        attributors.pixel_votes(Question(near, asked.y, asked.new, asked.y_new, kept, C)) for kept in (with_it, without)
    ]
    assert votes[0][0, 0] - votes[1][0, 0] == pytest.approx(1.0)


def test_the_ceiling_is_what_an_ideal_and_a_useless_retraining_give():
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((30, 1, 5))
    found = attribution._ceiling(np.repeat(signal, 4, axis=1))
    assert found["ceiling"] == pytest.approx({"1": 1.0, "2": 1.0})
    assert found["attainable"] == pytest.approx(1.0)
    noise = attribution._ceiling(rng.standard_normal((30, 4, 200)))
    assert abs(noise["ceiling"]["1"]) < TOL["slope"]


def test_calibration_error_is_known_by_hand():
    p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]], dtype=torch.float64)
    # bin of 0.9: accuracy 1/2; bin of 0.6: accuracy 1
    found = shift._calibration_error(p, torch.tensor([0, 1, 1]))
    assert found == pytest.approx((2 * 0.4 + 0.4) / 3)


def test_the_shift_rivals_are_their_definitions():
    asked, model = question(), network()
    found = shift._rivals(model, asked.x, asked.y, asked.new)
    for i in range(T):
        logits = model(asked.new[i : i + 1])
        loss = -logits.log_softmax(1).mean()  # KL(uniform, softmax) up to a constant
        gradient = torch.autograd.grad(loss, model[2].weight)[0]
        assert found["GradNorm"][i] == pytest.approx(-float(gradient.abs().sum()))
        assert found["energy"][i] == pytest.approx(-float(logits.detach().logsumexp(1)))
        h = torch.cat([torch.tanh(model[0](asked.new[i])), torch.ones(1)]).detach()
        H = torch.cat([torch.tanh(model[0](asked.x)), torch.ones(N, 1)], 1).detach()
        scale = H.square().sum(1).mean()
        lam = shift.RIDGE * scale
        inverse = torch.linalg.inv(H.T @ H + lam * torch.eye(6))
        assert found["last layer variance"][i] == pytest.approx(float(lam * h @ inverse @ h / scale), rel=1e-6)


def test_the_quick_commands_end_in_tables_and_json(tmp_path, monkeypatch, capsys):
    for arguments in (["attribution", "--out", str(tmp_path / "kept")], ["shift"]):
        path = tmp_path / f"{arguments[0]}.json"
        monkeypatch.setattr("sys.argv", ["dntk", "bench", *arguments, "--quick", "--threads", "1", "--json", str(path)])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code in (None, 0)
        assert json.loads(path.read_text())["complete"]
    said = capsys.readouterr().out
    assert "tangent kernel" in said
    assert "ridge rules" in said
    assert "Mahalanobis" in said


def test_separation_is_scikit_learn_s():
    rng = np.random.default_rng(0)
    usual, shifted = rng.standard_normal(40), rng.standard_normal(30) + 1
    truth, scores = np.repeat([0, 1], [40, 30]), np.concatenate([usual, shifted])
    assert shift.separation(usual, shifted) == pytest.approx(roc_auc_score(truth, scores))
