"""Rows one by one: what cannot be used stops the reading or is counted, as `data.bad_rows` says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
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


def read_usable_rows(
    rows: Iterable[Row], read: Callable[[Row], Item], bad_rows: Literal["error", "skip"], path: Path, what: str
) -> tuple[list[Item], dict[str, int]]:
    """The same for rows of which at least one must be usable.

    Args:
        path: of the file or folder that holds the rows, for messages.
        what: one row, for messages.

    Raises:
        ValueError: none is; what is wrong with the first one is said.
    """
    problems: list[str] = []

    def read_and_remember(row: Row) -> Item:
        try:
            return read(row)
        except RecordError as error:
            problems.append(error.problem)
            raise

    items, skipped = read_rows(rows, read_and_remember, bad_rows)
    if not items:
        why = f" ({len(problems)} cannot be used, the first: {problems[0]})" if problems else ""
        raise ValueError(f"{path} holds no usable {what}{why}; correct it, or fetch it again")
    return items, skipped
