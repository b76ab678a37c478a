"""The released layout of PersonaMem-v2 (arXiv 2512.06688), read as it is.

    benchmark/text/{train,val,benchmark}.csv            27 columns, one question a row
    data/chat_history_{32k,128k}/*.json                 {"metadata": {...}, "chat_history": [{role, content}, ...]}

The release is not spotless (revision 0622e56d, as others report it). Refused as bad rows: one without incorrect
answers, one that repeats the correct answer among them. Left out: null entries among the incorrect answers, messages
whose content is null or empty. Kept: two user messages in a row. Of more than three incorrect answers the first three
count, as in the paper's code.

A file or row that cannot be used raises `RecordError`, a `ValueError` of one line with file, row, key and remedy.
"""

from __future__ import annotations

import ast
import csv
import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import httpx
from huggingface_hub import snapshot_download

from rft.records import History, Message, Question, Role

CsvName = Literal["train", "val", "benchmark"]
Window = Literal["32k", "128k"]

NUM_INCORRECT = 3
REMEDY = "correct it, or set data.bad_rows=skip to leave such rows out"


class RecordError(ValueError):
    """A row or a history that cannot be used; `reason` is the name it is counted under when rows are skipped."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{message}; {REMEDY}")
        self.reason = reason


# ---------------------------------------------------------------------------------------------------------- source


def resolve_source(source: str, revision: str | None, window: Window) -> Path:
    """The folder that holds the data set: `source` itself, or the hub's snapshot at a commit.

    Only the three CSV files and the histories of one window are downloaded. `revision` is a full commit hash:
    a branch or a tag may move, and then a run could not be repeated.

    Raises:
        ValueError: no such folder, a hub id without a commit, a download that fails.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source) or source.startswith("."):
        raise ValueError(f"data.source '{source}' is not a folder; name one in the PersonaMem-v2 layout or a hub id")
    if revision is None or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise ValueError(
            f"data.source '{source}' is not a folder, and as a hub data set it needs data.revision, "
            f"the 40 digits of a commit, not {revision!r}"
        )
    patterns = ["benchmark/text/*.csv", f"data/chat_history_{window}/*.json"]
    try:
        return Path(snapshot_download(source, repo_type="dataset", revision=revision, allow_patterns=patterns))
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise ValueError(
            f"the hub data set '{source}' at revision {revision} cannot be downloaded ({one_line(error)}); "
            "check the id, the revision and the network, or set data.source to a folder that holds it"
        ) from None


# ------------------------------------------------------------------------------------------------------------ cells


class CellError(ValueError):
    """What is wrong with one cell or message, to be put after its place."""


def parse_python(text: str) -> Any:
    """A Python literal, such as the dicts with single quotes that `user_query` and `short_persona` hold."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise CellError("is not a Python literal") from None


def parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CellError(f"is not complete JSON ({one_line(error)})") from None


def parse_count(text: str) -> int:
    """A whole number; pandas writes one as `12.0` where a column has gaps."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not number.is_integer():
        raise CellError(f"is not a whole number but {text[:40]!r}")
    return int(number)


def parse_bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise CellError(f"is neither True nor False but {text[:40]!r}")
    return text.lower() == "true"


def parse_optional(text: str) -> str | None:
    return text or None


def parse_text(text: str) -> str:
    if not text.strip():
        raise CellError("is empty")
    return text


def parse_query(text: str) -> str:
    """The content of `{'role': 'user', 'content': ...}`, without the white space around it."""
    message = parse_python(text)
    if not isinstance(message, dict) or not isinstance(message.get("content"), str):
        raise CellError("is not a dict with 'role' and 'content'")
    return parse_text(encodable(message["content"])).strip()


