"""The exact head where the outputs are a selection from a Linear layer's: decoders, slices, wrappers; refused where not."""

import pytest
import torch
from torch import nn

from dntk_fast.certificates.parameter_weights import parameter_weights
from dntk_fast.tangent.features import feature_plan, tangent_features
from dntk_fast.tangent.head import head_weights
from dntk_fast.tangent.kernel import tangent_kernel
from dntk_fast.tangent.products import jacobian_vector
from tests.tolerances import TOL


class Decoder(nn.Module):
    """Scores every word, and ends with what its `end` takes of the scores (n, L, 4)."""

    def __init__(self, end, bias=True):
        super().__init__()
        self.table, self.body, self.score = nn.Embedding(9, 3), nn.Linear(3, 5), nn.Linear(5, 4, bias=bias)
        self.end = end

    def forward(self, ids):
        return self.end(self.score(torch.tanh(self.body(self.table(ids).cumsum(1)))), ids)


def last_word(scores, ids):
    length = (ids != 0).sum(1)
    return scores[torch.arange(len(ids)), length - 1]


IDS = torch.tensor([[3, 1, 4, 1], [5, 0, 0, 0], [2, 6, 0, 0], [8, 5, 3, 0], [5, 8, 7, 1]])
SELECTIONS = {
    "the last word that is no padding": (last_word, (0, 1, 2, 3)),
    "the last position": (lambda scores, ids: scores[:, -1], (0, 1, 2, 3)),
    "some outputs in another order": (lambda scores, ids: scores[:, 0, [2, 0]], (2, 0)),
    "a slice of the last word": (lambda scores, ids: last_word(scores, ids)[:, 1:], (1, 2, 3)),
    "another type": (lambda scores, ids: scores[:, 0].to(torch.float64), (0, 1, 2, 3)),
}
OTHERS = {
    "the mean": lambda scores, ids: scores.mean(1),
    "the largest of each output": lambda scores, ids: scores.amax(1),
    "twice": lambda scores, ids: 2 * scores[:, 0],
    "a shift": lambda scores, ids: scores[:, 0] + 1,
    "straight through": lambda scores, ids: scores[:, 0].detach() + (scores[:, 1] - scores[:, 1].detach()),
    "one output twice": lambda scores, ids: scores[:, 0, [1, 1]],
    "changed in place": lambda scores, ids: scores.mul_(2)[:, 0],
}


def build(end, **options):
    torch.manual_seed(0)
    return Decoder(end, **options).double()


def close(found, expected):
    return float((found - expected).abs().max()) <= TOL["float64"] * float(expected.abs().max())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", SELECTIONS)
def test_a_head_whose_outputs_are_selected_is_exact(name, bias):
    end, columns = SELECTIONS[name]
    model = build(end, bias=bias)
    rest = 9 * 3 + 3 * 5 + 5
    found = tangent_features(model, IDS, k=rest, seed=0, projection="haar")
    assert (found.plan.head, found.plan.columns) == ("score", columns)
    assert close(found.kernel(), tangent_kernel(model, IDS))
    w = torch.zeros(len(columns), rest + 5 + bias, dtype=torch.float64)
    w[:, rest:] = head_weights(model, "score", columns)
    assert close(torch.einsum("cnk,ck->nc", found.values, w), model(IDS).detach())
    w[:, :rest] = torch.linspace(-1, 1, rest)
    predicted = torch.einsum("cnk,ck->cn", found.values, w)
    assert close(jacobian_vector(model, IDS, parameter_weights(w, model, found.plan)), predicted)


@pytest.mark.parametrize("name", OTHERS)
def test_outputs_that_are_no_selection_leave_no_head_exact(name):
    model = build(OTHERS[name])
    found = tangent_features(model, IDS, k=71, seed=0, projection="haar")
    assert found.head is None
    assert close(found.kernel(), tangent_kernel(model, IDS))


def test_chosen_outputs_of_a_head_are_rows_of_its_weight():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).double(), torch.randn(4, 3).double()
    found = tangent_features(model, x, k=6, seed=0, outputs=[3, 1])
    w = torch.randn(2, 12, dtype=torch.float64)
    expected = torch.einsum("cnk,ck->cn", found.values, w)
    assert found.plan.columns == (3, 1)
    weights = parameter_weights(w, model, found.plan)
    assert weights["2.weight"].shape == (2, 4, 5)
    assert close(jacobian_vector(model, x, weights, outputs=[3, 1]), expected)


def test_a_sample_whose_outputs_are_not_selected_is_refused():
    def clipped(scores, ids):
        return torch.where(ids[:, :1] == 2, scores[:, 0] * 2, scores[:, 0])  # neither the first nor the last

    model = build(clipped)
    assert feature_plan(model, IDS, k=8, seed=0).head == "score"
    with pytest.raises(ValueError, match=r"^keep_head: expected False for this model, got samples .* of score$"):
        tangent_features(model, IDS, k=8, seed=0)
    found = tangent_features(model, IDS, k=71, seed=0, projection="haar", keep_head=False)
    assert close(found.kernel(), tangent_kernel(model, IDS))
