"""Every refusal: good input comes back unchanged, the rest gets one line that says what is wrong."""

import numpy as np
import pytest
import torch
from torch import nn

from dntk_fast import _check, _device


def test_what_is_checked_comes_back_as_it_was():
    x = torch.ones(3, 2)
    assert _check.array("x", x) is x
    assert _check.inputs("x", x) is x
    assert _check.integer("m", np.int64(3), 1) == 3
    assert _check.seed(0) == 0
    assert _check.positive("lam", 1e-9) == 1e-9
    assert _check.nonnegative("lam", 0) == 0.0
    assert _check.fraction("tau", 1) == 1.0
    assert _check.choice("kind", "a", ("a", "b")) == "a"
    kernel = np.eye(2)
    assert _check.kernels("kernel", kernel) is kernel
    labels = np.array([0, 1])
    assert _check.partition("labels", labels, 2) is labels
    assert _check.logits(x, 3) is x


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: _check.integer("m", 2.0, 1), TypeError, r"^m: expected an integer, got 2\.0$"),
        (lambda: _check.integer("m", True, 1), TypeError, "^m: expected an integer, got True$"),
        (lambda: _check.dimension(0, 9), ValueError, r"^k: expected an integer in \[1, 9\], got 0$"),
        (lambda: _check.dimension(10, 9), ValueError, r"^k: expected an integer in \[1, 9\], got 10$"),
        (lambda: _check.seed(-1), ValueError, "^seed: expected an integer in"),
        (
            lambda: _check.nonnegative("lam", -1.0),
            ValueError,
            r"^lam: expected a number that is 0 or above, got -1\.0$",
        ),
        (lambda: _check.nonnegative("lam", float("nan")), ValueError, "^lam: expected a finite number, got nan$"),
        (lambda: _check.nonnegative("lam", "1"), TypeError, "^lam: expected a real number, got '1'$"),
        (lambda: _check.positive("lam", 0), ValueError, "^lam: expected a number above 0"),
        (lambda: _check.fraction("tau", 1.5), ValueError, r"^tau: expected a number in \[0, 1\], got 1\.5$"),
        (lambda: _check.choice("kind", "c", ("a", "b")), ValueError, "^kind: expected one of a, b, got 'c'$"),
        (lambda: _check.array("x", [1.0]), TypeError, "^x: expected an array, got list$"),
        (
            lambda: _check.array("x", np.ma.masked_array([1.0], [True])),
            TypeError,
            "^x: expected an array without a mask, got a MaskedArray$",
        ),
        (
            lambda: _check.partition("y", np.ma.masked_array([1], [True]), 1),
            TypeError,
            "^y: expected an array without a mask, got a MaskedArray$",
        ),
        (lambda: _check.tensor("x", np.ones(2)), TypeError, "^x: expected a torch tensor, got ndarray$"),
        (lambda: _check.path("folder", None), TypeError, "^folder: expected a path, got NoneType$"),
        (lambda: _check.parameter(nn.Tanh()), ValueError, "^model: expected at least one parameter, got none$"),
        (lambda: _check.parameter(3), TypeError, r"^model: expected a torch\.nn\.Module, got int$"),
        (
            lambda: _check.array("x", np.ones(2, int)),
            TypeError,
            "^x: expected real floating-point numbers, got dtype int64$",
        ),
        (lambda: _check.array("x", np.ones(2), ndim=2), ValueError, r"^x: expected 2 axes, got shape \(2,\)$"),
        (lambda: _check.array("x", np.array([np.nan])), ValueError, "^x: expected finite entries"),
        (
            lambda: _check.kernels("kernel", np.ones((2, 3))),
            ValueError,
            r"^kernel: expected square .* got shape \(2, 3\)$",
        ),
        (
            lambda: _check.partition("labels", np.ones(2), 2),
            TypeError,
            "^labels: expected integer labels, got dtype float64$",
        ),
        (lambda: _check.partition("labels", np.ones(2, int), 3), ValueError, r"^labels: expected shape \(3,\)"),
        (lambda: _check.inputs("x", [1]), TypeError, "^x: expected a tensor, or a tuple or dict of tensors, got list$"),
        (lambda: _check.inputs("x", torch.ones(0, 2)), ValueError, "^x: expected at least one sample"),
        (
            lambda: _check.inputs("x", (torch.ones(2), torch.ones(3))),
            ValueError,
            "^x: expected the same number of samples",
        ),
        (lambda: _check.inputs("x", torch.tensor([[1.0, float("inf")]])), ValueError, "^x: expected finite entries"),
        (
            lambda: _check.logits(torch.ones(3), 3),
            ValueError,
            r"^model: expected outputs of shape \(3, C\), or outputs=\(model, batch\) -> \(n, C\), got shape \(3,\)$",
        ),
        (
            lambda: _check.logits((torch.ones(3, 1),), 3),
            TypeError,
            r"^model: expected an output tensor \(n, C\), or outputs=\(model, batch\) -> \(n, C\), got tuple$",
        ),
        (lambda: _check.logits(torch.full((1, 1), float("nan")), 1), ValueError, "^model: expected finite outputs"),
        (lambda: _check.frozen_statistics(abs), TypeError, "^model: expected a torch.nn.Module, got builtin_function"),
    ],
)
def test_refusals_name_argument_expectation_and_value(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.Dropout(0.1), "draws random numbers"),
        (nn.RReLU(), "draws random numbers"),
        (nn.MultiheadAttention(4, 2, dropout=0.1), "draws random numbers"),
        (nn.BatchNorm1d(2), "uses batch statistics"),
        (nn.InstanceNorm1d(2, track_running_stats=True), "uses batch statistics"),
    ],
)
def test_training_mode_is_refused_only_where_it_changes_the_function(layer, reason):
    model = nn.Sequential(nn.Linear(2, 2), layer)
    kind = type(layer).__name__
    with pytest.raises(ValueError, match=rf"^model: expected evaluation mode .* {kind} 1 that {reason}$"):
        _check.frozen_statistics(model.train())
    assert _check.frozen_statistics(model.eval()) is model


