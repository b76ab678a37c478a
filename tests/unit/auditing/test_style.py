"""Marks that right options alone have, or lack."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.auditing.builder import Row, audit_of, cases_of, read_table, write_table


def change_all(root: Path, change: Callable[[int, Row], object]) -> None:
    for name in ("train", "val", "benchmark"):
        rows = read_table(root, name)
        for number, row in enumerate(rows):
            change(number, row)
        write_table(root, rows, name)


def right(change: Callable[[str], str], fits: Callable[[int, Row], bool] = lambda number, row: True):  # type: ignore[no-untyped-def]
    def change_row(number: int, row: Row) -> None:
        if fits(number, row):
            row["correct_answer"] = change(row["correct_answer"])

    return change_row


def sixth(number: int, row: Row) -> bool:
    return number % 6 == 0


def of_others(number: int, row: Row) -> bool:
    return row["who"] == "others"


def quote_two(number: int, row: Row) -> None:
    first, second, third = json.loads(row["incorrect_answers"])
    row["incorrect_answers"] = json.dumps([f'"{first}"', f'"{second}"', third])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (right(lambda text: text.rstrip(".")), "fewest a full stop at its end, all"),
        (right(lambda text: text[0].lower() + text[1:]), "fewest a capital letter at its beginning, all"),
        (right(lambda text: text + " "), "most white space around it, all"),
        (right(lambda text: text.replace(" ", "\u00a0", 1)), "most spaces beyond ASCII, all"),
        (right(lambda text: text.replace(" ", "\n", 1)), "most line breaks, all"),
        (right(lambda text: f"**{text}**"), "most markdown, all"),
        (right(lambda text: text.replace(".", "!"), sixth), "most an exclamation mark at its end, all"),
        (right(lambda text: text.rstrip("."), of_others), "fewest a full stop at its end, "),
        (quote_two, "fewest quotation marks, all"),
    ],
)  # fmt: skip
def test_a_mark_tells_the_right_option(data: Path, change: Callable[[int, Row], object], told: str) -> None:
    change_all(data, change)
    report = audit_of(data)
    assert any(case.detail.startswith(told) for case in cases_of(report, "style_leak"))
    assert not report.is_fit


def test_a_mark_that_any_option_may_have_tells_nothing(data: Path) -> None:
    def mark(number: int, row: Row) -> None:
        options = [row["correct_answer"], *json.loads(row["incorrect_answers"])]
        options[number % 4] = options[number % 4].rstrip(".") + "!"
        row["correct_answer"], row["incorrect_answers"] = options[0], json.dumps(options[1:])

    change_all(data, mark)
    assert audit_of(data).findings == ()
