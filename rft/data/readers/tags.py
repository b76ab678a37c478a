"""How values become tags: tags are texts, and one with many values is put into buckets."""

from __future__ import annotations


def yes_or_no(value: bool) -> str:
    """`true` or `false`."""
    return "true" if value else "false"


def distance_bucket(tokens: int) -> str:
    """Doubling buckets of the tokens between evidence and query: `0-1k`, `1k-2k`, `2k-4k`, ..."""
    low, high = 0, 1
    while tokens >= high * 1024:
        low, high = high, high * 2
    return f"{low}k-{high}k" if low else "0-1k"
