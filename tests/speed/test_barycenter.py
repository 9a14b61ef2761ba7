"""The barycentre of a class's features, and the cost of a quantisation."""

from tests.speed.pairs import agree_then_time, pairs

QUANTITIES = pairs("barycenter")


def test_both_sides_agree(benchmark, quantity, size, side):
    agree_then_time(benchmark, quantity, size, side)
