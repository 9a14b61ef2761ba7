"""What is the caller's stays so for every thread: inputs, switches, warning filters, random numbers, memory."""

import gc
import threading
import warnings

import pytest
import torch
import torch.utils.checkpoint
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel

from dntk_fast import (
    DistilledNTK,
    build,
    distil_images,
    fingerprint,
    jacobian_vector,
    kernel_diagonal,
    tangent_features,
    tangent_kernel,
    train,
    vector_jacobian,
)
from dntk_fast._alone import alone_with
from dntk_fast._chance import seeded
from dntk_fast.tangent.isolation import Quiet, own_copy, plain_attention, silent, without_chance
from tests.tolerances import TOL


def switches():
    cuda = torch.backends.cuda
    flags = (
        cuda.flash_sdp_enabled(),
        cuda.mem_efficient_sdp_enabled(),
        cuda.math_sdp_enabled(),
        cuda.cudnn_sdp_enabled(),
    )
    return torch.backends.mha.get_fastpath_enabled(), *flags


def interleaved(make):
    """One enters, the other enters, the first leaves, the second leaves: as two threads do."""
    first, second = make(), make()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    between = switches()
    second.__exit__(None, None, None)
    return between


# --- switches and filters ---------------------------------------------------------------------------------------------


def test_attention_is_plain_while_anybody_needs_it_and_then_what_it_was():
    before = switches()
    assert interleaved(plain_attention) == (False, False, False, True, False)
    assert switches() == before
    torch.backends.cuda.enable_flash_sdp(False)
    try:
        with plain_attention():
            pass
        assert not torch.backends.cuda.flash_sdp_enabled()
    finally:
        torch.backends.cuda.enable_flash_sdp(True)
    # Broken twin: torch's own context restores what it met, which was another's.
    interleaved(lambda: sdpa_kernel(SDPBackend.MATH))
    left = switches()
    for name in ("flash", "mem_efficient", "math", "cudnn"):
        getattr(torch.backends.cuda, f"enable_{name}_sdp")(True)
    assert left != before == switches()


def test_an_interruption_inside_puts_everything_back():
    tangent_kernel(nn.Linear(3, 2), torch.ones(4, 3))  # torch imports parts of itself, with filters, when first asked
    before, filters = switches(), list(warnings.filters)

    class Interrupted(nn.Linear):
        def forward(self, x):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tangent_kernel(Interrupted(3, 2), torch.ones(4, 3))
    assert switches() == before
    assert warnings.filters == filters


def test_filters_are_what_they_were_though_they_are_left_in_another_order():
    before = list(warnings.filters)
    interleaved(silent)
    assert warnings.filters == before
    one = Quiet("so", UserWarning)
    with one.held():
        warnings.warn("so it is", stacklevel=1)
        with pytest.raises(UserWarning, match="not so"):
            warnings.warn("not so", stacklevel=1)
    assert warnings.filters == before
    with pytest.raises(UserWarning, match="so it is"):
        warnings.warn("so it is", stacklevel=1)


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.t, self.o = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.o(self.t(x).mean(1))


