"""Odd tensors and arrays at every door: the plain answer, or one line that names the caller's argument."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from dntk_fast import (
    DistilledNTK,
    FullProblem,
    Jacobian,
    Retraining,
    Uncertainty,
    activation_kernel,
    block_kernel,
    build,
    choose_rows,
    distil_images,
    held_out,
    jacobian_vector,
    kernel_diagonal,
    kernel_vector,
    norm_errors,
    penultimate,
    quadratic_forms,
    tangent_features,
    tangent_kernel,
    tangent_kernel_full,
    tangent_kernel_sum,
    trace_probes,
    train,
    training_subset,
    tune_images,
    vector_jacobian,
    write_features,
)
from tests.tolerances import TOL

X = torch.linspace(-1, 1, 160).sin().mul(7).sin().reshape(40, 4)
Y = torch.arange(40) % 2
MODEL = build("mlp", seed=0, inputs=4, hidden=(6,), outputs=2)
ONES = {name: torch.ones(2, *p.shape) for name, p in MODEL.named_parameters()}
SUBSET = training_subset(FullProblem(MODEL, X, MODEL(X).detach().T, 0.1), torch.tensor([0, 1]))
FITTED = DistilledNTK(MODEL, per_class=3, seed=0).fit(X, Y)
MACHINE, SURE = Retraining(MODEL, ridge=0.1).fit(X, Y), Uncertainty(MODEL).fit(X)
FEATURES = tangent_features(MODEL, X, k=4, seed=0)


def fitted(x, y=Y):
    return DistilledNTK(MODEL, per_class=3, seed=0).fit(x, y).logits(X)


def retrained(x, y=Y):
    return Retraining(MODEL, ridge=0.1).fit(x, y).without([0, 3], X[:3])


def trained(x, y=Y):
    return train(MODEL, x, y, epochs=1, seed=0).model(X).detach()


def distilled(x, y=Y):
    return distil_images(MODEL, x, y, per_class=2, seed=0, steps=1).images


def chosen(x, y=Y):
    return choose_rows(MODEL, x, y, images="stratified", count=4, classes=2, seed=0)


def stored(x, folder):
    return write_features(folder, MODEL, x, k=4, seed=0, shard_rows=15).values


TENSORS = {
    "tangent_kernel": lambda x: tangent_kernel(MODEL, x),
    "tangent_kernel, x2": lambda x: tangent_kernel(MODEL, X, x),
    "kernel_diagonal": lambda x: kernel_diagonal(MODEL, x),
    "tangent_kernel_sum": lambda x: tangent_kernel_sum(MODEL, x),
    "tangent_kernel_full": lambda x: tangent_kernel_full(MODEL, x),
    "tangent_features": lambda x: tangent_features(MODEL, x, k=4, seed=0).values,
    "norm_errors": lambda x: norm_errors(MODEL, x, FEATURES),
    "vector_jacobian": lambda x: vector_jacobian(MODEL, x, torch.ones(2, 40, device="cpu"))["1.weight"],
    "jacobian_vector": lambda x: jacobian_vector(MODEL, x, ONES),
    "kernel_vector": lambda x: kernel_vector(MODEL, x, torch.ones(2, 40, device="cpu")),
    "quadratic_forms": lambda x: quadratic_forms(MODEL, x, torch.ones(2, 40, 3, device="cpu")),
    "trace_probes": lambda x: trace_probes(MODEL, x, 3, seed=0),
    "Jacobian": lambda x: Jacobian(MODEL).kernel(x),
    "block_kernel": lambda x: block_kernel(MODEL, x),
    "held_out": lambda x: held_out(SUBSET, x).scale,
    "activation_kernel": lambda x: activation_kernel(MODEL, x),
    "choose_rows": chosen,
    "distil_images": distilled,
    "tune_images": lambda x: tune_images(MODEL, x, X[:4], seed=0, steps=1).images,
    "train": trained,
}
ARRAYS = {
    "fit": fitted,
    "logits": lambda x: FITTED.logits(x),
    "Retraining": retrained,
    "without": lambda x: MACHINE.without([0, 3], x),
    "Uncertainty": lambda x: Uncertainty(MODEL).fit(x).variance(X[:3]),
    "variance": lambda x: SURE.variance(x),
}
BOTH = TENSORS | ARRAYS


class Named(torch.Tensor):
    """A subclass as a library makes them, to carry a name."""


with torch.inference_mode():
    INFERENCE = X.clone()
SAME = {
    "strided": torch.stack((X, X), 1)[:, 0],
    "transposed": X.T.contiguous().T,
    "negated": torch._neg_view(-X),
    "of a conjugate": torch.complex(torch.zeros_like(X), -X).conj().imag,
    "with a gradient": X.clone().requires_grad_(),
    "with a history": X.clone().requires_grad_() * 1,
    "a parameter": nn.Parameter(X.clone()),
    "a subclass": X.as_subclass(Named),
    "of inference": INFERENCE,
}
REFUSED = {
    "no rows": X[:0],
    "meta": X.to("meta"),
    "nan": X * torch.nan,
    "sparse": X.to_sparse(),
    "mkldnn": X.to_mkldnn(),
    "float8": X.to(torch.float8_e4m3fn),
    "complex": X.to(torch.complex64),
    "another width": X[:, :3],
    "a number": torch.tensor(1.0),
    "nothing": None,
    "a word": "x",
}


def same(found, want):
    found, want = (torch.as_tensor(np.asarray(part)) for part in (found, want))
    return found.shape == want.shape and torch.allclose(found, want, rtol=TOL["float32"], atol=TOL["float32"])


@pytest.fixture
def doors(tmp_path):
    count = iter(range(100))
    return BOTH | {"write_features": lambda x: stored(x, tmp_path / str(next(count)))}


@pytest.mark.parametrize("door", [*BOTH, "write_features"])
def test_the_numbers_of_a_tensor_count_and_not_how_it_holds_them(doors, door):
    want = doors[door](X)
    for kind, x in SAME.items():
        before = x.detach().clone()
        found = doors[door](x)
        assert same(found, want), kind
        assert not (isinstance(found, torch.Tensor) and found.requires_grad), kind
        assert torch.equal(x.detach(), before), kind


@pytest.mark.parametrize("door", [*BOTH, "write_features"])
def test_modes_and_defaults_of_the_caller_change_nothing(doors, door):
    want = doors[door](X)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert same(doors[door](X), want), mode
    try:
        torch.set_default_dtype(torch.float64)
        assert same(doors[door](X), want)
        torch.set_default_dtype(torch.float32)
        torch.set_default_device("meta")
        found = doors[door](X)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert same(found, want)


@pytest.mark.parametrize("door", [*BOTH, "write_features", "penultimate"])
def test_what_no_model_takes_is_refused_in_one_line(doors, door):
    call = (doors | {"penultimate": lambda x: penultimate(MODEL, x)})[door]
    for kind, x in REFUSED.items():
        if (kind, door) in (
            ("nothing", "tangent_kernel, x2"),
            ("another width", "choose_rows"),
            ("complex", "choose_rows"),
        ):
            continue  # x2 = x1; the model is not asked
        with pytest.raises((ValueError, TypeError)) as caught:
            call(x)
        argument = str(caught.value).partition(":")[0]
        assert argument in ("x", "X", "x1", "x2", "inputs", "start"), (kind, str(caught.value))
        assert "\n" not in str(caught.value), kind


def test_a_subclass_that_computes_by_itself_is_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a prototype
        masked = torch.masked.masked_tensor(X, X > 0)
    with pytest.raises(TypeError, match=r"^x1: expected a plain torch tensor, got a MaskedTensor$"):
        tangent_kernel(MODEL, masked)


# --- arrays and labels ------------------------------------------------------------------------------------------------


def read_only(array):
    found = array.copy()
    found.flags.writeable = False
    return found


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("door", ARRAYS)
def test_arrays_are_taken_as_they_lie(door, tmp_path):
    x, want = X.numpy(), ARRAYS[door](X)
    np.save(tmp_path / "x.npy", x)
    lying = [read_only(x), np.load(tmp_path / "x.npy", mmap_mode="r"), x[::-1].copy()[::-1], x.astype(">f4")]
    for given in (*lying, x.astype("f8"), np.asfortranarray(x)):
        assert same(ARRAYS[door](given), want)
    for odd in (np.ma.masked_array(x, x > 0), x.astype(object), x.astype(str), np.zeros((40, 4), "M8[s]")):
        with pytest.raises(TypeError, match=r"^X: expected (numbers in an array|an array without a mask), got "):
            ARRAYS[door](odd)


LABELLED = {"fit": fitted, "Retraining": retrained, "train": trained, "distil_images": distilled, "choose_rows": chosen}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("door", LABELLED)
def test_labels_of_any_integers_are_taken_or_refused_by_name(door, tmp_path):
    call, want, y = LABELLED[door], LABELLED[door](X), Y.numpy()
    np.save(tmp_path / "y.npy", y)
    kinds = [Y.to(getattr(torch, name)) for name in ("uint8", "int8", "int16", "int32", "uint16", "uint32", "uint64")]
    kinds += [torch.stack((Y, Y), 1)[:, 0], Y.as_subclass(Named)]
    if door in ("fit", "Retraining"):
        kinds += [read_only(y), np.load(tmp_path / "y.npy", mmap_mode="r"), y[::-1].copy()[::-1]]
        kinds += [y.astype(kind) for kind in (">i4", "u2", ">u8")]
    for given in kinds:
        try:
            assert same(call(X, given), want)
        except TypeError as error:  # a tensor of a type that torch does not compare
            assert "uint" in str(getattr(given, "dtype", ""))
            assert str(error).startswith("y: expected integers that torch compares")  # noqa: PT017
    odd = [Y - 1, Y + 1, Y[:, None], Y[:3], Y[:0], Y.to("meta"), Y.to(torch.complex64), None, "abc", Y.to_sparse()]
    for given in (*odd, Y * torch.nan, torch.tensor(1), np.ma.masked_array(y, y > 0), np.array(["a"] * 40, object)):
        with pytest.raises((ValueError, TypeError), match=r"^y: expected [^\n]*$"):
            call(X, given)


def test_a_class_without_rows_is_told_wherever_it_stands():
    model = build("mlp", seed=0, inputs=4, hidden=(6,), outputs=3)
    for missing in range(3):
        y = torch.tensor([c for c in range(3) if c != missing]).repeat(20)
        with pytest.raises(
            ValueError, match=rf"^y: expected images of every class 0 ... 2, got none of class {missing}$"
        ):
            choose_rows(model, X, y, images="stratified", count=3, classes=3, seed=0)
        with pytest.raises(ValueError, match=rf"^outputs: expected which of .* and no image of class {missing}$"):
            DistilledNTK(model, per_class=1, images="medoids").fit(X, y)
    with pytest.raises(ValueError, match=r"^y: expected rows of every class 0 ... 2, got none of class 1$"):
        distil_images(model, X, 2 * Y, per_class=1, seed=0, steps=0)


def test_one_image_in_all_is_refused_before_the_work():
    model = build("mlp", seed=0, inputs=4, hidden=(6,), outputs=1)
    with pytest.raises(ValueError, match=r"^per_class: expected two images or more, .*, got 1$"):
        DistilledNTK(model, per_class=1).fit(X, torch.zeros(40, dtype=torch.int64))


def test_a_subclass_would_change_the_answer_if_it_were_let_in():
    """The broken twin: what looks at the functions of a model misses those of a subclass."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr("dntk_fast._check.plain", lambda name, value: value)
        found = tangent_kernel(MODEL, X.as_subclass(Named))
    assert not same(found, tangent_kernel(MODEL, X))
