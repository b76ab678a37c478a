"""Rows of a CSV file, each of which can say where it stands."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rft.data.dataset import RecordError
from rft.data.readers.cells import CellError


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvRow:
    """One row of texts.

    Example:
        CsvRow(path=Path("benchmark/text/train.csv"), number=0, column_at={"who": 0, "topic": 1},
               cells=("self", "music"))
    """

    path: Path
    number: int
    """Rows count from 0, the header not among them."""
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


def read_csv(path: Path, columns: Sequence[str], release: str) -> Iterator[CsvRow]:
    """The rows of a file that must have `columns` and may have others; blank lines are left out.

    Args:
        release: the name of the data set, for messages.

    Raises:
        ValueError: the file is absent, not UTF-8, not CSV or lacks a column or has one twice.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist; data.source must hold it, as the released {release} does")
    # Cells hold whole personas; the module's limit of 128 kB per cell is meant for other data.
    csv.field_size_limit(1 << 30)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            missing = [name for name in columns if name not in header]
            if missing:
                raise ValueError(
                    f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; restore "
                    f"{'it' if len(missing) == 1 else 'them'} from the released {release}"
                )
            column_at = {name: at for at, name in enumerate(header)}
            if len(column_at) < len(header):
                repeated = next(name for at, name in enumerate(header) if column_at[name] != at)
                raise ValueError(f"{path} has the column {repeated} twice; remove one of them")
            for number, cells in enumerate(cells for cells in lines if cells):
                yield CsvRow(path=path, number=number, column_at=column_at, cells=cells)
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8; save it as UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"{path} is not whole CSV ({error}); fetch or write it again") from None
