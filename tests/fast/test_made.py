"""Tensors made of parameters alone are parameters of their own: tables looked up once, normalised weights, biases."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

from dntk_fast.tangent.features import tangent_features
from dntk_fast.tangent.kernel import tangent_kernel
from dntk_fast.tangent.passes import inspect
from dntk_fast.tangent.placement import closed
from dntk_fast.tangent.recorder import Made
from tests.fast.plain import features
from tests.tolerances import TOL


class Uses(nn.Module):
    """Parameters, buffers and layers by name, and a function of them and the input."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, nn.Module | nn.Parameter):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, x):
        return self.function(self, x)


class Standardised(nn.Conv1d):
    """A weight that is standardised as if it were a batch."""

    def forward(self, x):
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = functional.batch_norm(flat, None, None, training=True, momentum=0.0, eps=1e-6).reshape_as(self.weight)
        return functional.conv1d(x, weight, self.bias)


def normal(*shape):
    return nn.Parameter(torch.randn(*shape))


def looked_up_once(model, x):
    return model.head(torch.tanh(x + model.table(torch.arange(x.shape[1])[None])).mean(1))


def relative_bias(model, x):
    bias = model.table[model.index.view(-1)].view(5, 5, 1).permute(2, 0, 1)
    return model.head((torch.softmax(x @ x.mT + bias, -1) @ x).mean(1))


def in_windows(model, x):
    windows = x[:, :4].unflatten(1, (2, 2)).flatten(0, 1)
    bias = model.table[model.index[:2, :2].reshape(-1)].view(1, 2, 2)
    return model.head((torch.softmax(windows @ windows.mT + bias, -1) @ windows).unflatten(0, (len(x), 2)).mean((1, 2)))


def response_norm(model, x):
    grown = x * x.norm(dim=1, keepdim=True)
    return model.head(torch.addcmul(model.shift.view(1, 1, 3), model.scale.view(1, 1, 3), grown).tanh().mean(1))


def class_token(model, x):
    joined = torch.cat([model.token.expand(len(x), -1, -1), x + model.places[:, : x.shape[1]]], 1)
    return model.head(joined.tanh().cumsum(1)[:, -1])


def used_twice(model, x):
    return model.head(torch.tanh(functional.linear(functional.linear(x, 2 * model.w), model.w.exp())).mean(1))


def head():
    return nn.Linear(3, 2)


def index():
    return torch.arange(25).reshape(5, 5) * 3 % 7


def network(layer, width):
    return nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.Linear(width, 2))


transposed = nn.ConvTranspose1d
CASES = {
    "a table looked up once": lambda: Uses(looked_up_once, table=nn.Embedding(9, 3), head=head()),
    "a relative bias": lambda: Uses(relative_bias, table=normal(7), index=index(), head=head()),
    "a relative bias in windows": lambda: Uses(in_windows, table=normal(7), index=index(), head=head()),
    "weight normalisation": lambda: network(nn.utils.parametrizations.weight_norm(nn.Conv1d(5, 4, 2)), 8),
    "a standardised weight": lambda: network(Standardised(5, 4, 2), 8),
    "global response normalisation": lambda: Uses(response_norm, shift=normal(3), scale=normal(3), head=head()),
    "a token and sliced places": lambda: Uses(class_token, token=normal(1, 1, 3), places=normal(1, 6, 3), head=head()),
    "two made of one": lambda: Uses(used_twice, w=normal(3, 3), head=head()),
    "transposed convolution": lambda: network(transposed(5, 4, 3, 2, 1, 1, dilation=2), 4 * 8),
    "transposed convolution in groups": lambda: network(transposed(5, 10, 2, stride=3, groups=5, bias=False), 80),
    "transposed convolution, cut": lambda: network(transposed(5, 4, 2, stride=3, output_padding=2), 4 * 10),
}


def within(found, expected):
    return float((found - expected).abs().max()) <= TOL["float64"] * float(expected.abs().max())


@pytest.mark.parametrize("name", CASES)
def test_gradients_go_back_through_what_was_made(name):
    torch.manual_seed(0)
    model, x = CASES[name]().double().eval(), torch.randn(4, 5, 3, dtype=torch.float64)
    J = features(model, x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert inspect(model, x).generic == ()
        assert within(tangent_kernel(model, x), J @ J.mT)
        made = tangent_features(model, x, k=J.shape[2], seed=0, projection="haar", keep_head=False).body
    assert within(made @ made.mT, J @ J.mT)


def test_a_standardised_weight_may_be_left_out():
    torch.manual_seed(0)
    model, x = CASES["a standardised weight"]().double().eval(), torch.randn(4, 5, 3, dtype=torch.float64)
    J = features(model, x)[:, :, -18:]
    assert within(tangent_kernel(model, x, parameters=["3.weight", "3.bias"]), J @ J.mT)


def test_batch_statistics_of_activations_are_refused_still():
    def centred(model, x):
        return model.head(functional.batch_norm(x.mean(1) * model.scale, None, None, training=True))

    with pytest.raises(ValueError, match="batch statistics"):
        tangent_kernel(Uses(centred, scale=normal(3), head=head()), torch.randn(4, 5, 3))


def turned(model, x):
    """The made tensor, and one of its parameters besides in an operation without a rule."""
    return model.head(torch.einsum("nld,d->nd", x + model.a * model.b, model.a))


def changed(model, x):
    made = model.a * model.b
    made.mul_(2)
    return model.head((x + made).tanh().mean(1))


@pytest.mark.parametrize("function", [turned, changed])
def test_where_one_parameter_takes_the_generic_path_all_do_that_it_was_joined_with(function):
    torch.manual_seed(0)
    model, x = Uses(function, a=normal(3), b=normal(3), head=head()).double(), torch.randn(4, 5, 3).double()
    J = features(model, x)
    with pytest.warns(UserWarning, match="no rule for the use of a, b"):
        assert inspect(model, x).generic == ("a", "b")
    with pytest.warns(UserWarning, match="no rule"):
        assert within(tangent_kernel(model, x), J @ J.mT)


def test_what_is_joined_is_closed_under_what_it_was_made_of():
    names = [(Made("~0", ("a", "b")), None), (Made("~1", ("b", "c")), "d"), ("e", None)]
    assert closed(names, {"a"}) == {"a", "b", "c"}
    assert closed(names, {"d"}) == {"d"}
