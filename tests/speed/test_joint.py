"""The joint tangent space of all logits: leaving out images, and one weight vector for all."""

from tests.speed.pairs import agree_then_time, pairs

QUANTITIES = pairs("joint")


def test_both_sides_agree(benchmark, quantity, size, side):
    agree_then_time(benchmark, quantity, size, side)