def parse_incorrect(text: str) -> tuple[str, ...]:
    """The first three incorrect answers; null and empty entries do not count."""
    answers = parse_json(text)
    if not isinstance(answers, list) or not all(isinstance(answer, str | None) for answer in answers):
        raise CellError("is not a JSON list of texts")
    answers = [encodable(answer) for answer in answers if answer and answer.strip()]
    if len(answers) < NUM_INCORRECT:
        raise CellError(f"holds {len(answers)} answers, so there are {len(answers) + 1} options instead of 4")
    return tuple(answers[:NUM_INCORRECT])


def parse_messages(text: str) -> tuple[Message, ...]:
    return tuple(message for message in to_messages(parse_json(text)) if message is not None)


def to_messages(items: Any) -> Iterator[Message | None]:
    """The messages of a parsed JSON list, None for one without text."""
    if not isinstance(items, list):
        raise CellError("is not a list of messages")
    for index, item in enumerate(items):
        if not isinstance(item, dict) or "role" not in item or "content" not in item:
            raise CellError(f"message {index} has no 'role' and 'content'")
        role, content = item["role"], item["content"]
        if role not in get_args(Role):
            raise CellError(f"message {index} has the role {role!r} instead of system, user or assistant")
        if not isinstance(content, str | None):
            raise CellError(f"message {index} has a content that is not text")
        yield (Message(role=role, content=encodable(content)) if content and content.strip() else None)


def encodable(text: str) -> str:
    """JSON can spell half of a surrogate pair, which no tokenizer can read."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise CellError("holds half of a surrogate pair, which is no character") from None
    return text


COLUMNS: dict[str, Callable[[str], Any]] = {
    "persona_id": parse_count,
    "chat_history_32k_link": parse_text,
    "chat_history_128k_link": parse_text,
    "raw_persona_file": str,
    "short_persona": parse_python,
    "expanded_persona": parse_json,
    "user_query": parse_query,
    "correct_answer": parse_text,
    "incorrect_answers": parse_incorrect,
    "topic_query": str,
    "preference": str,
    "topic_preference": str,
    "conversation_scenario": str,
    "pref_type": parse_text,
    "related_conversation_snippet": parse_messages,
    "who": parse_text,
    "updated": parse_bool,
    "prev_pref": parse_optional,
    "sensitive_info": parse_bool,
    "total_tokens_in_chat_history_32k": parse_count,
    "total_tokens_in_chat_history_128k": parse_count,
    "distance_from_related_snippet_to_query_32k": parse_count,
    "distance_from_related_snippet_to_query_128k": parse_count,
    "num_persona_relevant_tokens_32k": parse_count,
    "num_persona_irrelevant_tokens_32k": parse_count,
    "num_persona_relevant_tokens_128k": parse_count,
    "num_persona_irrelevant_tokens_128k": parse_count,
}
"""All 27 columns and how each cell is read. Only the cells that a `Question` carries are parsed for every row."""

ID_COLUMNS = ("question_id", "id")
"""The release has no row id; a file that adds one of these columns must not repeat its values."""


# -------------------------------------------------------------------------------------------------------- questions


def read_questions(
    root: Path, csv_name: CsvName, window: Window, bad_rows: Literal["error", "skip"]
) -> tuple[list[Question], dict[str, int]]:
    """The questions of one CSV in file order, and how many rows were skipped, by reason.

    A row is a duplicate when it repeats an earlier row's history, query and four answers, or its `ID_COLUMNS` value.

    Raises:
        ValueError: the file is absent, not UTF-8, not CSV or lacks a column, whatever `bad_rows` says.
        RecordError: a row that cannot be used, with `bad_rows="error"`.
    """
    path = csv_path(root, csv_name)
    rows = iterate_rows(path)
    reader = RowReader(root, csv_name, window, header=next(rows))
    questions: list[Question] = []
    skipped: Counter[str] = Counter()
    for row, cells in enumerate(rows):
        try:
            questions.append(reader.read(row, cells))
        except RecordError as error:
            if bad_rows == "error":
                raise
            skipped[error.reason] += 1
    if not questions:
        raise ValueError(f"{path} holds no usable row ({sum(skipped.values())} skipped); check that the file is whole")
    return questions, dict(skipped)


def read_personas(root: Path, csv_name: CsvName) -> set[int]:
    """The persona ids of one CSV, those of rows that are otherwise unusable included."""
    rows = iterate_rows(csv_path(root, csv_name))
    at = next(rows).index("persona_id")
    personas = set()
    for cells in rows:
        with suppress(CellError, IndexError):
            personas.add(parse_count(cells[at]))
    return personas


def csv_path(root: Path, csv_name: str) -> Path:
    return root / "benchmark" / "text" / f"{csv_name}.csv"


def iterate_rows(path: Path) -> Iterator[list[str]]:
    """The header, checked for the 27 columns, then the cells of each row."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist; data.source must hold it, as the released PersonaMem-v2 does")
    # Cells hold whole personas; the module's limit of 128 kB per cell is meant for other data.
    csv.field_size_limit(1 << 30)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            missing = [name for name in COLUMNS if name not in header]
            if missing:
                raise ValueError(
                    f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
                    "restore the 27 columns of the released PersonaMem-v2"
                )
            yield header
            yield from (cells for cells in rows if cells)
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8; save it as UTF-8") from None
    except csv.Error as error:
        raise ValueError(f"{path} is not whole CSV ({error}); fetch or write it again") from None


