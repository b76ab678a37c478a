"""A number of bytes of which only a range is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """Bytes: what it may be at least, what is expected, what it may be at most.

    Example, CUDA's own memory and NCCL's buffers:
        Amount(low=0.8 * GIB, expected=1.3 * GIB, high=2.0 * GIB)
    """

    low: float = 0.0
    expected: float = 0.0
    high: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(low=self.low + other.low, expected=self.expected + other.expected, high=self.high + other.high)


NOTHING = Amount()


def exactly(size: float) -> Amount:
    """What is counted, or follows by arithmetic."""
    return Amount(low=size, expected=size, high=size)


def total(amounts: Iterable[Amount]) -> Amount:
    return sum(amounts, NOTHING)
