"""Truncation ranks and what is lost at a rank."""

from tests.speed.pairs import agree_then_time, pairs

QUANTITIES = pairs("redundancy")


def test_both_sides_agree(benchmark, quantity, size, side):
    agree_then_time(benchmark, quantity, size, side)
