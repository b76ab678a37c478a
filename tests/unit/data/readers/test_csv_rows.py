"""CSV rows: numbered from 0, each with its place; a file that cannot be read is named."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rft.data.dataset import RecordError
from rft.data.readers.cells import parse_count, parse_text
from rft.data.readers.csv_rows import CsvRow, read_csv


def write(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8"), min_size=1), st.integers()), max_size=5))
def test_any_cells_are_read_back(stored: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path_rows = [["text", "count"], *([text, str(count)] for text, count in stored)]
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows(path_rows)
        rows = list(read_csv(path, ["text", "count"], "Made Up"))
    assert [row.number for row in rows] == list(range(len(stored)))
    assert [(row.parse("text", str), row.parse("count", int)) for row in rows] == stored


def test_a_bad_cell_is_named_with_file_row_and_column(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [["name", "age"], ["Ada", "38"], ["", "x"]])
    _, row = read_csv(path, ["age"], "Made Up")
    with pytest.raises(RecordError, match=r"a\.csv row 1 \(rows count from 0\), age: is not a whole number") as caught:
        row.parse("age", parse_count)
    assert caught.value.reason == "age"
    with pytest.raises(RecordError, match="name: is empty; .*data.bad_rows=skip"):
        row.parse("name", parse_text)


@pytest.mark.parametrize("cells", [["Ada"], ["Ada", "38", "x"]])
def test_a_row_of_another_width_cannot_be_parsed(cells: list[str]) -> None:
    row = CsvRow(path=Path("a.csv"), number=4, column_at={"name": 0, "age": 1}, cells=cells)
    with pytest.raises(RecordError, match=f"row 4 .* has {len(cells)} cells instead of 2") as caught:
        row.parse("name", str)
    assert caught.value.reason == "cells"


def test_missing_and_repeated_columns_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [["name", "age"], ["Ada", "38"]])
    with pytest.raises(ValueError, match="lacks the columns who, topic; restore them from the released Made Up"):
        list(read_csv(path, ["name", "who", "topic"], "Made Up"))
    write(path, [["name", "age", "name"]])
    with pytest.raises(ValueError, match="has the column name twice"):
        list(read_csv(path, ["age"], "Made Up"))


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.csv does not exist; data\.source must hold it, as the released Made Up"):
        list(read_csv(tmp_path / "a.csv", [], "Made Up"))


# ------------------------------------------------------------------------- what other programs make of a CSV file

HEADER = ["persona_id", "user_query", "who", "topic_query", "updated", "pref_type"]
CELLS = ["1", "{'role': 'user', 'content': 'a, b; c'}", "self", "x", "False", "p"]


@pytest.mark.parametrize(("separator", "name"), [(";", "';'"), ("\t", "a tab"), ("|", "'|'")])
@pytest.mark.parametrize("header", [HEADER, [name.upper() for name in HEADER], [f" {name} " for name in HEADER]])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_another_separator_is_named(
    tmp_path: Path, separator: str, name: str, header: list[str], quoting: Literal[0, 1], mark: str
) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(mark)
        csv.writer(file, delimiter=separator, quoting=quoting).writerows([header, CELLS])
    with pytest.raises(ValueError, match=r"a\.csv has .* as its separator instead of a comma; save it") as caught:
        list(read_csv(path, HEADER, "Made Up"))
    assert f"has {name} as its separator" in str(caught.value)


@pytest.mark.parametrize(
    "change", [str.upper, str.title, lambda name: f" {name}\t", lambda name: f"\ufeff{name}", lambda name: name]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_headers_in_other_letters_with_spaces_a_byte_order_mark_and_any_line_end_are_read(
    tmp_path: Path, change: Callable[[str], str], end: str
) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, lineterminator=end).writerows([[change(name) for name in HEADER], CELLS, CELLS])
    first, second = read_csv(path, HEADER, "Made Up")
    assert [first.parse(name, str) for name in HEADER] == [second.parse(name, str) for name in HEADER] == CELLS


def test_a_column_that_is_there_twice_in_other_letters_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [["who", "WHO"], ["a", "b"]])
    with pytest.raises(ValueError, match="has the column who twice"):
        list(read_csv(path, ["who"], "Made Up"))


def test_a_file_without_header_shows_its_first_line_instead_of_27_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [CELLS])
    with pytest.raises(ValueError, match="has none of the 6 columns of the released Made Up in its") as caught:
        list(read_csv(path, HEADER, "Made Up"))
    assert "begins with \"1,{'role': 'user'" in str(caught.value)


def test_many_missing_columns_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [["updated"], ["False"]])
    with pytest.raises(ValueError, match="lacks the columns who, b, c, d, e and 2 more; restore them"):
        list(read_csv(path, ["updated", "who", "b", "c", "d", "e", "f", "g"], "Made Up"))
