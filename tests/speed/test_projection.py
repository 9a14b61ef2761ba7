"""Random maps, applied to gradients and taken back."""

from tests.speed.pairs import agree_then_time, pairs

QUANTITIES = pairs("projection")


def test_both_sides_agree(benchmark, quantity, size, side):
    agree_then_time(benchmark, quantity, size, side)