@pytest.mark.parametrize("layer", [nn.Linear(2, 2), nn.Dropout(0.0), nn.LayerNorm(2), nn.InstanceNorm1d(2)])
def test_plain_layers_in_training_mode_are_accepted(layer):
    assert _check.frozen_statistics(layer.train()) is layer


def test_batch_norm_without_running_statistics_is_refused_in_evaluation_mode_too():
    with pytest.raises(ValueError, match="has no running statistics"):
        _check.frozen_statistics(nn.BatchNorm1d(2, track_running_stats=False).eval())


def test_free_memory_is_what_the_system_reports():
    assert 2**20 < _device.available_memory("cpu") < 2**60


@pytest.mark.parametrize("entries", [[3e38, 3e38], [-3e38, -3e38, 1.0], [0.0]])
def test_finite_entries_whose_sum_overflows_pass(entries):
    value = torch.tensor(entries)
    assert _check.array("x", value) is value


@pytest.mark.parametrize("entries", [[float("inf"), float("-inf")], [1.0, float("nan")], [float("inf"), 1.0]])
def test_entries_that_are_not_finite_are_refused_whatever_their_sum(entries):
    with pytest.raises(ValueError, match="x: expected finite entries"):
        _check.array("x", torch.tensor(entries))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.LazyLinear(2), r"^model: expected parameters with shapes \(run the model once\), got weight without one$"),
        (
            nn.Linear(2, 2, device="meta"),
            "^model: expected parameters that hold numbers, got weight on the meta device$",
        ),
    ],
)
def test_parameters_without_numbers_are_refused(model, message):
    with pytest.raises(ValueError, match=message):
        _check.frozen_statistics(model)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: _check.inputs("x", torch.ones(2, 3, device="meta")),
            "x: expected a tensor that holds numbers, got one on",
        ),
        (
            lambda: _check.inputs("x", torch.ones(2, 3).to(torch.float8_e4m3fn)),
            "x: expected numbers of two bytes or more",
        ),
        (lambda: _check.array("x", torch.ones(2, 3).to_sparse()), "x: expected a dense tensor, got one of layout"),
        (lambda: _check.array("x", np.ones((2, 2)).view(np.matrix)), "x: expected an array, got a matrix"),
        (lambda: _check.positive("lam", 10**400), "lam: expected a number that float64 holds"),
        (
            lambda: _check.partition("y", torch.zeros(3, dtype=torch.uint16), 3),
            "y: expected integers that torch compares",
        ),
    ],
)
def test_what_torch_does_not_compute_with_is_refused_by_its_name(call, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        call()
