"""Projected tangent features, from one backward pass a logit and from the formed Jacobian."""

from tests.speed.pairs import agree_then_time, pairs

QUANTITIES = pairs("features")


def test_both_sides_agree(benchmark, quantity, size, side):
    agree_then_time(benchmark, quantity, size, side)
