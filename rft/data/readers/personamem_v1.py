"""PersonaMem v1 (Jiang et al., arXiv 2504.14225) as released: a table of questions, a file of shared contexts.

    questions_{32k,128k,1M}.csv         15 columns, one question a row
    shared_contexts_{32k,128k,1M}.jsonl a line {shared_context_id: [{role, content}, ...]}

A question is asked after the first `end_index_in_shared_context` messages of its context, so questions of one context
share what comes first. Options keep the letters of the release. Version 1 does not say where the evidence is. In 17 of
the 589 questions at 32k an other option repeats the right one; they are kept, its letter alone is right, and the
manifest counts them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from rft.config import DataConfig
from rft.data.dataset import Dataset, RecordError, Split, files_fingerprint
from rft.data.prompts import LETTERS
from rft.data.readers.cells import CellError, encodable, parse_count, parse_json, parse_python, parse_text, to_messages
from rft.data.readers.csv_rows import CsvRow, read_csv
from rft.data.readers.data_files import SourceFolder, beside, check_text_file, looked_in, source_path
from rft.data.readers.format_options import check_options
from rft.data.readers.parquet_rows import find_shards, read_parquet
from rft.data.readers.rows import read_rows
from rft.data.readers.tags import distance_bucket
from rft.records import Context, Message, Question

COLUMNS = (
    "persona_id",
    "question_id",
    "question_type",
    "topic",
    "distance_to_ref_in_tokens",
    "user_question_or_message",
    "correct_answer",
    "all_options",
    "shared_context_id",
    "end_index_in_shared_context",
)
"""Those of the 15 that are read."""

PARQUET_PLACES = (
    "questions_{window}.parquet",
    "questions_{window}-*.parquet",
    "data/{window}-*.parquet",
    "*/{window}/*.parquet",
)
"""Where the questions are looked for that are no CSV file, as in personamem_csv.py."""

LABELS = LETTERS[:4]
"""A question has four options."""


class PersonaMemV1(Dataset):
    """Multiple-choice questions about users; an evaluation alone."""

    splits: ClassVar[tuple[str, ...]] = ("benchmark",)
    eval_split: ClassVar[str] = "benchmark"
    breakdowns: ClassVar[tuple[str, ...]] = ("question_type", "topic", "distance_tokens")
    strata: ClassVar[tuple[str, ...]] = ("question_type",)

    def __init__(self, config: DataConfig) -> None:
        super().__init__(config)
        check_options(config.options, (), "personamem_v1")
        root = source_path(config.source)
        if not root.is_dir():
            raise ValueError(f"data.source '{config.source}' is not a folder{looked_in(root)}; name the folder of v1")
        self.folder = SourceFolder(root, follow_links=config.follow_links)
        csv_path = root / f"questions_{config.window}.csv"
        places = [place.format(window=config.window) for place in PARQUET_PLACES]
        self.question_files = [csv_path] if csv_path.exists() else find_shards(root, places)
        if not self.question_files:
            raise ValueError(
                f"{csv_path} does not exist{beside(csv_path)}; data.source must hold it, as the released PersonaMem v1 "
                "does"
            )
        self.contexts = SharedContexts(root / f"shared_contexts_{config.window}.jsonl", self.folder)

    @property
    def name(self) -> str:
        return f"personamem_v1-{self.config.window}"

    def split(self, name: str) -> Split:
        self.check_split(name)
        questions, skipped = read_rows(self.rows(), RowReader().read, self.config.bad_rows)
        if not questions:
            raise ValueError(f"{self.question_files[0]} holds no usable question; check that the file is whole")
        repeated = sum(question.correct_answer in question.incorrect_answers for question in questions)
        manifest = {"correct_option_repeated": repeated, "rows_skipped": skipped}
        return Split(name=name, questions=tuple(questions), manifest=manifest)

    def rows(self) -> Iterator[CsvRow]:
        if self.question_files[0].suffix == ".parquet":
            return read_parquet(self.question_files, COLUMNS, "PersonaMem v1", folder=self.folder)
        return read_csv(self.question_files[0], COLUMNS, "PersonaMem v1", folder=self.folder)

    def context(self, context_id: str) -> Context:
        """The first messages of a shared context, by `CONTEXT:END`; its leading system message is the profile."""
        shared, _, end = context_id.rpartition(":")
        stored = self.contexts.messages(shared)
        if int(end) > len(stored):
            raise RecordError(
                "context_too_short",
                f"{self.contexts.path}: context {shared} has {len(stored)} messages, a question asks for {end}",
            )
        messages = tuple(message for message in stored[: int(end)] if message is not None)
        profile = messages[0] if messages and messages[0].role == "system" else None
        return Context(context_id=context_id, messages=messages[1:] if profile else messages, profile=profile)

    def option_order(self, question: Question) -> tuple[int, ...]:
        """The release's letters."""
        order = list(range(1, 1 + len(question.incorrect_answers)))
        order.insert(LABELS.index(question.columns["correct_letter"]), 0)
        return tuple(order)

    def fingerprint(self) -> str:
        files = [*self.question_files, self.contexts.path]
        return files_fingerprint(files, [self.config.window, self.config.bad_rows])


