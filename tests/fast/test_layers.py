"""Every rule against plain automatic differentiation, over drawn layer settings; and what a wrong rule would give."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dntk_fast.tangent.gram import add_gram, squared_norms
from dntk_fast.tangent.layers import Deferred, Lookup, Outer, merge, stack
from dntk_fast.tangent.passes import capture, inspect
from tests.fast.plain import Readout, close, jacobian, kernel
from tests.tolerances import TOL


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gram(trace, x1, x2, rule, pairing="class"):
    C, n1, n2 = trace.outputs, len(x1), len(x1 if x2 is None else x2)
    shape = {"class": (C, n1, n2), "sum": (n1, n2), "full": (C, n1, C, n2)}[pairing]
    total = torch.zeros(shape, dtype=torch.float64)
    lefts = list(capture(trace, x1))
    rights = [None] * len(lefts) if x2 is None else capture(trace, x2)
    for left, right in zip(lefts, rights, strict=True):
        add_gram(total, left, right, rule, pairing, 10**4)
    return total


def check(layer, x):
    """Gradients, Gram blocks of both rules, and norms of both rules, all from one layer."""
    model = Readout(layer, x)
    expected, trace = jacobian(model, x), inspect(model, x)
    assert trace.generic == ()
    for together in (1, 2, trace.outputs):
        tangents = list(capture(trace, x, together=together))
        found = {name: g for t in tangents for name, g in t.gradients().items()}
        assert found.keys() == expected.keys()
        assert all(close(found[name], expected[name]) for name in expected)
    Phi = torch.cat([g.flatten(2) for g in expected.values()], 2)
    K = Phi @ Phi.mT
    for rule in ("factors", "explicit"):
        assert close(torch.triu(gram(trace, x, None, rule)), torch.triu(K))
        assert close(gram(trace, x, x[:2], rule), K[:, :, :2])
        assert close(sum(squared_norms(t, rule, 10**4) for t in tangents), K.diagonal(dim1=1, dim2=2))


seeds = st.integers(0, 2**31)


@st.composite
def convolutions(draw):
    dims = draw(st.integers(1, 3))
    each = st.lists(st.integers(1, 2), min_size=dims, max_size=dims).map(tuple)
    kernel_size = draw(st.lists(st.integers(1, 3), min_size=dims, max_size=dims).map(tuple))
    groups, stride = draw(st.integers(1, 2)), draw(each)
    padding = draw(st.one_of(st.integers(0, 2), each, st.sampled_from(["same", "valid"])))
    mode = draw(st.sampled_from(["zeros", "circular", "reflect", "replicate"]))
    torch.manual_seed(draw(seeds))
    layer = [nn.Conv1d, nn.Conv2d, nn.Conv3d][dims - 1](
        groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2)), kernel_size,
        stride=1 if padding == "same" else stride, padding=padding, dilation=draw(each), groups=groups,
        bias=draw(st.booleans()), padding_mode=mode,
    )  # fmt: skip
    x = normal(draw(seeds), 3, layer.in_channels, *([5, 6, 5][:dims]))
    return layer, x


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # torch's word on its own speed
@settings(max_examples=30)
@given(convolutions())
def test_convolutions(case):
    check(*case)


@given(st.lists(st.integers(1, 3), max_size=3), st.booleans(), seeds)
def test_linear_with_any_leading_dimensions(positions, bias, seed):
    torch.manual_seed(seed)
    check(nn.Linear(3, 4, bias=bias), normal(seed, 3, *positions, 3))


def norms(affine):
    evaluated = [nn.BatchNorm1d(4, affine=affine), nn.BatchNorm2d(4, affine=affine), nn.BatchNorm3d(4, affine=affine)]
    return [
        *((layer.eval(), shape) for layer, shape in zip(evaluated, [(4, 3), (4, 2, 3), (4, 2, 1, 3)], strict=True)),
        (nn.BatchNorm1d(4).eval(), (4,)),
        (nn.LayerNorm(4), (3, 4)),
        (nn.LayerNorm((3, 4), bias=False), (2, 3, 4)),
        (nn.GroupNorm(2, 4), (4, 3)),
        (nn.InstanceNorm2d(4, affine=True), (4, 2, 3)),
        (nn.RMSNorm(4), (2, 4)),
        (nn.PReLU(), (4, 3)),
        (nn.PReLU(4), (4, 3)),
    ]


@pytest.mark.parametrize("case", norms(True), ids=lambda case: f"{type(case[0]).__name__}{case[1]}")
@pytest.mark.parametrize("seed", [0, 1])
def test_norms_and_scales(case, seed):
    layer, shape = case
    with torch.no_grad():
        for number, value in enumerate([*layer.parameters(), *(b for b in layer.buffers() if b.is_floating_point())]):
            value.copy_(1 + normal(seed + number, *value.shape).abs())
    check(layer, normal(seed, 4, *shape))


@given(st.integers(1, 4), st.sampled_from([None, 0, -1]), seeds)
def test_embedding(length, padding, seed):
    torch.manual_seed(seed)
    check(nn.Embedding(5, 3, padding_idx=padding), torch.randint(0, 5, (3, length)))


@given(seeds, st.integers(1, 4), st.integers(1, 5))
def test_all_pairs_of_outputs_and_their_sum(seed, positions, rows):
    torch.manual_seed(seed)
    x, other = normal(seed, 3, positions, 2), normal(seed + 1, rows, positions, 2)
    model = Readout(nn.Linear(2, 3), x)
    J1, J2 = (torch.cat([g.flatten(2) for g in jacobian(model, part).values()], 2) for part in (x, other))
    for rule in ("factors", "explicit"):
        assert close(gram(inspect(model, x), x, other, rule, "full"), torch.einsum("cip,djp->cidj", J1, J2))
        assert close(gram(inspect(model, x), x, other, rule, "sum"), torch.einsum("cip,cjp->ij", J1, J2))


# --- wrong rules are told apart ---------------------------------------------------------------------------------------


def far(found, expected):
    return not close(found, expected, TOL["apart"])


def factors_of(layer, x):
    model = Readout(layer, x)
    (tangent,) = capture(inspect(model, x), x)
    return tangent.factors(), kernel(model, x)


def test_without_the_bias_the_kernel_is_another():
    f, K = factors_of(nn.Conv2d(2, 3, 3), normal(0, 3, 2, 5, 5))
    A, D = f.activation[:, 0], f.cotangent[:, :, 0]
    weight = torch.einsum("cita,cjsa,itp,jsp->cij", D, D, A, A)
    assert close(weight + torch.einsum("cita,cjsa->cij", D, D), K)
    assert far(weight, K)


def test_a_product_of_sums_over_positions_is_no_sum_of_products():
    f, K = factors_of(nn.Conv2d(2, 3, 3, bias=False), normal(0, 3, 2, 5, 5))
    a, d = f.activation[:, 0].sum(1), f.cotangent[:, :, 0].sum(2)
    assert far((d @ d.mT) * (a @ a.T), K)
    f, K = factors_of(nn.Conv2d(2, 3, 5, bias=False), normal(0, 3, 2, 5, 5))  # one position: then it is
    a, d = f.activation[:, 0].sum(1), f.cotangent[:, :, 0].sum(2)
    assert close((d @ d.mT) * (a @ a.T), K)


def test_uses_of_one_weight_have_cross_terms():
    x = normal(0, 3, 2)
    torch.manual_seed(0)
    layer = nn.Linear(2, 2)
    model = Readout(nn.Sequential(layer, nn.Tanh(), layer), x)
    trace = inspect(model, x)
    (tangent,) = capture(trace, x)
    K = kernel(model, x)
    f = tangent.factors()
    assert f.activation.shape[2] == 2
    apart = sum(
        torch.einsum("cia,cja,ij->cij", D, D, A @ A.T + 1)
        for A, D in ((f.activation[:, 0, t], f.cotangent[:, :, 0, t]) for t in (0, 1))
    )
    assert close(torch.triu(gram(trace, x, None, "factors")), torch.triu(K))
    assert far(apart, K)


# --- the parts --------------------------------------------------------------------------------------------------------


def test_an_embedding_gives_any_rows_of_its_table():
    D = normal(0, 1, 2, 3, 2)
    table = Lookup("e", {"e": torch.Size([4, 2])}, torch.tensor([[0, 3, 3], [1, 1, 1]]), D)
    whole = table.gradient("e")
    assert torch.equal(whole[0, 0, 3], D[0, 0, 1] + D[0, 0, 2])
    assert torch.equal(whole[0, 1, 1], D[0, 1].sum(0))
    assert torch.equal(table.columns(torch.tensor([0, 2, 3])), whole[:, :, [0, 2, 3]])


def test_deferred_gradients_are_asked_for_the_right_rows():
    asked = []

    def compute(names, chunk):
        asked.append(chunk)
        return {name: torch.zeros(1, chunk.stop - chunk.start, 2) for name in names}

    tangent = Deferred({"w": torch.Size([2])}, (1, 10), compute).rows(slice(2, 9)).rows(slice(3, 5))
    assert tangent.extent == (1, 2)
    assert tangent.gradient("w").shape == tangent.gradients()["w"].shape == (1, 2, 2)
    assert asked == [slice(5, 7)] * 2


def test_uses_of_different_kinds_are_summed():
    x = normal(0, 2, 3)
    parts = [
        Outer("w", None, {"w": torch.Size([3, 3])}, x, x.reshape(1, 2, 1, 1, 3), lambda s: s[:, None, None], transposed)
        for transposed in (False, True)
    ]
    both = merge(parts)
    assert both.extent == (1, 2)
    assert both.factors() is None
    assert close(both.gradient("w"), 2 * torch.einsum("ia,ib->iab", x, x)[None])
    assert close(both.rows(slice(1, 2)).gradient("w"), both.gradient("w")[:, 1:])


def test_only_tangents_of_calls_can_be_stacked():
    part = Deferred({"w": torch.Size([2])}, (1, 1), lambda names, chunk: {})
    with pytest.raises(TypeError, match="expected the tangents of marked calls, got Deferred"):
        stack([part, part])
