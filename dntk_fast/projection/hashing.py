"""Random numbers as a function of where they are used: a keyed hash of a counter, the same on every device.

Only integer arithmetic modulo 2^64 and single IEEE operations on float64 are used, each of them one torch call, so a CPU
and a GPU give the same bits. Nothing depends on what was drawn before.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Key", "key", "normals", "permutations", "shifts", "signs", "words"]

# The finaliser of splitmix64 [SteeleLeaFlood2014] and its Weyl increment, as signed 64-bit integers.
_WEYL, _FIRST, _SECOND = (
    c - 2**64 if c >= 2**63 else c for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


@dataclass(frozen=True)
class Key:
    """Two 64-bit words that name one stream."""

    first: int
    second: int


def key(seed: int, *labels: str) -> Key:
    """The stream that belongs to a seed and a path of labels.

    >>> key(0, "weight", "sign") == key(0, "weight", "sign"), key(0, "a") == key(1, "a")
    (True, False)
    """
    digest = hashlib.blake2b("\x1f".join((str(seed), *labels)).encode(), digest_size=16).digest()
    first, second = (int.from_bytes(half, "little", signed=True) for half in (digest[:8], digest[8:]))
    return Key(first, second)


def _shift(value: Tensor, by: int) -> Tensor:
    """Logical shift to the right (torch's own keeps the sign)."""
    return (value >> by) & ((1 << (64 - by)) - 1)


def _mix(value: Tensor) -> Tensor:
    value = (value ^ _shift(value, 30)) * _FIRST
    value = (value ^ _shift(value, 27)) * _SECOND
    return value ^ _shift(value, 31)


def words(stream: Key, start: int, count: int, *, device: torch.device | str = "cpu") -> Tensor:
    """Hashes of the counters start ... start + count - 1.

    Two keyed rounds of the finaliser: one round alone would make two streams shifted copies of each other.

    Returns
    -------
    Tensor (count,), int64
    """
    counter = torch.arange(start, start + count, dtype=torch.int64, device=device)
    return _mix(_mix(counter * _WEYL + stream.first) ^ stream.second)


def signs(stream: Key, start: int, count: int, *, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """Independent +1 or -1, number i from bit i mod 64 of word i // 64.

    >>> signs(key(0, "w"), 0, 100, dtype=torch.float64).unique().tolist()
    [-1.0, 1.0]
    """
    low, high = start // 64, -(-(start + count) // 64)
    found = words(stream, low, high - low, device=device)
    octets = (found[:, None] >> torch.arange(0, 64, 8, device=device)) & 255
    bits = (torch.arange(256, device=device)[:, None] >> torch.arange(8, device=device)) & 1
    table = (2 * bits - 1).to(dtype)
    return table[octets.reshape(-1)].reshape(-1)[start - 64 * low :][:count]


def shifts(stream: Key, count: int, bound: int, *, device: torch.device | str = "cpu") -> Tensor:
    """Integers uniform on 0 ... bound - 1 (each probability within bound / 2^31 of 1 / bound, relative)."""
    return (_shift(words(stream, 0, count, device=device), 33) * bound) >> 31


def permutations(stream: Key, count: int, size: int, *, device: torch.device | str = "cpu") -> Tensor:
    """Uniform permutations of 0 ... size - 1, one in each row.

    Returns
    -------
    Tensor (count, size), int64
    """
    return words(stream, 0, count * size, device=device).reshape(count, size).argsort(dim=1, stable=True)


def _logarithm(value: Tensor) -> Tensor:
    """Log of numbers in (0, 1): exponent apart, then 2 artanh t of t = (m - 1) / (m + 1), |t| < 0.172."""
    mantissa, exponent = torch.frexp(value)
    small = mantissa < math.sqrt(0.5)
    mantissa, exponent = torch.where(small, 2 * mantissa, mantissa), exponent.double() - small.double()
    t = (mantissa - 1) / (mantissa + 1)
    square, series = t * t, torch.zeros_like(t)
    for odd in range(21, 0, -2):
        series = series * square + 1 / odd
    return 2 * t * series + exponent * math.log(2)


def _cosine_sine(angle: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of |angle| <= pi / 4 by their Taylor series."""
    square, cosine, sine = angle * angle, torch.ones_like(angle), torch.ones_like(angle)
    for even in range(18, 0, -2):
        cosine = 1 - cosine * square * (1 / (even * (even - 1)))
        sine = 1 - sine * square * (1 / (even * (even + 1)))
    return cosine, angle * sine


def normals(stream: Key, start: int, count: int, *, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """Independent standard normal numbers by the method of Box and Muller, two from each pair of words.

    The logarithm and the trigonometric functions of the libraries differ between devices in the last bit; those here are
    sums and products in a fixed order. An angle in [-pi/4, pi/4], a sign for the cosine and a swap give the full circle.
    """
    low, high = start // 2, -(-(start + count) // 2)
    pairs = words(stream, 2 * low, 2 * (high - low), device=device).reshape(-1, 2)
    uniform = (_shift(pairs, 11).double() + 0.5) * 2.0**-53
    radius = torch.sqrt(-2 * _logarithm(uniform[:, 0]))
    cosine, sine = _cosine_sine((uniform[:, 1] - 0.5) * (math.pi / 2))
    cosine = torch.where(pairs[:, 0] & 1 == 1, -cosine, cosine)
    swap = (pairs[:, 1] & 1 == 1)[:, None]
    both = torch.stack((cosine, sine), dim=1) * radius[:, None]
    return torch.where(swap, both.flip(1), both).reshape(-1)[start - 2 * low :][:count].to(dtype)