class RowReader:
    """Turns rows into questions, remembering their ids so that repeats are found."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}

    def read(self, row: CsvRow) -> Question:
        """Raises RecordError when the row cannot be used."""
        options = row.parse("all_options", parse_options)
        letter = row.parse("correct_answer", parse_letter)
        at = LABELS.index(letter)
        end = row.parse("end_index_in_shared_context", parse_end)
        question = Question(
            question_id=f"v1/{row.parse('question_id', parse_text)}",
            context_id=f"{row.parse('shared_context_id', parse_text)}:{end}",
            cluster=str(row.parse("persona_id", parse_count)),
            query=row.parse("user_question_or_message", parse_text),
            correct_answer=options[at],
            incorrect_answers=tuple(options[:at] + options[at + 1 :]),
            tags={
                "question_type": row.parse("question_type", parse_text),
                "topic": row.parse("topic", str),
                "distance_tokens": distance_bucket(row.parse("distance_to_ref_in_tokens", parse_count)),
            },
            columns={"correct_letter": letter},
        )
        first = self.seen.setdefault(question.question_id, row.number)
        if first != row.number:
            raise row.bad("duplicate", "question_id", f"repeats row {first}")
        return question


def parse_end(text: str) -> int:
    """How many messages a question comes after."""
    end = parse_count(text)
    if end < 0:
        raise CellError(f"is {end}, but a context cannot end before its first message")
    return end


def parse_letter(text: str) -> str:
    """`c` of `(c)`."""
    letter = text.strip().strip("()").lower()
    if letter not in LABELS:
        raise CellError(f"is {text[:40]!r} instead of a letter from (a) to (d)")
    return letter


def parse_options(text: str) -> list[str]:
    """The four texts behind the labels `(a)` to `(d)`; the column is a Python list in both quoting styles."""
    options = parse_python(text)
    if not isinstance(options, list) or len(options) != len(LABELS) or not all(isinstance(o, str) for o in options):
        raise CellError("does not hold four texts")
    if [option[:3] for option in options] != [f"({letter})" for letter in LABELS]:
        raise CellError("is not labelled (a), (b), (c), (d) in this order")
    texts = [encodable(option[3:].strip()) for option in options]
    if not all(texts):
        raise CellError("holds an empty option")
    return texts


class SharedContexts:
    """The lines of a file of contexts, each read when it is first asked for."""

    def __init__(self, path: Path, folder: SourceFolder) -> None:
        self.path = path
        self.folder = folder
        self._offsets: dict[str, int] | None = None
        self._last: tuple[str, tuple[Message | None, ...]] = ("", ())

    def messages(self, shared: str) -> tuple[Message | None, ...]:
        """All messages of one context, None for one without text.

        Raises:
            ValueError: no such file, or a line of it is not JSON.
            RecordError: no such context, or messages that cannot be used.
        """
        if self._last[0] != shared:
            self._last = shared, self._read(shared)
        return self._last[1]

    def _read(self, shared: str) -> tuple[Message | None, ...]:
        if self._offsets is None:
            self._offsets = dict(self._index())
        if shared not in self._offsets:
            raise RecordError(
                "context_absent", f"{self.path} has no context {shared}; fetch the file that belongs to the questions"
            )
        with self.path.open("rb") as file:
            file.seek(self._offsets[shared])
            line = file.readline()
        try:
            return tuple(to_messages(parse_line(line)[shared]))
        except CellError as error:
            raise RecordError("context_format", f"{self.path}: context {shared} {error}") from None

    def _index(self) -> Iterator[tuple[str, int]]:
        """Each context's id and the position of its line; blank lines are left out."""
        if not self.path.exists():
            raise ValueError(
                f"{self.path} does not exist{beside(self.path)}; it is released beside the questions of PersonaMem v1"
            )
        check_text_file(self.path, self.folder)
        position = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        (shared,) = parse_line(line)
                    except CellError as error:
                        raise ValueError(f"{self.path} line {number} {error}; fetch the file again") from None
                    yield shared, position
                position += len(line)


def parse_line(line: bytes) -> dict[str, Any]:
    """One JSON object with one key."""
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CellError("is not UTF-8") from None
    found = parse_json(text)
    if not isinstance(found, dict) or len(found) != 1:
        raise CellError("is not one JSON object with one key")
    return found
