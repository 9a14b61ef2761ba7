"""Certificates: matrix-free, and from formed Jacobians."""

from tests.speed.pairs import agree_then_time, pairs
from tests.tolerances import TOL

QUANTITIES = pairs("certificate")


def test_both_sides_agree(benchmark, quantity, size, side):
    agree_then_time(benchmark, quantity, size, side, TOL["squared_kernel"])
