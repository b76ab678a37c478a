"""Parquet files as the rows of the CSV file they were made from, and as the JSON object they were made from.

The hub and pandas write such files: a column that held texts of numbers, of truth values or of JSON has a type there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rft.data.readers.cells import one_line
from rft.data.readers.csv_rows import CsvRow, columns_of
from rft.data.readers.data_files import SourceFolder
from rft.git_lfs import POINTER_PROBLEM, is_pointer

SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.parquet$")
"""How `datasets` numbers the files of one table."""

ROWS_PER_READ = 512


def find_shards(root: Path, patterns: Sequence[str]) -> list[Path]:
    """The Parquet files of one table, in order: those of the first pattern under `root` that fits any.

    Raises:
        ValueError: some of the files that a name like `-00000-of-00002` promises are not there.
    """
    for pattern in patterns:
        found = sorted(path for path in root.glob(pattern) if path.is_file())
        if found:
            check_shards(found)
            return found
    return []


def check_shards(paths: Sequence[Path]) -> None:
    numbered = [(path, match) for path in paths if (match := SHARD.search(path.name))]
    if not numbered:
        return
    totals = {int(match[2]) for _, match in numbered}
    total = max(totals)
    if len(totals) > 1 or len(numbered) < len(paths) or len(paths) != total:
        names = ", ".join(path.name for path in paths[:4])
        raise ValueError(
            f"{paths[0].parent} holds {names}, which are not the {total} files of one table; fetch all of them, and "
            "remove others"
        )


def read_parquet(
    paths: Sequence[Path], columns: Sequence[str], release: str, *, folder: SourceFolder
) -> Iterator[CsvRow]:
    """The rows of Parquet files, one after another, with the texts that a CSV file would have.

    Args:
        paths: the files of one table in order.
        columns: those that must be there.
        release: the name of the data set, for messages.
        folder: out of which no link may lead.

    Raises:
        ValueError: a file that may not be read or is not whole Parquet, a column that is missing or there twice.
    """
    number = 0
    for path in paths:
        check_parquet(path, folder)
        with refusing_damage(path), pq.ParquetFile(path) as table:
            column_at = columns_of(table.schema_arrow.names, columns, path, release)
            for batch in table.iter_batches(batch_size=ROWS_PER_READ):
                for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    yield CsvRow(path=path, number=number, column_at=column_at, cells=[cell_text(v) for v in values])
                    number += 1


def check_parquet(path: Path, folder: SourceFolder) -> None:
    folder.check(path)
    if is_pointer(path):
        raise ValueError(f"{path} {POINTER_PROBLEM}")


@contextmanager
def refusing_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not whole Parquet ({one_line(error)}); fetch it again") from None


def read_object(path: Path) -> Any:
    """The one JSON object that a Parquet file of one row holds.

    Raises:
        ValueError: not whole Parquet, or other than one row.
    """
    with refusing_damage(path):
        rows = pq.read_table(path).to_pylist()
    if len(rows) != 1:
        raise ValueError(f"{path} has {len(rows)} rows instead of one")
    return rows[0]


def cell_text(value: Any) -> str:
    """A typed value as pandas would have written it into a CSV file."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
