"""Training samples kept in files, one per rollout batch, so that a run can be repeated without an engine.

    OUTPUT_DIR/samples/batch-000000.parquet     the samples of the first batch, of all ranks, in their order

A run writes them with log.save_samples=true; train.replay=FOLDER reads them in place of rollouts. What is read is
exactly what was written: token ids are int32, log-probs, advantages and weights float64. Siblings share their prompt,
and a file holds each prompt once. A checksum over all values, kept in the file, tells damage that parquet would read
over.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rft.records import Sample

VERSION = "1"
"""Of the format; counted up when columns change."""

VERSION_KEY = b"rft_samples_version"
CHECKSUM_KEY = b"rft_samples_checksum"

SCHEMA = pa.schema(
    [
        # The row, in this file, whose prompt_ids this sample has; those of any other row are empty.
        pa.field("prompt_row", pa.int32(), nullable=False),
        pa.field("prompt_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("completion_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("sampling_logprobs", pa.list_(pa.float64()), nullable=False),
        pa.field("advantage", pa.float64(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),
        pa.field("place", pa.int32(), nullable=False),
    ]
)


def save_samples(folder: Path, batch_index: int, samples: Sequence[Sample]) -> None:
    """Writes the samples of batch `batch_index`, counted from 0, in one move; one rank calls it, with those of all.

    A batch of the same number is replaced, and later ones are removed: they are of an earlier run, or of this one
    before it continued from a checkpoint. So a folder never mixes two runs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in saved_batches(folder).items():
        if number > batch_index:
            path.unlink()
    final = batch_file(folder, batch_index)
    temporary = final.with_name(f".{final.name}.tmp")
    table = table_of_samples(samples)
    pq.write_table(
        table.replace_schema_metadata({VERSION_KEY: VERSION.encode(), CHECKSUM_KEY: checksum(table)}),
        temporary,
        compression="zstd",
        # Log-probs hardly repeat: splitting their bytes lets zstd find what does, the exponents.
        use_dictionary=["prompt_ids.list.element", "completion_ids.list.element", "group"],
        use_byte_stream_split=["sampling_logprobs.list.element"],
        write_statistics=False,
    )
    # A renamed file must never outlive its contents.
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, final)


def read_samples(folder: Path, batch_index: int) -> list[Sample]:
    """The samples of batch `batch_index`, as they were saved.

    Raises:
        ValueError: there is no such batch, its file is damaged, or of another version of the format.
    """
    path = batch_file(folder, batch_index)
    if not path.is_file():
        raise ValueError(f"{path} does not exist: {num_saved(folder)} batches are saved there; lower train.max_steps")
    try:
        table = pq.ParquetFile(path).read()
        metadata = table.schema.metadata or {}
        version = metadata.get(VERSION_KEY, b"").decode(errors="replace")
        samples = samples_of_table(table, metadata.get(CHECKSUM_KEY)) if version == VERSION else []
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is damaged or no file of saved samples ({reason}); save the samples again") from None
    if version != VERSION:
        raise ValueError(
            f"{path} has version {version[:20]!r} of the samples' format, this program reads version {VERSION}; "
            "save the samples again with log.save_samples=true"
        )
    return samples


def num_saved(folder: Path) -> int:
    """How many batches are saved in `folder`: 0 .. n - 1.

    Raises:
        ValueError: there is no such folder, no batch in it, or a gap in their numbers.
    """
    if not folder.is_dir():
        raise ValueError(
            f"train.replay: {folder} is no folder; a run with log.save_samples=true writes OUTPUT_DIR/samples"
        )
    numbers = saved_batches(folder)
    if not numbers:
        raise ValueError(f"train.replay: no saved samples (batch-000000.parquet, ...) in {folder}")
    for number in range(len(numbers)):
        if number not in numbers:
            raise ValueError(
                f"train.replay: {batch_file(folder, number)} is missing, but later batches are there; replay a folder "
                "that begins with batch 0 and has every batch"
            )
    return len(numbers)


def batch_file(folder: Path, batch_index: int) -> Path:
    return folder / f"batch-{batch_index:06d}.parquet"


def saved_batches(folder: Path) -> dict[int, Path]:
    """The files of saved batches by number."""
    matches = ((re.fullmatch(r"batch-([0-9]{6,})\.parquet", path.name), path) for path in folder.iterdir())
    return {int(match[1]): path for match, path in matches if match}


def table_of_samples(samples: Sequence[Sample]) -> pa.Table:
    """One row per sample, in their order."""
    # Siblings hold one and the same tuple of prompt ids, so its hash, which reads all of it, is taken once.
    first_rows: dict[tuple[int, ...], int] = {}
    row_of_object: dict[int, int] = {}
    for row, sample in enumerate(samples):
        if id(sample.prompt_ids) not in row_of_object:
            row_of_object[id(sample.prompt_ids)] = first_rows.setdefault(sample.prompt_ids, row)
    prompt_rows = [row_of_object[id(sample.prompt_ids)] for sample in samples]
    columns: dict[str, list[Any]] = {
        "prompt_row": prompt_rows,
        "prompt_ids": [
            sample.prompt_ids if prompt_row == row else ()
            for row, (sample, prompt_row) in enumerate(zip(samples, prompt_rows, strict=True))
        ],
        **{name: [getattr(sample, name) for sample in samples] for name in SCHEMA.names[2:]},
    }
    return pa.table(columns, schema=SCHEMA)


def samples_of_table(table: pa.Table, expected_checksum: bytes | None) -> list[Sample]:
    """The opposite of `table_of_samples`; siblings share one tuple of prompt ids."""
    if not table.schema.equals(SCHEMA):
        raise ValueError(f"its columns are {', '.join(table.schema.names)}")
    if checksum(table) != expected_checksum:
        raise ValueError("its values do not have the checksum they were written with")
    prompts = tuples_of_column(table["prompt_ids"])
    completions = tuples_of_column(table["completion_ids"])
    logprobs = tuples_of_column(table["sampling_logprobs"])
    single = [table[name].to_pylist() for name in ("prompt_row", "advantage", "group", "weight", "place")]
    return [
        Sample(
            prompt_ids=prompts[prompt_row],
            completion_ids=completion_ids,
            sampling_logprobs=sampling_logprobs,
            advantage=advantage,
            group=group,
            weight=weight,
            place=place,
        )
        for completion_ids, sampling_logprobs, (prompt_row, advantage, group, weight, place) in zip(
            completions, logprobs, zip(*single, strict=True), strict=True
        )
    ]


def checksum(table: pa.Table) -> bytes:
    """SHA-256 of all values, in hexadecimal digits."""
    found = hashlib.sha256()
    for name in SCHEMA.names:
        if not pa.types.is_list(SCHEMA.field(name).type):
            found.update(repr(table[name].to_pylist()).encode())
            continue
        chunks = table[name].chunks
        found.update(repr([length for chunk in chunks for length in chunk.value_lengths().to_pylist()]).encode())
        for chunk in chunks:
            found.update(chunk.flatten().to_numpy().tobytes())
    return found.hexdigest().encode()


def tuples_of_column(column: pa.ChunkedArray) -> list[tuple[Any, ...]]:
    """The rows of a column of lists; through numpy, which is much quicker than row by row for long prompts."""
    rows: list[tuple[Any, ...]] = []
    for chunk in column.chunks:
        offsets, values = chunk.offsets.to_pylist(), chunk.values.to_numpy().tolist()
        rows += [tuple(values[start:end]) for start, end in pairwise(offsets)]
    return rows
