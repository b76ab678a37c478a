"""Any data set as an audit reads it: what can be read, and a case for whatever cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from rft.auditing.columns import check_columns, total_tokens, unknown_columns
from rft.auditing.dropped import keys_twice, lost_from_file
from rft.auditing.findings import Case
from rft.auditing.messages import text_of
from rft.config import DataConfig
from rft.data.dataset import Dataset, RecordError
from rft.data.formats import open_dataset
from rft.data.readers.csv_rows import CsvRow
from rft.data.readers.data_files import source_path
from rft.data.readers.jsonl_dataset import JsonlDataset
from rft.data.readers.jsonl_rows import read_line_at
from rft.data.readers.perma import QUESTIONS as PERMA_QUESTIONS
from rft.data.readers.personamem_csv import COLUMNS, ID_COLUMNS, CsvName, RowReader, rows_of, table_files
from rft.data.readers.personamem_histories import history_path, parse_history_file, to_context
from rft.data.readers.personamem_v2 import PersonaMemV2
from rft.plain_text import has_text
from rft.records import Context, Question

CHECK_OF_REASON = {"duplicate": "duplicate_row", "repeated_option": "repeated_option"}
"""Checks that stand for a reader's reason to refuse a row; any other one makes an `unreadable_row`."""


WindowName = Literal["32k", "128k", "1M"]
"""Values of `data.window`."""

Layout = tuple[str | None, list[WindowName]]
"""A `data.format`, None where it is not known, and the windows that are there; none where windows mean nothing."""

ONE_FILE = ("longmemeval", "locomo_plus", "locomo")
"""Formats of one file, which begins with the name; LoCoMo-Plus lies beside LoCoMo's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One window of a data set.

    Example:
        Source(dataset=PersonaMemV2(...), window="32k", questions={"train": [Question(...), ...]}, cases=[Case(...)])
    """

    dataset: Dataset
    window: str
    questions: dict[str, list[Question]]
    """By split, those that can be read."""
    cases: list[Case] = field(default_factory=list)
    """About rows: the other ones, and columns that contradict each other."""


# -------------------------------------------------------------------------------------------------------- the layout


def layout_of(source: str) -> Layout:
    """The `data.format` and the windows that the files at `source` look like; None where they look like no format.

    Raises:
        ValueError: a source that may not be read.
    """
    path = source_path(source)
    if not path.is_dir():
        name = path.name.lower()
        forms = (form for form in ONE_FILE if path.is_file() and name.startswith(form))
        return next(forms, None), []
    windows: tuple[WindowName, ...] = get_args(WindowName)
    if any(table_files(path, name) for name in get_args(CsvName)):
        return "personamem_v2", [window for window in windows if any_history(path, window)]
    if found := [window for window in windows if (path / f"questions_{window}.csv").exists()]:
        return "personamem_v1", found
    if (path / "questions.jsonl").exists():
        return "jsonl", []
    if any(path.glob(PERMA_QUESTIONS)):
        return "perma", []
    return next((form for form in ONE_FILE if any(path.glob(f"{form}*"))), None), []


def any_history(root: Path, window: str) -> bool:
    folder = root / "data" / f"chat_history_{window}"
    return folder.is_dir() and any(folder.iterdir())


def open_sources(data: DataConfig, layout: Layout) -> list[Source]:
    """Each window of the data set, its rows read, bad ones as cases.

    Raises:
        ValueError: a source that cannot be used at all.
    """
    form, windows = layout
    data = replace(data, format=form or data.format, bad_rows="skip", train_split="paper")
    return [read_source(replace(data, window=window)) for window in windows or [data.window]]


def read_source(data: DataConfig) -> Source:
    dataset = open_dataset(data)
    if isinstance(dataset, PersonaMemV2):
        return read_v2(dataset)
    if isinstance(dataset, JsonlDataset):
        return read_jsonl_folder(dataset)
    source = Source(dataset=dataset, window=data.window, questions={})
    for name in dataset.splits:
        split = dataset.split(name)
        source.questions[name] = list(split.questions)
        source.cases.extend(cases_of_counts(dataset, name, split.manifest.get("rows_skipped", {})))
    return source


# ------------------------------------------------------------------------------------------------------------- rows


def read_v2(dataset: PersonaMemV2) -> Source:
    """The rows of each table that is there, one by one, so that each bad one is named."""
    source = Source(dataset=dataset, window=dataset.window, questions={})
    for name in get_args(CsvName):
        if not table_files(dataset.root, name):
            continue
        reader = RowReader(name, dataset.window)
        questions = source.questions.setdefault(name, [])
        known = {*COLUMNS, *ID_COLUMNS}
        for row in rows_of(dataset.folder, name):
            try:
                question = reader.read(row)
            except RecordError as error:
                check = CHECK_OF_REASON.get(error.reason, "unreadable_row")
                place = f"{name}/{row.number}"
                source.cases.append(Case(check=check, question=place, detail=behind_place(error.problem)))
                continue
            source.cases.extend(check_columns(row, question, dataset.window))
            for column in unknown_columns(row, known):
                known.add(column)  # named once, where it first holds something
                detail = f"{column!r}, which holds {row.cells[row.column_at[column]][:40]!r} here"
                source.cases.append(Case(check="unknown_column", question=question.question_id, detail=detail))
            questions.append(with_total(row, question, dataset.window))
        if not questions:
            source.cases.append(Case(check="empty_split", detail=f"{name} has no usable row"))
    if not source.questions:
        raise ValueError(f"{dataset.root} has no table of questions; it needs benchmark/text/train.csv or another one")
    return source


