"""Algorithm 1, its rivals and its solves."""

from tests.speed.pairs import agree_then_time, pairs

QUANTITIES = pairs("gradient_distillation")


def test_both_sides_agree(benchmark, quantity, size, side):
    agree_then_time(benchmark, quantity, size, side)
