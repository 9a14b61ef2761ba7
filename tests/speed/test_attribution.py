"""Attribution: predicted retraining, by a downdate and by fitting again."""

from tests.speed.pairs import agree_then_time, pairs

QUANTITIES = pairs("attribution")


def test_both_sides_agree(benchmark, quantity, size, side):
    agree_then_time(benchmark, quantity, size, side)