class RowReader:
    """Turns the rows of one CSV into questions, remembering what it has seen so that repeats are found."""

    def __init__(self, root: Path, csv_name: str, window: Window, header: list[str]) -> None:
        self.root = root
        self.path = csv_path(root, csv_name)
        self.csv_name = csv_name
        self.window = window
        self.num_columns = len(header)
        self.column_at = {name: at for at, name in enumerate(header)}
        self.id_columns = [name for name in ID_COLUMNS if name in header]
        self.seen: dict[tuple[object, ...], int] = {}
        self.history_exists: dict[str, bool] = {}

    def read(self, row: int, cells: list[str]) -> Question:
        """Raises RecordError when the row cannot be used."""
        if len(cells) != self.num_columns:
            message = f"has {len(cells)} cells instead of {self.num_columns}"
            raise RecordError("cells", f"{self.path} row {row} (rows count from 0) {message}")
        history_id = self.parse(row, cells, f"chat_history_{self.window}_link")
        question = Question(
            question_id=f"{self.csv_name}/{row}",
            row=row,
            persona_id=self.parse(row, cells, "persona_id"),
            history_id=history_id,
            query=self.parse(row, cells, "user_query"),
            correct_answer=self.parse(row, cells, "correct_answer"),
            incorrect_answers=self.parse(row, cells, "incorrect_answers"),
            pref_type=self.parse(row, cells, "pref_type"),
            who=self.parse(row, cells, "who"),
            updated=self.parse(row, cells, "updated"),
            sensitive=self.parse(row, cells, "sensitive_info"),
            scenario=self.parse(row, cells, "conversation_scenario"),
            topic=self.parse(row, cells, "topic_query"),
            preference=self.parse(row, cells, "preference"),
            distance_tokens=self.parse(row, cells, f"distance_from_related_snippet_to_query_{self.window}"),
            evidence=self.parse(row, cells, "related_conversation_snippet"),
        )
        self.check_options(question)
        self.check_history(question)
        self.check_repeats(question, cells)
        return question

    def parse(self, row: int, cells: list[str], column: str) -> Any:
        try:
            return COLUMNS[column](cells[self.column_at[column]])
        except CellError as error:
            raise self.bad(column, row, column, str(error)) from None

    def check_options(self, question: Question) -> None:
        answers = (question.correct_answer, *question.incorrect_answers)
        if len({answer.strip() for answer in answers}) < len(answers):
            raise self.bad(
                "repeated_option",
                question.row,
                "incorrect_answers",
                "repeats one of the four answers",
            )

    def check_history(self, question: Question) -> None:
        history_id, column = question.history_id, f"chat_history_{self.window}_link"
        folder = f"data/chat_history_{self.window}"
        if PurePosixPath(history_id).parent != PurePosixPath(folder):
            raise self.bad(
                "history_link",
                question.row,
                column,
                f"links {history_id!r}, no file of {folder}",
            )
        if history_id not in self.history_exists:
            self.history_exists[history_id] = os.path.isfile(self.root / history_id)
        if not self.history_exists[history_id]:
            raise self.bad(
                "history_absent",
                question.row,
                column,
                f"links {history_id}, which does not exist",
            )

    def check_repeats(self, question: Question, cells: list[str]) -> None:
        content = (
            question.history_id,
            question.query,
            question.correct_answer,
            question.incorrect_answers,
        )
        keys: dict[str, tuple[object, ...]] = {"user_query": ("content", *content)}
        keys |= {name: (name, cells[self.column_at[name]]) for name in self.id_columns}
        for column, key in keys.items():
            first = self.seen.setdefault(key, question.row)
            if first != question.row:
                raise self.bad("duplicate", question.row, column, f"repeats row {first}")

    def bad(self, reason: str, row: int, column: str, message: str) -> RecordError:
        return RecordError(reason, f"{self.path} row {row} (rows count from 0), {column}: {message}")


