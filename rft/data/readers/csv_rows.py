"""Rows of a table, a CSV file or Parquet files of the same columns, each of which can say where it stands."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rft.data.dataset import RecordError
from rft.data.readers.cells import CellError
from rft.data.readers.data_files import SourceFolder, beside, check_text_file

SEPARATORS = {";": "';'", "\t": "a tab", "|": "'|'", ":": "':'"}
"""What people's programs write instead of a comma, and its name."""

MOST_NAMED = 5
"""Missing columns that a message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvRow:
    """One row of texts.

    Example:
        CsvRow(path=Path("benchmark/text/train.csv"), number=0, column_at={"who": 0, "topic": 1},
               cells=("self", "music"))
    """

    path: Path
    number: int
    """Rows count from 0, the header not among them; on through all files of a table."""
    column_at: Mapping[str, int]
    """The position of each column's cell."""
    cells: Sequence[str]

    def parse(self, column: str, parser: Callable[[str], Any]) -> Any:
        """The value of one cell.

        Raises:
            RecordError: a row with too few or too many cells, a cell that `parser` refuses.
        """
        if len(self.cells) != len(self.column_at):
            raise RecordError("cells", f"{self.place} has {len(self.cells)} cells instead of {len(self.column_at)}")
        try:
            return parser(self.cells[self.column_at[column]])
        except CellError as error:
            raise self.bad(column, column, str(error)) from None

    def bad(self, reason: str, column: str, message: str) -> RecordError:
        """The error to raise for this row."""
        return RecordError(reason, f"{self.place}, {column}: {message}")

    @property
    def place(self) -> str:
        return f"{self.path} row {self.number} (rows count from 0)"


def read_csv(
    path: Path, columns: Sequence[str], release: str, *, folder: SourceFolder | None = None
) -> Iterator[CsvRow]:
    """The rows of a file that must have `columns` and may have others; blank lines are left out.

    Args:
        release: the name of the data set, for messages.
        folder: out of which no link may lead.

    Raises:
        ValueError: the file is absent, may not be read, is not UTF-8, not CSV, separated by something else than commas,
            or lacks a column or has one twice.
    """
    if not path.exists():
        raise ValueError(
            f"{path} does not exist{beside(path)}; data.source must hold it, as the released {release} does"
        )
    check_text_file(path, folder)
    # Cells hold whole personas; the module's limit of 128 kB per cell is meant for other data.
    csv.field_size_limit(1 << 30)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            check_separator(file.readline(), columns, path)
            file.seek(0)
            lines = csv.reader(file, strict=True)
            column_at = columns_of(next(lines, []), columns, path, release)
            for number, cells in enumerate(cells for cells in lines if cells):
                yield CsvRow(path=path, number=number, column_at=column_at, cells=cells)
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8; save it as UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"{path} is not whole CSV ({error}); fetch or write it again") from None


def check_separator(header: str, columns: Sequence[str], path: Path) -> None:
    """Raises ValueError for a header in which something else than a comma parts the names."""

    def num_found(separator: str) -> int:
        names = {part.strip("\ufeff\"' \t\r\n").lower() for part in header.split(separator)}
        return sum(column.lower() in names for column in columns)

    for separator, name in SEPARATORS.items():
        if num_found(separator) > num_found(","):
            raise ValueError(f"{path} has {name} as its separator instead of a comma; save it with commas")


def columns_of(header: Sequence[str], columns: Sequence[str], path: Path, release: str) -> dict[str, int]:
    """The position of each column. Names in other letters, or with white space around them, are the names meant.

    Raises:
        ValueError: one of `columns` is missing or is there twice.
    """
    plain = [name.strip("\ufeff \t\r\n") for name in header]
    meant = {name.lower(): name for name in columns}
    names = [name if name in columns else meant.get(name.lower(), name) for name in plain]
    missing = [name for name in columns if name not in names]
    if missing:
        raise ValueError(f"{path} {missing_columns(header, columns, missing, release)}")
    if len(set(names)) < len(names):
        repeated = next(name for name, count in Counter(names).items() if count > 1)
        raise ValueError(f"{path} has the column {repeated} twice; remove one of them")
    return {name: at for at, name in enumerate(names)}


def missing_columns(header: Sequence[str], columns: Sequence[str], missing: Sequence[str], release: str) -> str:
    """What is wrong with a header that lacks columns."""
    if len(missing) == len(columns) > MOST_NAMED and header:
        return (
            f"has none of the {len(columns)} columns of the released {release} in its first line, which begins with "
            f"{','.join(header)[:40]!r}; restore its header"
        )
    named = ", ".join(missing[:MOST_NAMED]) + (f" and {len(missing) - MOST_NAMED} more" * (len(missing) > MOST_NAMED))
    many = len(missing) > 1
    return f"lacks the column{'s' * many} {named}; restore {'them' if many else 'it'} from the released {release}"
