"""Choosing images: what each way keeps, the kernel of activations, the greedy choice, and what it costs."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dntk_fast.distillation.selection import CHOICES, Cost, activation_kernel, choose_rows, choosing_cost, greedy_rows
from dntk_fast.distillation.spanning import IMAGES, spanning_cost, spanning_images
from dntk_fast.tangent.head import penultimate
from tests.fast.estimators import Computed, data, network
from tests.tolerances import TOL


def chosen(images, count=12, seed=0, **options):
    x, y = data()
    return choose_rows(network(), x, y, images=images, count=count, classes=3, seed=seed, **options)


@pytest.mark.parametrize("images", CHOICES)
def test_rows_are_distinct_and_follow_the_seed(images):
    rows = chosen(images, count=6)  # a pool of 30 of the 60
    assert len(set(rows.tolist())) == len(rows) == 6
    assert torch.equal(chosen(images, count=6), rows)
    if images != "medoids":  # of well separated classes k-means may find the same medoids from any seed
        assert not torch.equal(chosen(images, count=6, seed=1), rows)


@pytest.mark.parametrize("images", ["stratified", "medoids"])
def test_every_class_gives_as_many(images):
    _, y = data()
    assert torch.bincount(y[chosen(images)]).tolist() == [4, 4, 4]
    with pytest.raises(ValueError, match="count: expected a multiple of the 3 classes, got 11"):
        chosen(images, count=11)
    with pytest.raises(ValueError, match="per_class: expected at most 20, the number of images of class 0, got 21"):
        choose_rows(
            network(), torch.ones(63, 9), torch.tensor([*y, 1, 1, 2]), images=images, count=63, classes=3, seed=0
        )


def test_random_rows_do_not_look_at_classes():
    x, _ = data()
    one_class = torch.zeros(60, dtype=torch.int64)
    rows = choose_rows(network(), x, one_class, images="random", count=12, classes=3, seed=0)
    assert torch.equal(rows, chosen("random"))


def test_the_pool_is_five_times_as_large_and_drawn_first():
    x, _ = data()
    pool = torch.randperm(60, generator=torch.Generator().manual_seed(0))[:20]
    rows = chosen("pool", count=4)
    assert torch.equal(rows, pool[greedy_rows(activation_kernel(network(), x[pool]), 4)])
    assert not set(rows.tolist()) - set(pool.tolist())


def test_medoids_are_images_nearest_to_the_means_of_their_cluster():
    x, y = torch.tensor([[0.0], [1.0], [0.1], [9.0], [8.0], [9.1]]), torch.tensor([0, 0, 0, 1, 1, 1])
    model = nn.Sequential(nn.Identity(), nn.Linear(1, 2)).eval()
    rows = choose_rows(model, x, y, images="medoids", count=4, classes=2, seed=0)
    assert set(rows.tolist()) in ({i, 1, j, 4} for i in (0, 2) for j in (3, 5))


def test_the_kernel_of_activations_is_a_sum_of_gram_matrices_each_of_trace_one():
    torch.manual_seed(0)
    x = torch.randn(7, 5)
    first, second = nn.Linear(5, 6), nn.Linear(6, 4)
    model = nn.Sequential(first, nn.ReLU(), second, nn.Tanh(), nn.Linear(4, 2)).eval()
    h = first(x).relu().detach().double()
    g = second(first(x).relu()).tanh().detach().double()
    expected = sum(a @ a.T / (a**2).sum() for a in (h, g))
    np.testing.assert_allclose(activation_kernel(model, x), expected, rtol=TOL["float32"], atol=TOL["float32"])
    assert not np.allclose(activation_kernel(model, x), h @ h.T + g @ g.T, rtol=TOL["apart"])  # not divided
    assert float(activation_kernel(model, x).trace()) == pytest.approx(2, rel=TOL["float32"])


def test_a_network_without_modules_of_activations_is_seen_through_the_inputs_of_its_layers():
    x, _ = data()
    found = activation_kernel(Computed(torch.tanh).eval(), x)
    h = torch.tanh(network()[1](x.flatten(1))).detach().double()
    np.testing.assert_allclose(found, h @ h.T / (h**2).sum(), rtol=TOL["float32"], atol=TOL["float32"])


def test_activations_within_memory_give_the_same_kernel_by_more_passes():
    x, _ = data()
    seen = []
    model = network()
    model.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    whole = activation_kernel(model, x)
    once = sum(seen)
    seen.clear()
    parts = activation_kernel(model, x, memory=30 * 12 * 4)
    assert sum(seen) > 2 * once
    np.testing.assert_allclose(parts, whole, rtol=TOL["float32"], atol=TOL["float32"])
    with pytest.raises(ValueError, match="memory: expected at least 96 B for the activations of two images, got 50"):
        activation_kernel(model, x, memory=50)


@st.composite
def kernels(draw):
    """Positive semi-definite kernels of low and full rank, with repeated rows."""
    n, d = draw(st.integers(2, 8)), draw(st.integers(1, 8))
    rows = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).standard_normal((n, d))
    if draw(st.booleans()):
        rows[-1] = rows[0]
    return torch.from_numpy(rows @ rows.T)


def left(K, rows):
    """The trace of K - K_S by definition."""
    rows = list(rows)
    return float(K.trace() - torch.trace(K[:, rows] @ torch.linalg.pinv(K[rows][:, rows], hermitian=True) @ K[rows]))


@settings(max_examples=40)
@given(kernels())
def test_each_step_of_the_greedy_choice_lowers_the_trace_most(K):
    n = len(K)
    rows = greedy_rows(K, n).tolist()
    assert sorted(rows) == list(range(n))
    slack = TOL["squared_kernel"] * float(K.trace())
    for step in range(n):
        best = min(left(K, [*rows[:step], j]) for j in range(n) if j not in rows[:step])
        assert left(K, rows[: step + 1]) <= best + slack


def test_the_greedy_choice_is_not_that_of_the_largest_diagonal():
    K = torch.tensor([[3.0, 0.0, 0.0], [0.0, 2.0, 2.0], [0.0, 2.0, 2.0]])
    assert greedy_rows(K, 1).tolist() == [1]  # pivoted Cholesky would take 0
    assert greedy_rows(torch.zeros(3, 3), 2).tolist() == [0, 1]


def test_costs_by_hand():
    cost = choosing_cost("pool", 1000, 50, 10)
    assert (cost.choosing, cost.kept, cost.full) == (250, 50 * 21, 21000)
    assert cost.share == (250 + 1050) / 21000
    assert cost.break_even == 250 / (21000 - 1050)
    assert choosing_cost("random", 1000, 500, 10, 1).kept == 500 * 3
    assert choosing_cost("medoids", 1000, 50, 10).choosing_forward == 1000
    assert choosing_cost("stratified", 1000, 50, 10).choosing == 0
    assert math.isinf(Cost(1, 0, 10, 100, 210).break_even)
    wmdd = spanning_cost("wmdd", 1000, per_class=5, outputs=10, steps=4)
    assert (wmdd.choosing_forward, wmdd.choosing_backward) == (1 + 1000 + 5 * 50, 4 * 50)
    assert "pays from 0.013 kernel uses on" in str(cost)


def test_the_passes_of_the_pool_are_counted_right():
    x, y = data()
    seen = []
    model = network()
    model.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    choose_rows(model, x, y, images="pool", count=4, classes=3, seed=0)
    assert sum(seen) - 1 == choosing_cost("pool", 60, 4, 3).choosing_forward  # one image says what a row takes


@pytest.mark.parametrize("images", IMAGES)
def test_more_images_than_there_are_is_refused(images):
    x, y = data()
    with pytest.raises(ValueError, match="per_class: expected at most 20"):
        spanning_images(network(), x, y, images=images, per_class=21, outputs=3, seed=0)


def test_one_cotangent_takes_as_many_images_as_there_are_gradients_and_at_most_all():
    x, y = data()
    found = spanning_images(network(), x, y, images="random", per_class=4, outputs=3, seed=0, cotangents=1)
    assert found.cotangents.shape == (36, 3)
    many = spanning_images(network(), x, y, images="random", per_class=20, outputs=3, seed=0, cotangents=1)
    assert len(many.rows) == 60


def test_medoids_look_at_penultimate_features():
    x, y = data()
    rows = chosen("medoids", count=3)
    h = penultimate(network(), x).detach()
    for c, row in enumerate(rows.tolist()):
        own = h[y == c]
        nearest = (own - own.mean(0)).square().sum(1).argmin()
        assert torch.equal(h[row], own[nearest])