def test_eight_threads_get_the_right_kernels_and_leave_every_switch():
    model, x = Attending().eval(), torch.randn(3, 4, 4)
    want, before, filters, wrong = tangent_kernel(model, x), switches(), list(warnings.filters), []
    state, default = torch.get_rng_state(), (torch.get_default_dtype(), torch.get_num_threads())

    def go():
        wrong.extend(not torch.allclose(tangent_kernel(model, x), want, rtol=TOL["float32"]) for _ in range(3))

    threads = [threading.Thread(target=go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 24
    assert not any(wrong)
    assert switches() == before
    assert warnings.filters == filters
    assert torch.equal(torch.get_rng_state(), state)
    assert (torch.get_default_dtype(), torch.get_num_threads()) == default


def test_threads_that_share_a_network_get_each_its_own_answer():
    """Hooks of one, and what stands in for parameters in another, are on the one model that all of them were given."""
    model = build("mlp", seed=0, inputs=4, hidden=(6,), outputs=2)
    x, y = torch.arange(48.0).sin().reshape(12, 4), torch.arange(12) % 2
    ones = {name: torch.ones(2, *p.shape) for name, p in model.named_parameters()}
    tasks = [
        lambda: tangent_kernel(model, x),
        lambda: tangent_features(model, x, k=4, seed=0).values,
        lambda: vector_jacobian(model, x, torch.ones(2, 12))["1.weight"],
        lambda: jacobian_vector(model, x, ones),
        lambda: train(model, x, y, epochs=1, seed=0).model(x).detach(),
        lambda: distil_images(model, x, y, per_class=1, seed=0, steps=1).images,
        lambda: DistilledNTK(model, per_class=2, seed=0).fit(x, y).logits(x),
        lambda: torch.tensor([int(fingerprint(model)[:8], 16)]),
    ]
    want, wrong = [task() for task in tasks], []

    def go(first):
        for place in range(first, first + 2 * len(tasks)):
            try:
                found = tasks[place % len(tasks)]()
                if not torch.allclose(found, want[place % len(tasks)], rtol=TOL["float32"], atol=TOL["float32"]):
                    wrong.append(place % len(tasks))
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=go, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_model_is_kept_from_other_threads_and_another_is_not():
    model, other, met = nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 2), []

    def reach(found):
        with alone_with(found):
            met.append(found)

    with alone_with(model), alone_with(model):  # the same thread may come again
        threads = [threading.Thread(target=reach, args=(found,)) for found in (other, model[0])]
        threads[0].start()
        threads[0].join()
        threads[1].start()
        assert met == [other]
    threads[1].join()
    assert met == [other, model[0]]


# --- random numbers ---------------------------------------------------------------------------------------------------


def drawn_beside(work):
    """What another thread draws from torch's generator, seeded with 0, while the work is done."""
    drawn, done = [], threading.Event()
    torch.manual_seed(0)

    def draw():
        while not done.is_set() or len(drawn) < 100:
            drawn.append(float(torch.rand(())))

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        work()
    finally:
        done.set()
        thread.join()
    torch.manual_seed(0)
    return drawn, [float(torch.rand(())) for _ in drawn]


def kernels(rounds=40):
    model, x = build("mlp", seed=0, inputs=3, hidden=(4,), outputs=2), torch.ones(4, 3)
    for _ in range(rounds):
        tangent_kernel(model, x)


def training():
    model = nn.Sequential(build("mlp", seed=0, inputs=3, outputs=8), nn.RReLU(), nn.Dropout(0.5))
    train(model, torch.ones(40, 3), torch.arange(40) % 2, epochs=4, seed=0, batch_size=8)


def building():
    for seed in range(20):
        build("conv8", seed=seed)


def distilling():
    x = torch.arange(20.0)[:, None, None, None].sin().expand(20, 1, 8, 8)
    distil_images(build("conv8", seed=0), x, torch.arange(20) % 2, per_class=1, seed=0, steps=2)


@pytest.mark.parametrize("work", [kernels, training, building, distilling], ids=lambda work: work.__name__)
def test_random_numbers_drawn_beside_are_neither_repeated_nor_taken(work):
    drawn, want = drawn_beside(work)
    assert drawn == want


def test_a_generator_that_is_put_back_would_be_seen():
    """The broken twin: what the other thread draws meanwhile is drawn again."""

    def forking():
        for _ in range(200):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(1)
                torch.rand(1000)

    drawn, want = drawn_beside(forking)
    assert drawn != want


def test_numbers_from_a_seed_are_those_of_torch_s_own_generator():
    def several():
        x = torch.ones(6, 6)
        return [
            torch.rand(3), torch.randn(3), torch.randint(9, (3,)), torch.randint(2, 9, (3,)), torch.randperm(5),
            torch.rand_like(x), torch.randn_like(x), torch.randint_like(x, 5), torch.empty(3).uniform_(),
            torch.empty(3).normal_(), torch.normal(x), torch.bernoulli(x / 2), torch.multinomial(x[0], 2),
            torch.poisson(x), nn.functional.dropout(x), nn.functional.alpha_dropout(x, training=True),
            nn.functional.rrelu(-x, training=True), torch.ops.aten.native_dropout(x, 0.5, True)[0],
            nn.Linear(3, 2).weight, nn.Conv1d(2, 2, 2).bias,
        ]  # fmt: skip

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        want = several()
        torch.manual_seed(6)
        before = torch.get_rng_state()
        with seeded(5) as chance:
            found = several()
        assert torch.equal(torch.get_rng_state(), before)
    assert chance.met
    assert all(torch.equal(one, other) for one, other in zip(found, want, strict=True))
    own = torch.Generator().manual_seed(7)
    with seeded(5) as chance:
        inside = torch.rand(3, generator=own)
        assert torch.rand(3, device="meta").is_meta
    assert not chance.met
    assert torch.equal(inside, torch.rand(3, generator=torch.Generator().manual_seed(7)))


def test_a_network_that_draws_again_in_the_backward_pass_is_refused():
    """Activations that are computed again would be dropped by another mask than those before: a wrong gradient."""

    class Recomputing(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.o = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5)), nn.Linear(8, 2)

        def forward(self, x):
            return self.o(torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=False))

    x, y = torch.ones(8, 3), torch.arange(8) % 2
    with pytest.raises(ValueError, match=r"^model: expected random numbers drawn in the forward pass alone"):
        train(Recomputing(), x, y, epochs=1, seed=0)
    plain = Recomputing()
    plain.inner[1].p = 0.0
    assert len(train(plain, x, y, epochs=1, seed=0).losses) == 1


