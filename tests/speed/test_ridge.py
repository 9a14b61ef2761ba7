"""Ridge regression: a grid of ridges, the dual, leave-one-out, leverage."""

from tests.speed.pairs import agree_then_time, pairs
from tests.tolerances import TOL

QUANTITIES = pairs("ridge")


def test_both_sides_agree(benchmark, quantity, size, side):
    agree_then_time(benchmark, quantity, size, side, TOL["squared_kernel"])
