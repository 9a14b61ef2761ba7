"""Projection residuals, energy gaps and principal angles."""

from tests.speed.pairs import agree_then_time, pairs

QUANTITIES = pairs("subspace")


def test_both_sides_agree(benchmark, quantity, size, side):
    agree_then_time(benchmark, quantity, size, side)
