"""The statistics of a class's channels, by running sums and at once."""

from tests.speed.pairs import agree_then_time, pairs

QUANTITIES = pairs("data_distillation")


def test_both_sides_agree(benchmark, quantity, size, side):
    agree_then_time(benchmark, quantity, size, side)
