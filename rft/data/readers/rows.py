"""Rows one by one: what cannot be used stops the reading or is counted, as `data.bad_rows` says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal, TypeVar

from rft.data.dataset import RecordError

Row = TypeVar("Row")
Item = TypeVar("Item")


def read_rows(
    rows: Iterable[Row], read: Callable[[Row], Item], bad_rows: Literal["error", "skip"]
) -> tuple[list[Item], dict[str, int]]:
    """What `read` makes of each row, in order, and how many rows were skipped, by reason.

    Raises:
        RecordError: whatever `read` raises, with `bad_rows="error"`.
    """
    items: list[Item] = []
    skipped: Counter[str] = Counter()
    for row in rows:
        try:
            items.append(read(row))
        except RecordError as error:
            if bad_rows == "error":
                raise
            skipped[error.reason] += 1
    return items, dict(skipped)
