"""A person's verdicts turned into a data set without the rows that were dropped."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from rft.auditing.review import VERDICTS, digest_of
from rft.auditing.sources import Source
from rft.data.dataset import RecordError
from rft.data.readers.csv_rows import CsvRow
from rft.data.readers.jsonl_dataset import JsonlDataset
from rft.data.readers.personamem_csv import CsvName, RowReader, csv_path, rows_of, table_files
from rft.data.readers.personamem_histories import history_path
from rft.data.readers.personamem_v2 import PersonaMemV2

MANIFEST = "drops.json"

LINK_COLUMNS = ("chat_history_32k_link", "chat_history_128k_link")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a person says of one question.

    Example:
        Verdict(verdict="drop", digest="9f86d081884c7d65", note="the evidence says tea, not coffee")
    """

    verdict: str
    """One of `VERDICTS`."""
    digest: str
    """`digest_of` the question that was shown."""
    note: str = ""


def read_verdicts(path: Path) -> dict[str, Verdict]:
    """Verdicts by question id, from the file that the page saves.

    Raises:
        ValueError: no such file, or not what the page saves.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))["verdicts"]
        found = {
            name: Verdict(verdict=one["verdict"], digest=one["digest"], note=str(one.get("note", "")))
            for name, one in stored.items()
        }
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); name the file that the page saved") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} is no file of verdicts; save it from the page of rft/review.py again") from None
    for name, one in found.items():
        if one.verdict not in VERDICTS:
            raise ValueError(f"{path}: the verdict on {name} is {one.verdict!r}; it must be {', '.join(VERDICTS)}")
    return found


def write_without_drops(source: Source, verdicts: Mapping[str, Verdict], out: Path) -> int:
    """Writes the data set anew without the dropped rows, with drops.json beside it; returns how many were dropped.

    Raises:
        ValueError: a format that cannot be written, verdicts on other questions, a folder that is not empty or cannot
            be written.
    """
    check_same_questions(source, verdicts)
    dropped = {name for name, one in verdicts.items() if one.verdict == "drop"}
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; name a new folder")
    dataset = source.dataset
    try:
        if isinstance(dataset, PersonaMemV2):
            write_v2(dataset, dropped, out)
        elif isinstance(dataset, JsonlDataset):
            write_jsonl(dataset, dropped, out)
        else:
            raise ValueError(
                f"{dataset.name} is an evaluation alone, nothing is dropped from it; use personamem_v2 or jsonl"
            )
        text = json.dumps(manifest_of(source, verdicts), indent=1, ensure_ascii=False)
        (out / MANIFEST).write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{out} cannot be written ({error.strerror}); name another folder") from None
    return len(dropped)


def check_same_questions(source: Source, verdicts: Mapping[str, Verdict]) -> None:
    """Raises ValueError where a verdict is not of a question as it is in the data set."""
    by_id = {question.question_id: question for found in source.questions.values() for question in found}
    for name, one in verdicts.items():
        if name not in by_id:
            raise ValueError(f"the verdicts are of another data set: {name} is no question of {source.dataset.name}")
        if digest_of(by_id[name]) != one.digest:
            raise ValueError(
                f"the verdicts are of another data set: {name} is not what was shown; make a page of this one"
            )


def manifest_of(source: Source, verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    """What was dropped and why, by the ids of the data set that was looked at."""
    return {
        "data_set": source.dataset.name,
        "rows_before": {name: len(questions) for name, questions in source.questions.items()},
        "reviewed": len(verdicts),
        "dropped": {name: one.note for name, one in verdicts.items() if one.verdict == "drop"},
        "unsure": {name: one.note for name, one in verdicts.items() if one.verdict == "unsure"},
    }


def write_v2(dataset: PersonaMemV2, dropped: set[str], out: Path) -> None:
    """The tables as CSV, every cell as it was, and the histories that the rows left link. Rows that cannot be read
    stay: they are the audit's business."""
    linked: set[str] = set()
    for name in get_args(CsvName):
        if not table_files(dataset.root, name):
            continue
        path = csv_path(out, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        reader = RowReader(name, dataset.window)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            for number, row in enumerate(rows_of(dataset.folder, name)):
                if number == 0:
                    writer.writerow(sorted(row.column_at, key=row.column_at.__getitem__))
                if f"{name}/{row.number}" not in dropped:
                    writer.writerow(row.cells)
                    linked.update(links_of(reader, row))
    for link in sorted(linked):
        copy_history(dataset, link, out)


def links_of(reader: RowReader, row: CsvRow) -> list[str]:
    try:
        reader.read(row)
    except RecordError:
        return []
    return [row.cells[row.column_at[column]] for column in LINK_COLUMNS]


def copy_history(dataset: PersonaMemV2, link: str, out: Path) -> None:
    """As a hard link where the file system allows it: histories are large, and nobody changes them."""
    try:
        path = history_path(dataset.folder, link)
    except RecordError:
        return
    target = (out / link).with_suffix(path.suffix)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path.resolve(), target)
    except OSError:
        shutil.copyfile(path, target)


def write_jsonl(dataset: JsonlDataset, dropped: set[str], out: Path) -> None:
    """Both files, without the lines of dropped questions."""
    out.mkdir(parents=True, exist_ok=True)
    with dataset.questions_path.open("rb") as lines, (out / dataset.questions_path.name).open("wb") as file:
        for number, line in enumerate(lines, 1):
            if not line.strip() or id_of_line(line, number) not in dropped:
                file.write(line)
    if dataset.contexts_path.exists():
        shutil.copyfile(dataset.contexts_path, out / dataset.contexts_path.name)


def id_of_line(line: bytes, number: int) -> str:
    """A question's id as the reader has it; lines count from 1."""
    item = json.loads(line.decode("utf-8-sig"))
    named = item.get("question_id") if isinstance(item, dict) else None
    return str(named) if named is not None else f"questions/{number}"
