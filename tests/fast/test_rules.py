"""What a rule reads beside input and weight: factors, eps, padding, shapes; kernels against plain differentiation."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from dntk_fast.tangent.gram import add_gram
from dntk_fast.tangent.kernel import tangent_kernel
from dntk_fast.tangent.passes import capture, inspect
from tests.fast.plain import Readout, close, kernel


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Use(nn.Module):
    """Parameters of the given shapes, and how a function uses them."""

    def __init__(self, use, *shapes):
        super().__init__()
        self.use, self.parts = use, nn.ParameterList(normal(7 + at, *shape) for at, shape in enumerate(shapes))

    def forward(self, x):
        return self.use(x, *self.parts)


# Beside variances of about one 1e-5, the eps of most of them by default, could be missing and nobody would see it.
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.GroupNorm(2, 4, eps=0.5), (4, 3)),
        (nn.LayerNorm(4, eps=0.5), (3, 4)),
        (nn.RMSNorm(4, eps=0.5), (3, 4)),
        (nn.RMSNorm(4), (3, 4)),
        (nn.InstanceNorm1d(4, eps=0.5, affine=True), (4, 3)),
        (nn.InstanceNorm1d(4, eps=0.5, affine=True, track_running_stats=True), (4, 3)),
        (nn.BatchNorm1d(4, eps=0.5), (4, 3)),
    ],
    ids=lambda part: str(part).replace(" ", ""),
)
def test_a_norm_is_taken_with_its_own_eps(layer, shape):
    x = normal(0, 3, *shape)
    with torch.no_grad():
        for at, parameter in enumerate(layer.parameters()):
            parameter.copy_(1 + normal(at, *parameter.shape).abs())
    model = Readout(layer.eval(), x)
    assert inspect(model, x).generic == ()
    assert close(tangent_kernel(model, x), kernel(model, x))


@pytest.mark.parametrize(
    "model",
    [
        Use(lambda x, w: functional.embedding(x, w, -2), (5, 3)),
        Use(lambda x, w: functional.embedding(x, w, 3), (5, 3)),
    ],
    ids=["from the end", "from the start"],
)
def test_the_padding_word_has_no_gradient(model):
    words = torch.tensor([[0, 3], [3, 3], [4, 1]])
    model = Readout(model, words)
    K = tangent_kernel(model, words)
    assert inspect(model, words).generic == ()
    assert close(K, kernel(model, words))
    assert not K[:, 1].any()


# The rules are those of factors one: with others the parameters go the generic way, which is told.
@pytest.mark.parametrize(
    ("use", "shapes"),
    [
        (lambda x, b, w: torch.addmm(b, x, w, beta=0.5), [(2,), (3, 2)]),
        (lambda x, b, w: torch.addmm(b, x, w, alpha=2.0), [(2,), (3, 2)]),
        (lambda x, b, w: torch.addmm(b, x, w, beta=3.0, alpha=3.0), [(2,), (3, 2)]),
        (lambda x, b: torch.add(x, b, alpha=0.5), [(3,)]),
        (lambda x, b: torch.add(b, x, alpha=0.5), [(3,)]),
    ],
    ids=["beta", "alpha", "both", "add", "added"],
)
def test_a_factor_within_a_sum_is_not_ignored(use, shapes):
    x = normal(0, 3, 3)
    model = Readout(Use(use, *shapes), x)
    with pytest.warns(UserWarning, match="no rule for the use of layer.parts.0"):
        found = tangent_kernel(model, x)
    assert close(found, kernel(model, x))


# Of a table of two rows the first sample looks at one and the last at the other, as if they were the rows of a batch.
@pytest.mark.parametrize(
    "use",
    [
        lambda words, table: (normal(1, 2, 3) * table)[words],
        lambda words, table: (normal(1, 2, 3) + table)[words],
        lambda words, table: table.expand(2, 3)[words],
    ],
    ids=["mul", "add", "expand"],
)
def test_the_rows_of_a_table_are_not_the_rows_of_a_batch(use):
    words = torch.tensor([0, 1, 1, 0, 1])
    model = Readout(Use(use, (2, 3)), words)
    with pytest.warns(UserWarning, match="no rule for the use of layer.parts.0"):
        found = tangent_kernel(model, words)
    assert close(found, kernel(model, words))


@pytest.mark.parametrize("other", [False, True])
def test_a_table_may_be_walked_through_word_by_word(other):
    words, words2 = torch.tensor([[6, 2, 2], [5, 0, 6], [3, 3, 1]]), torch.tensor([[4, 2, 6], [0, 0, 0]])
    model = Readout(Use(lambda x, w: functional.embedding(x, w), (7, 3)), words)
    trace = inspect(model, words)
    (left,), right = capture(trace, words), None
    if other:
        (right,) = capture(trace, words2)
    total = torch.zeros(2, 3, 2 if other else 3, dtype=torch.float64)
    add_gram(total, left, right, "explicit", "class", 1)
    expected = kernel(model, words, words2 if other else None)
    assert close(total if other else torch.triu(total), expected if other else torch.triu(expected))


def test_outputs_that_are_no_numbers_are_refused_wherever_their_sample_stands():
    x = normal(0, 4, 3)
    x[2, 0] = 0  # neither first nor last
    model = Use(lambda x, w: (x @ w) / x[:, :1], (3, 2))
    with pytest.raises(ValueError, match="model: expected finite outputs, got some that are NaN or infinite"):
        tangent_kernel(model, x)
    x[2, 0] = 1
    assert close(tangent_kernel(model, x), kernel(model, x))
