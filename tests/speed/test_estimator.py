"""The whole pipeline, small: distilled images, projected gradients, ridge, logits."""

from tests.speed.pairs import agree_then_time, pairs

QUANTITIES = pairs("estimator")


def test_both_sides_agree(benchmark, quantity, size, side):
    agree_then_time(benchmark, quantity, size, side)
