"""Kinds of models on which a rule, a second derivative, a type or two probed rows would mislead: right, or one line.

The truth is one sample in the model and one output in the backward pass.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

from dntk_fast import (
    Jacobian,
    jacobian_vector,
    kernel_diagonal,
    kernel_vector,
    tangent_features,
    tangent_kernel,
    trace_probes,
    vector_jacobian,
)
from tests.fast.plain import close, features
from tests.tolerances import TOL

pytestmark = pytest.mark.filterwarnings("ignore:no rule for the use")


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Uses(nn.Module):
    """A function (self, *inputs) of some layers and parameters."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.register_buffer(name, part) if type(part) is torch.Tensor else setattr(self, name, part)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def layers(**more):
    torch.manual_seed(0)
    return {"a": nn.Linear(3, 4), "o": nn.Linear(4, 2), **more}


class Cosine(torch.autograd.Function):
    """NumPy forwards and backwards: a second derivative finds constants."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.from_numpy(np.cos(x.detach().numpy()))

    @staticmethod
    def backward(ctx, g):
        return torch.from_numpy(-g.detach().numpy() * np.sin(ctx.saved_tensors[0].detach().numpy()))


def hooked(change):
    def forward(model, x):
        h = torch.tanh(model.a(x))
        if h.requires_grad:
            h.register_hook(change)
        return model.o(h)

    return forward


def some_without_gradient(model, x):
    h = torch.tanh(model.a(x))
    with torch.no_grad():
        kept = 2 * h
    return model.o(torch.where(x[:, :1] > 0, kept, h))


def ragged(model, x, counts):
    h = torch.tanh(model.a(x.repeat_interleave(counts, 0)))
    return model.o(torch.segment_reduce(h, "mean", lengths=counts, unsafe=True))


def packed(model, x, lengths):
    p = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    p = PackedSequence(torch.tanh(model.a(p.data)), p.batch_sizes, p.sorted_indices, p.unsorted_indices)
    return model.o(pad_packed_sequence(p, batch_first=True)[0].sum(1))


def spectral(model, x):
    return model.o(torch.fft.irfft(torch.fft.rfft(model.a(x)) * model.gain + model.shift, n=4))


def in_place(model, x):
    return model.o(torch.tanh(model.a(x[:, None]))).mul_(3)[:, 0]


def words():
    table = nn.Embedding(7, 4, padding_idx=0)
    nn.init.normal_(table.weight)
    return Uses(lambda model, w: model.o(torch.tanh(model.e(w)).mean(1)), **layers(e=table))


MIDDLE = torch.tensor([-1.0, -1, 1, -1, 1, -1])


def marked(x):
    x[:, 0] = MIDDLE
    return x


MODELS = {
    "backwards by NumPy": lambda: (Uses(lambda m, x: m.o(Cosine.apply(m.a(x))), **layers()), normal(6, 3)),
    "a hook that scales": lambda: (Uses(hooked(lambda g: 3 * g), **layers()), normal(6, 3)),
    "a hook that knows places": lambda: (Uses(hooked(lambda g: g * torch.tensor([1.0, 0, 2, 3])), **layers()), normal(6, 3)),
    "rows without gradient": lambda: (Uses(some_without_gradient, **layers()), marked(normal(6, 3))),
    "a padding word in the middle": lambda: (words(), torch.tensor([[1, 2, 3], [4, 0, 0], [0, 5, 1], [6, 6, 1]])),
    "ragged sets": lambda: (Uses(ragged, **layers()), (normal(4, 3), torch.tensor([2, 1, 3, 2]))),
    "packed sequences": lambda: (Uses(packed, **layers()), (normal(5, 4, 3), torch.tensor([4, 1, 3, 2, 4]))),
    "real gains of a spectrum": lambda: (
        Uses(spectral, **layers(gain=nn.Parameter(normal(3, seed=1)), shift=nn.Parameter(normal(3, seed=2)))),
        normal(6, 3),
    ),
    "outputs changed in place": lambda: (Uses(in_place, **layers()), normal(6, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_every_quantity_is_that_of_plain_backward_passes(name):
    model, x = MODELS[name]()
    model = model.double()
    J = features(model, x)
    C, n, P = J.shape
    K, v = J @ J.mT, normal(C, n, seed=3)
    w = {key: torch.ones_like(p) for key, p in model.named_parameters()}
    assert close(tangent_kernel(model, x), K)
    assert close(kernel_diagonal(model, x), K.diagonal(dim1=1, dim2=2))
    assert close(jacobian_vector(model, x, w), J.sum(2))
    assert close(kernel_vector(model, x, v), (K @ v[..., None])[..., 0])
    pulled = torch.cat([g.flatten(1) for g in vector_jacobian(model, x, v).values()], 1)
    assert close(pulled, (J.mT @ v[..., None])[..., 0])
    found = tangent_features(model, x, k=P, seed=0, projection="haar", keep_head=False).values
    assert close(found @ found.mT, K)


def test_a_hook_that_is_not_linear_is_refused_by_products():
    model, x = Uses(hooked(lambda g: g.clamp(-0.05, 0.05)), **layers()).double(), normal(6, 3)
    w = {key: torch.ones_like(p) for key, p in model.named_parameters()}
    for call in (lambda: jacobian_vector(model, x, w), lambda: kernel_vector(model, x, torch.ones(2, 6).double())):
        with pytest.raises(ValueError, match=r"^model: expected backward passes that are linear, got a hook"):
            call()


def test_a_model_that_branches_on_the_whole_batch_is_refused_though_its_ends_are_alike():
    class Branch(nn.Linear):
        def forward(self, x):
            return torch.tanh(super().forward(x)) if x.sum() > 0 else super().forward(x)

    x = torch.full((5, 3), -1.0)
    x[[0, -1]] = 5.0
    with pytest.raises(ValueError, match=r"^model: expected outputs of a sample that depend on it alone, got a change"):
        tangent_kernel(Branch(3, 2), x)


# --- types ------------------------------------------------------------------------------------------------------------


class Casting(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.n, self.o = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(16, 2)

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.o(torch.tanh(self.n(self.a(x))).flatten(1)).float()


def test_autocast_inside_a_model_is_served_within_its_precision():
    torch.manual_seed(0)
    model, x = Casting().eval(), normal(5, 1, 4, 4).float()
    J = features(model, x).double()
    assert close(tangent_kernel(model, x), J @ J.mT, TOL["bfloat16"])
    w = {key: torch.ones_like(p) for key, p in model.named_parameters()}
    assert close(jacobian_vector(model, x, w).double(), J.sum(2), TOL["bfloat16"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_layers_with_float_logits_are_judged_by_the_coarser_type(dtype):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
    body = nn.Sequential(layer, nn.Flatten(), nn.Linear(24, 2)).to(dtype)
    model, x = Uses(lambda m, x: m.body(x).float(), body=body).eval(), normal(4, 3, 8).to(dtype)
    exact = Uses(lambda m, x: m.body(x), body=body).eval()
    K = tangent_kernel(exact, x, dtype=torch.float64)
    assert close(tangent_kernel(model, x), K, 2 * TOL["bfloat16"])


def test_half_types_are_multiplied_in_float32():
    model, x = nn.Linear(1000, 1, bias=False).half(), (10 * normal(4, 1000)).half()
    K = (x.double() @ x.double().T)[None]
    assert float(K.max()) > torch.finfo(torch.float16).max
    assert close(tangent_kernel(model, x), K, TOL["float32"])
    assert close(kernel_diagonal(model, x), K.diagonal(dim1=1, dim2=2), TOL["float32"])


def test_what_float32_cannot_hold_is_named_and_float64_gives_it():
    model, x = nn.Linear(3, 2, bias=False), normal(4, 3).float()
    for scale, word in ((1e20, "an overflow"), (1e-30, "an underflow")):
        for J in (Jacobian(model).kernel, Jacobian(model).kernel_sum, Jacobian(model).kernel_full):
            with pytest.raises(ValueError, match=rf"^model: expected .*dtype=torch.float64.*, got {word}"):
                J(scale * x)
        K = (scale * x).double() @ (scale * x).double().T
        assert close(tangent_kernel(model, scale * x, dtype=torch.float64), K.expand(2, 4, 4))
    with pytest.raises(ValueError, match=r"^model: expected a diagonal that its precision holds .*, got an overflow"):
        kernel_diagonal(model, 1e20 * x)
    root = Uses(lambda m, x: m.a(x).sqrt(), a=nn.Linear(3, 2, bias=False))
    with pytest.raises(ValueError, match=r"^model: expected a kernel that its precision holds .*, got an overflow"):
        tangent_kernel(root, torch.zeros(2, 3))


def test_outputs_that_cancel_are_not_taken_for_mixed_samples():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 512), nn.ReLU(), nn.Linear(512, 3)), normal(5, 6).float()
    with torch.no_grad():
        for p in (model[0].weight, model[0].bias):
            p[256:] = p[:256]
        model[2].weight[:, 256:] = -model[2].weight[:, :256]
        model[2].bias.zero_()
    J = features(model, x)
    assert close(tangent_kernel(model, x), (J @ J.mT).double(), TOL["float32"])


def test_complex_buffers_stay_complex_in_another_precision():
    def turned(model, x):
        z = torch.view_as_complex(model.a(x).unflatten(1, (2, 2)).contiguous()) * model.turns
        return model.o(torch.tanh(torch.view_as_real(z).flatten(1)))

    model = Uses(turned, **layers(turns=torch.polar(torch.ones(2), torch.tensor([0.7, 2.1]))))
    x = normal(5, 3).float()
    J = features(model, x)
    for dtype in (None, torch.float64):
        assert close(tangent_kernel(model, x, dtype=dtype), (J @ J.mT).double(), TOL["float32"])


# --- torch's own fault, and lines for raw errors ---------------------------------------------------------------------


def test_batch_norm_of_one_transposed_image_is_right_in_every_memory():
    torch.manual_seed(0)

    def tokens(model, x):
        t = (model.a(x) + model.places).transpose(1, 2).reshape(len(x), 4, 2, 3)
        return model.o(model.n(torch.tanh(t)).flatten(2).sum(2))

    parts = layers(n=nn.BatchNorm2d(4), places=nn.Parameter(normal(1, 6, 4, seed=1)))
    model, x = Uses(tokens, **parts).double().eval(), normal(4, 6, 3)
    model.n.running_var.uniform_(0.5, 2)
    model.n.running_mean.normal_()
    pairs = [features(model, torch.stack((row, row)))[:, 0] for row in x]  # of one row torch itself is wrong
    K = torch.stack(pairs, 1)
    K = K @ K.mT
    ones = torch.ones(2, 4, dtype=torch.float64)
    assert close(tangent_kernel(model, x), K)
    assert close(kernel_diagonal(model, x), K.diagonal(dim1=1, dim2=2))
    assert close(kernel_vector(model, x, ones), K.sum(2))
    saved = Jacobian(model).kernel(x[:1])
    assert close(saved, K[:, :1, :1])


def served_or_refused(ask, truth):
    try:
        found = ask()
    except ValueError as error:
        return str(error).startswith("model: expected outputs of shape")
    return close(found, truth)


def test_models_that_torch_stops_are_refused_in_one_line():
    w, x = nn.Parameter(normal(2, 3)), normal(5, 3)
    squeezing = Uses(lambda m, x: torch.einsum("oi,ni->no", m.w, x).squeeze(), w=w)
    K = (x @ x.T).expand(2, 5, 5)
    for call, truth in ((tangent_kernel, K), (kernel_diagonal, K.diagonal(dim1=1, dim2=2))):
        assert served_or_refused(lambda call=call: call(squeezing, x), truth)
    again = Uses(lambda m, x: m.o(checkpoint(m.b, m.a(x), use_reentrant=True)), **layers(b=nn.Linear(4, 4))).double()
    w = {key: torch.ones_like(p) for key, p in again.named_parameters()}
    ones = torch.ones(2, 5, dtype=torch.float64)
    for call, given in ((vector_jacobian, ones), (kernel_vector, ones), (jacobian_vector, w)):
        with pytest.raises(ValueError, match=r"^model: expected activations that are kept for the backward pass .*, got torch.utils"):
            call(again, x, given)


def test_the_caller_s_default_device_is_not_the_model_s():
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), normal(5, 3).float()
    K, probes = tangent_kernel(model, x), trace_probes(model, x, 2, seed=0)
    with torch.device("meta"):
        assert torch.equal(tangent_kernel(model, x).cpu(), K)
        assert torch.equal(trace_probes(model, x, 2, seed=0).cpu(), probes)