def with_total(row: CsvRow, question: Question, window: str) -> Question:
    """The question with `total_tokens`, the length of its history as the row has it, among its columns."""
    total = total_tokens(row, window)
    return question if total is None else replace(question, columns={**question.columns, "total_tokens": total})


def behind_place(problem: str) -> str:
    """What a reader says of a row, without the path, which would be that of this machine."""
    return problem.partition("(rows count from 0)")[2].lstrip(", ") or problem


def read_jsonl_folder(dataset: JsonlDataset) -> Source:
    """Its own splits, or all lines together where it names none: those that a run would cut depend on the run."""
    source = Source(dataset=dataset, window=dataset.config.window, questions={})
    loaded = dataset.loaded
    for question in loaded.questions:
        split = loaded.split_of.get(question.question_id, "all")
        source.questions.setdefault(split, []).append(question)
    source.cases.extend(cases_of_counts(dataset, "all", loaded.skipped))
    return source


def cases_of_counts(dataset: Dataset, split: str, skipped: dict[str, int]) -> Iterator[Case]:
    """A case for each row that was left out. Such a reader names the first one alone."""
    if not skipped:
        return
    try:
        strict = open_dataset(replace(dataset.config, bad_rows="error"))
        strict.split(split if split in strict.splits else strict.splits[0])
        first = ""
    except ValueError as error:
        first = str(error)
    for reason, count in skipped.items():
        for number in range(count):
            detail = first if first and number == 0 else "one more"
            yield Case(check=CHECK_OF_REASON.get(reason, "unreadable_row"), detail=f"{reason}: {detail}")
            first = "" if detail == first else first


# --------------------------------------------------------------------------------------------------------- histories


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A history as it is stored, and what its reader makes of it.

    Example:
        Stored(items=[{"role": "user", "content": "Hello."}], texts=["Hello."], metadata={"persona_id": 3},
               context=Context(...))
    """

    items: list[Any]
    """Its messages, whatever they are; of other formats than PersonaMem-v2 those of the reader."""
    texts: list[str | None]
    """Of each message, as the reader takes it; None for one without text."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What the file says about itself."""
    lost: list[str] = field(default_factory=list)
    """Texts of the file that the reader leaves out, each in a phrase."""
    context: Context | None = None
    """None where the reader refuses it."""
    problem: RecordError | None = None
    """Why it does."""

    @property
    def roles(self) -> list[str]:
        """Of each message; empty for what is none."""
        return [str(item.get("role")) if isinstance(item, dict) else "" for item in self.items]

    @property
    def shown(self) -> list[str | None]:
        """As `texts`, with None for the user's description, which no prompt shows by default."""
        return [None, *self.texts[1:]] if self.begins_with_profile else self.texts

    @property
    def begins_with_profile(self) -> bool:
        if self.context is not None:
            return self.context.profile is not None
        return bool(self.items) and isinstance(self.items[0], dict) and self.items[0].get("role") == "system"


def stored_history(dataset: Dataset, context_id: str) -> Stored:
    """One history.

    Raises:
        RecordError: it is absent, or no list of messages.
    """
    if isinstance(dataset, PersonaMemV2):
        path = history_path(dataset.folder, context_id)
        payload = parse_history_file(path)
        items, metadata = payload["chat_history"], payload["metadata"]
        if not isinstance(items, list):
            raise RecordError("history_format", f"{context_id}: chat_history is no list")
        twice = keys_twice(path.read_text(encoding="utf-8-sig")) if path.suffix != ".parquet" else ()
        lost = [*lost_from_file(payload), *twice]
        stored = Stored(items=items, texts=list(map(text_of, items)), metadata=metadata, lost=lost)
        try:
            return replace(stored, context=to_context(path, context_id, payload))
        except RecordError as error:
            return replace(stored, problem=error)
    context = dataset.context(context_id)
    messages = [*([context.profile] if context.profile else []), *context.messages]
    items = [{"role": message.role, "content": message.content} for message in messages]
    stored = Stored(items=items, texts=[message.content for message in messages], context=context)
    return with_lines(dataset, context_id, stored) if isinstance(dataset, JsonlDataset) else stored


def with_lines(dataset: JsonlDataset, context_id: str, stored: Stored) -> Stored:
    """The history with its messages as the file has them, where it has messages."""
    place = dataset.loaded.contexts.places.get(context_id)
    if place is None:
        return stored
    items = read_line_at(dataset.contexts_path, place.number, place.offset).parse_object().get("messages")
    if not isinstance(items, list):
        return stored
    profile = stored.items[: 1 if stored.begins_with_profile else 0]
    texts = [item["content"] if item["content"] and has_text(item["content"]) else None for item in items]
    return replace(stored, items=[*profile, *items], texts=[*stored.texts[: len(profile)], *texts])


def unused_histories(source: Source) -> Iterator[Case]:
    """Files of the window that no row links."""
    dataset = source.dataset
    if not isinstance(dataset, PersonaMemV2):
        return
    linked = {Path(q.context_id).stem for questions in source.questions.values() for q in questions}
    for path in sorted((dataset.root / "data" / f"chat_history_{dataset.window}").glob("*")):
        if path.stem not in linked and path.suffix in (".json", ".parquet"):
            yield Case(check="unused_history", file=str(path.relative_to(dataset.root)), detail="no row links it")
