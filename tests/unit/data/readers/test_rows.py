"""Rows that cannot be used stop the reading, or are counted by reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from rft.data.dataset import RecordError
from rft.data.readers.rows import read_rows, read_usable_rows


def half(number: int) -> int:
    if number < 0:
        raise RecordError("negative", f"{number} is below 0")
    if number % 2:
        raise RecordError("odd", f"{number} is odd")
    return number // 2


def test_good_rows_keep_their_order() -> None:
    assert read_rows([4, 0, 2], half, "error") == ([2, 0, 1], {})


def test_bad_rows_are_counted_by_reason() -> None:
    assert read_rows([3, 4, -1, 5], half, "skip") == ([2], {"odd": 2, "negative": 1})


def test_the_first_bad_row_stops_the_reading() -> None:
    with pytest.raises(RecordError, match=r"3 is odd; correct it, or set data\.bad_rows=skip"):
        read_rows([4, 3, -1], half, "error")


def test_an_error_of_the_file_is_never_skipped() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        read_rows(["x"], int, "skip")


def test_where_no_row_can_be_used_the_first_says_why() -> None:
    assert read_usable_rows([3, 4], half, "skip", Path("a.json"), "number") == ([2], {"odd": 1})
    with pytest.raises(
        ValueError, match=r"^a\.json holds no usable number \(2 cannot be used, the first: 3 is odd\); corr"
    ):
        read_usable_rows([3, -1], half, "skip", Path("a.json"), "number")
    with pytest.raises(ValueError, match=r"^a\.json holds no usable number; correct it, or fetch it again$"):
        read_usable_rows([], half, "skip", Path("a.json"), "number")
    with pytest.raises(RecordError, match=r"^3 is odd"):
        read_usable_rows([3, -1], half, "error", Path("a.json"), "number")
