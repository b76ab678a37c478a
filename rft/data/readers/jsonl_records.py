"""From the lines of `contexts.jsonl` and `questions.jsonl` to records: keys, how each value is read, what must fit.

The layout is documented in jsonl_dataset.py.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rft.data.dataset import RecordError
from rft.data.readers.cells import CellError, check_levels, encodable, to_messages
from rft.data.readers.jsonl_rows import JsonlRow, Parser, kind_of, name_value, read_jsonl, text_value
from rft.data.readers.rows import read_rows
from rft.data.readers.tags import yes_or_no
from rft.records import Context, Message, Question

MOST_INCORRECT = 25
"""Options are lettered a to z."""

# -------------------------------------------------------------------------------------------------- values of keys


def option_texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise CellError(f"is {kind_of(value)} instead of a list of texts")
    if not 1 <= len(value) <= MOST_INCORRECT:
        raise CellError(f"holds {len(value)} answers instead of 1 to {MOST_INCORRECT}; leave it out of open questions")
    return tuple(named_value(f"answer {index}", text_value, item) for index, item in enumerate(value))


def tag_values(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise CellError(f"is {kind_of(value)} instead of an object")
    return {name_value(tag): named_value(f"{tag!r}", tag_value, item) for tag, item in value.items()}


def tag_value(value: Any) -> str:
    if isinstance(value, bool):
        return yes_or_no(value)
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    if isinstance(value, str):
        return name_value(value)
    raise CellError(f"is {kind_of(value)} instead of text, a finite number, true or false")


def named_value(name: str, parser: Parser, value: Any) -> Any:
    """One of several values; an error says which."""
    try:
        return parser(value)
    except CellError as error:
        raise CellError(f"{name} {error}") from None


def column_values(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CellError(f"is {kind_of(value)} instead of an object")
    check_levels(value)
    encodable(json.dumps(value, ensure_ascii=False))
    return value


def split_name(value: Any) -> str:
    name = text_value(value)
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise CellError("may hold letters, digits, '_', '.' and '-' alone, and must begin with one of the first three")
    return name


def all_messages(value: Any) -> list[Message | None]:
    """As stored, None for a message without text."""
    messages = list(to_messages(value))
    if not any(messages):
        raise CellError("has no message with text")
    return messages


def evidence_messages(value: Any) -> tuple[Message, ...]:
    return tuple(message for message in to_messages(value) if message is not None)


CONTEXT_KEYS: dict[str, Parser] = {
    "context_id": name_value,
    "messages": all_messages,
    "text": text_value,
    "cluster": name_value,
    "profile": text_value,
}

QUESTION_KEYS: dict[str, Parser] = {
    "question_id": name_value,
    "context_id": name_value,
    "query": text_value,
    "answer": text_value,
    "incorrect_answers": option_texts,
    "tags": tag_values,
    "columns": column_values,
    "cluster": name_value,
    "split": split_name,
    "evidence": evidence_messages,
}


# -------------------------------------------------------------------------------------------------------- contexts


class ContextPlace(NamedTuple):
    """Where a context stands in its file, and what its questions need to know of it."""

    context_id: str
    number: int
    offset: int
    cluster: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextIndex:
    """The contexts of a file.

    Example:
        ContextIndex(places={"lease": ContextPlace("lease", number=1, offset=0, cluster=None)}, skipped={"json": 1})
    """

    places: Mapping[str, ContextPlace]
    skipped: dict[str, int]
    """Unusable lines by reason (`data.bad_rows: skip`)."""


def index_contexts(path: Path, bad_rows: Literal["error", "skip"]) -> ContextIndex:
    """Reads every context once, so that one that cannot be used is found before anything is loaded.

    Raises:
        RecordError: a context that cannot be used, with `bad_rows="error"`.
    """
    places: dict[str, ContextPlace] = {}

    def place_of(row: JsonlRow) -> None:
        context = parse_context(row)
        place = ContextPlace(context.context_id, row.number, row.offset, context.cluster)
        first = places.setdefault(context.context_id, place)
        if first is not place:
            raise row.bad("duplicate", f"repeats line {first.number}", "context_id")

    _, skipped = read_rows(read_jsonl(path), place_of, bad_rows)
    return ContextIndex(places=places, skipped=skipped)


def parse_context(row: JsonlRow) -> Context:
    """Raises RecordError for a line that cannot be used."""
    values = row.parse(CONTEXT_KEYS, required=("context_id",))
    if ("messages" in values) == ("text" in values):
        raise row.bad("messages_or_text", "must have either 'messages' or 'text'")
    stored = values["messages"] if "messages" in values else [Message(role="user", content=values["text"])]
    messages = tuple(message for message in stored if message is not None)
    left_out = f"{row.path.name} line {row.number}: {len(stored) - len(messages)} messages without text are left out"
    return Context(
        context_id=values["context_id"],
        messages=messages,
        cluster=values.get("cluster"),
        profile=Message(role="system", content=values["profile"]) if "profile" in values else None,
        notes={"messages_without_text": left_out} if len(messages) < len(stored) else {},
    )


# ------------------------------------------------------------------------------------------------------- questions


class QuestionRow(NamedTuple):
    """A line of questions.jsonl, before its context is looked for."""

    row: JsonlRow
    question_id: str
    values: dict[str, Any]


class QuestionReader:
    """Reads lines one by one, remembering ids so that repeats are found."""

    def __init__(self) -> None:
        self.line_of: dict[str, int] = {}

    def read(self, row: JsonlRow) -> QuestionRow:
        """Raises RecordError for a line that cannot be used."""
        values = row.parse(QUESTION_KEYS, required=("query", "answer"))
        options = [values["answer"].strip(), *(option.strip() for option in values.get("incorrect_answers", ()))]
        if options[0] in options[1:]:
            raise row.bad("repeated_option", "holds the right answer", "incorrect_answers")
        if len(set(options)) < len(options):
            raise row.bad("repeated_option", "holds the same answer twice", "incorrect_answers")
        question_id = values.get("question_id", f"questions/{row.number}")
        first = self.line_of.setdefault(question_id, row.number)
        if first != row.number:
            raise row.bad("duplicate", f"{question_id!r} is also the id of line {first}", "question_id")
        return QuestionRow(row, question_id, values)


class Linker:
    """Puts questions to their contexts, remembering clusters so that one context has one."""

    def __init__(self, places: Mapping[str, ContextPlace]) -> None:
        self.places = places
        self.cluster_of: dict[str, str] = {}

    def link(self, item: QuestionRow) -> Question:
        """Raises RecordError for a question whose context cannot be used, or is of another cluster."""
        row, question_id, values = item
        context_id = values.get("context_id", question_id)
        if ("context_id" in values) != (context_id in self.places):
            raise self.wrong_context(item, context_id)
        place = self.places.get(context_id)
        own = place.cluster if place is not None else None
        cluster = values.get("cluster", own or context_id)
        expected = self.cluster_of.setdefault(context_id, own or cluster)
        if cluster != expected:
            message = f"is {cluster!r}, but the context {context_id!r} belongs to {expected!r}"
            raise row.bad("context_of_another", message, "cluster")
        return Question(
            question_id=question_id,
            context_id=context_id,
            query=values["query"],
            correct_answer=values["answer"],
            incorrect_answers=values.get("incorrect_answers", ()),
            cluster=cluster,
            evidence=values.get("evidence", ()),
            tags=values.get("tags", {}),
            columns=values.get("columns", {}),
        )

    def wrong_context(self, item: QuestionRow, context_id: str) -> RecordError:
        if "context_id" in item.values:
            message = f"{context_id!r} is in no usable line of contexts.jsonl"
            return item.row.bad("context_absent", message, "context_id")
        message = f"{context_id!r} is the id of a context too, but a question without context_id needs its own"
        return item.row.bad("question_id", message, "question_id")


def with_all_columns(questions: Sequence[Question]) -> tuple[Question, ...]:
    """Every question with the columns of all, None where it has no value: reward functions get the same arguments
    whatever a batch holds."""
    names = dict.fromkeys(name for question in questions for name in question.columns)
    return tuple(
        replace(question, columns={name: question.columns.get(name) for name in names}) for question in questions
    )