@pytest.mark.parametrize(
    "draw",
    [
        torch.rand_like,
        lambda x: nn.functional.dropout(x),
        lambda x: torch.empty_like(x).normal_(),
        lambda x: torch.bernoulli(x.sigmoid()),
        lambda x: x[:, torch.randperm(x.shape[1])],
        lambda x: nn.functional.scaled_dot_product_attention(x[None], x[None], x[None], dropout_p=0.5)[0],
    ],
    ids=["rand_like", "dropout", "normal_", "bernoulli", "randperm", "attention"],
)
def test_a_model_that_draws_is_refused_before_it_draws(draw):
    class Drawing(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 0 * draw(x).sum()

    model, before = Drawing(3, 2), torch.get_rng_state()
    with pytest.raises(ValueError, match=r"^model: expected outputs that are not drawn at random, got random numbers"):
        tangent_kernel(model, torch.ones(4, 3))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_generator_of_the_model_s_own_is_its_own_affair():
    class Fixed(nn.Linear):
        def forward(self, x):
            return super().forward(x) + torch.rand(2, generator=torch.Generator().manual_seed(0))

    model = Fixed(3, 2)
    plain = nn.Linear(3, 2)
    plain.load_state_dict(model.state_dict())
    x = torch.randn(4, 3)
    assert torch.equal(tangent_kernel(model, x), tangent_kernel(plain, x))
    with without_chance():
        nn.functional.dropout(x, training=False)


# --- inputs -----------------------------------------------------------------------------------------------------------


class Normalising(nn.Module):
    """Changes its input in place before its layers."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.sub_(0.5).div_(0.25))


class Normal(Normalising):
    """The same without a change in place."""

    def forward(self, x):
        return self.inner((x - 0.5) / 0.25)


WAYS = {
    "one block": tangent_kernel,
    "blocks": lambda model, x: tangent_kernel(model, x, memory=40_000),
    "the same twice": lambda model, x: tangent_kernel(model, x, x),
    "diagonal": kernel_diagonal,
    "features": lambda model, x: tangent_features(model, x, k=4, seed=0).values,
    "products": lambda model, x: vector_jacobian(model, x, torch.ones(2, len(x)).to(x))["inner.0.weight"],
    "estimator": lambda model, x: DistilledNTK(model, per_class=3, seed=0).fit(x, torch.arange(len(x)) % 2).logits(x),
    "training": lambda model, x: train(model, x, torch.arange(len(x)) % 2, epochs=1, seed=0).model(x.clone()).detach(),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_model_that_changes_its_input_gets_its_own(way):
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double().eval()
    x = torch.randn(40, 3).double()
    given = x.clone()
    found = WAYS[way](Normalising(inner).eval(), given)
    assert torch.equal(given, x)
    want = WAYS[way](Normal(inner).eval(), x.clone())
    assert torch.allclose(found, want, rtol=TOL["float64"], atol=TOL["float64"])
    again = WAYS[way](Normalising(inner).eval(), given)
    assert torch.allclose(again, found, rtol=TOL["float64"], atol=TOL["float64"])


def test_copies_are_made_of_tensors_wherever_they_lie():
    x = torch.ones(2)
    for given in (x, (x, False), {"x": x, "cached": True}):
        copied = own_copy(given)
        assert type(copied) is type(given)
        part = copied if given is x else copied[0] if isinstance(copied, tuple) else copied["x"]
        part.add_(1)
    assert torch.equal(x, torch.ones(2))


# --- memory -----------------------------------------------------------------------------------------------------------


def tensors_alive():
    gc.collect()
    return sum(type(found) is torch.Tensor for found in gc.get_objects())


def kept_with_its_history():
    with saved_tensors_hooks(lambda t: t, lambda t: t):
        torch.ones(4, requires_grad=True).relu()


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)),
        nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 2)),
    ],
    ids=["convolution", "tanh"],
)
def test_calls_leave_nothing_behind(model):
    x = torch.randn(3, 1, 4, 4)
    calls = (
        lambda: tangent_kernel(model, x),
        lambda: tangent_features(model, x, k=4, seed=0),
        lambda: vector_jacobian(model, x, torch.ones(2, 3)),
    )
    for call in calls:
        call()
    before = tensors_alive()
    for call in 3 * calls:
        call()
    assert tensors_alive() == before


def test_a_hook_that_keeps_an_output_with_its_history_would_be_seen():
    """The broken twin of the test above: torch's own warning about saved tensors."""
    before = tensors_alive()
    for _ in range(5):
        kept_with_its_history()
    assert tensors_alive() >= before + 5


def test_results_carry_no_graph():
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 2)), torch.randn(3, 1, 4, 4)
    features = tangent_features(model, x, k=4, seed=0)
    found = [
        tangent_kernel(model, x),
        features.body,
        features.values,
        *vector_jacobian(model, x, torch.ones(2, 3)).values(),
    ]
    assert not any(part.requires_grad or part.grad_fn is not None for part in found)