# -------------------------------------------------------------------------------------------------------- histories


def read_history(root: Path, history_id: str, persona_id: int) -> History:
    """One history file of a known persona. What looks odd but is usable (`load_history`) becomes a warning.

    Raises:
        RecordError: absent, empty, not UTF-8, not whole JSON, not in the layout, or another persona's.
    """
    history, notes = load_history(root, history_id)
    check_persona(history, persona_id, root / history_id)
    for note in notes.values():
        warnings.warn(note, stacklevel=2)
    return history


def check_persona(history: History, persona_id: int, place: object) -> None:
    """Raises RecordError when the history is not this persona's; `place` is the file or row to name."""
    if history.persona_id != persona_id:
        message = f"metadata.persona_id of {history.history_id} is {history.persona_id}, but the CSV has {persona_id}"
        raise RecordError("history_persona", f"{place}: {message}")


def load_history(root: Path, history_id: str) -> tuple[History, dict[str, str]]:
    """The history, and a line for each odd thing about it, by kind: `recorded_totals` that do not match what is
    there, `messages_without_text` that are left out.

    Raises:
        RecordError: absent, empty, not UTF-8, not whole JSON or not in the layout.
    """
    path = root / history_id
    payload = parse_history_file(path)
    metadata = payload["metadata"]
    try:
        persona_id = parse_count(str(metadata.get("persona_id")))
        stored = list(to_messages(payload["chat_history"]))
    except CellError as error:
        raise RecordError("history_format", f"{path}: metadata.persona_id or chat_history {error}") from None
    messages = tuple(message for message in stored if message is not None)
    if not messages:
        raise RecordError("history_empty", f"{path}: chat_history has no message with text")
    notes = {}
    recorded = metadata.get("total_messages", len(stored))
    if recorded != len(stored):
        notes["recorded_totals"] = f"{path}: metadata.total_messages is {recorded}, but there are {len(stored)}"
    if len(messages) < len(stored):
        notes["messages_without_text"] = f"{path}: {len(stored) - len(messages)} messages without text are left out"
    return History(history_id=history_id, persona_id=persona_id, messages=messages), notes


def parse_history_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecordError("history_encoding", f"{path} is not UTF-8 (byte {error.start})") from None
    except FileNotFoundError:
        raise RecordError("history_absent", f"{path} does not exist") from None
    if not text.strip():
        raise RecordError("history_empty", f"{path} is empty")
    try:
        payload = parse_json(text)
    except CellError as error:
        raise RecordError("history_json", f"{path} {error}") from None
    if not isinstance(payload, dict) or not isinstance(payload.get("metadata"), dict) or "chat_history" not in payload:
        raise RecordError(
            "history_format",
            f"{path} has no 'metadata' and 'chat_history' at its top level",
        )
    return payload


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
