"""Cells of one PersonaMem-v2 row against each other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from functools import lru_cache

from rft.auditing.dropped import keys_twice, lost_from_message, lost_from_query
from rft.auditing.findings import Case
from rft.data.dataset import RecordError
from rft.data.readers.cells import CellError, parse_count, parse_json, parse_python
from rft.data.readers.csv_rows import CsvRow
from rft.data.readers.personamem_csv import COLUMNS, NUM_INCORRECT
from rft.plain_text import has_text
from rft.records import Question

WHO = ("self", "others")

PREF_TYPES = (
    "ask_to_forget", "neutral_preferences", "neutral_preference", "anti_stereotypical_pref", "stereotypical_pref",
    "therapy_background", "health_and_medical_conditions", "sensitive_info", "multimodal",
)  # fmt: skip
"""The release has seven of them; its description spells neutral_preferences without its last letter, and its rows with
images are `multimodal`."""

ROW_NUMBERS = re.compile(r"(?:Unnamed: ?\d+|__index_level_\d+__|index|)")
"""What pandas calls the column of its row numbers."""

UNREAD = frozenset(
    ("short_persona", "expanded_persona", "distance_from_related_snippet_to_query_32k",
     "distance_from_related_snippet_to_query_128k", "total_tokens_in_chat_history_128k",
     "num_persona_relevant_tokens_128k", "num_persona_irrelevant_tokens_128k")
)  # fmt: skip
"""Columns of which a question of one window carries nothing."""

NOTHING = ("", "none", "null", "nan")
FORGET = "do not remember"


def check_columns(row: CsvRow, question: Question, window: str) -> Iterator[Case]:
    """Values that a column does not have, columns of which one must be wrong, wrong answers that are not shown."""

    def case(check: str, detail: str) -> Case:
        return Case(check=check, question=question.question_id, detail=detail)

    tags = question.tags
    for column, known in (("who", WHO), ("pref_type", PREF_TYPES)):
        if tags[column] not in known:
            yield case("unknown_value", f"{column} is {tags[column]!r}, none of {', '.join(known)}")
    for column in token_columns(window):
        if tokens_of(row, column) is None and row.cells[row.column_at[column]].strip():
            yield case("unknown_value", f"{column} is {row.cells[row.column_at[column]][:40]!r}, no number of tokens")
    if hidden := len(row.parse("incorrect_answers", parse_json)) - len(question.incorrect_answers):
        yield case("hidden_options", f"{hidden} of the wrong answers are empty, or behind the first {NUM_INCORRECT}")
    for column in sorted(row.column_at.keys() & UNREAD - {*token_columns(window)}):
        if problem := problem_of(column, row.cells[row.column_at[column]]):
            yield case("unreadable_cell", f"{column} {problem}")
    for problem in lost_from_cells(row):
        yield case("dropped_text", problem)
    for problem in impossible_cells(row, question, window):
        yield case("contradicting_columns", problem)
    for problem in contradictions(tags, row.parse("preference", str), row.parse("prev_pref", str)):
        yield case("contradicting_columns", problem)


@lru_cache(maxsize=1024)
def problem_of(column: str, text: str) -> str | None:
    """What is wrong with a cell; many rows have the same persona."""
    try:
        if text.strip():
            COLUMNS[column](text)
    except CellError as error:
        return str(error)
    return None


def lost_from_cells(row: CsvRow) -> Iterator[str]:
    """Texts of a query and of evidence that the reader leaves out."""
    yield from lost_from_query(row.parse("user_query", parse_python))
    for message in row.parse("related_conversation_snippet", parse_json):
        yield from (f"related_conversation_snippet, {found}" for found in lost_from_message(message))
    for column in ("related_conversation_snippet", "incorrect_answers"):
        yield from (f"{column}, {found}" for found in keys_twice(row.parse(column, str)))


def unknown_columns(row: CsvRow, known: Set[str]) -> list[str]:
    """Columns of a row that hold something, besides those of the release, ids and the numbers of rows."""
    return [
        column
        for column, at in row.column_at.items()
        if column not in known and not ROW_NUMBERS.fullmatch(column) and has_text(row.cells[at])
    ]


def token_columns(window: str) -> tuple[str, ...]:
    """Columns that count tokens of a history; the first one counts all of them."""
    return (
        f"total_tokens_in_chat_history_{window}",
        f"num_persona_relevant_tokens_{window}",
        f"num_persona_irrelevant_tokens_{window}",
    )


def total_tokens(row: CsvRow, window: str) -> int | None:
    """Tokens that the row says its history has; None where it says nothing that can be one."""
    return tokens_of(row, token_columns(window)[0])


def tokens_of(row: CsvRow, column: str) -> int | None:
    try:
        found: int = row.parse(column, parse_count)
    except RecordError:
        return None
    return found if found >= 0 else None


def impossible_cells(row: CsvRow, question: Question, window: str) -> Iterator[str]:
    """A query that is not the user's, evidence or a part outside of its history."""
    role = row.parse("user_query", parse_python).get("role")
    if role != "user":
        yield f"user_query has the role {role!r}"
    distance, total = question.columns["distance_tokens"], total_tokens(row, window)
    if distance < 0 or (total and total < distance):
        yield f"the evidence is {distance} tokens before the query, in a history of {total}"
    for column in token_columns(window)[1:]:
        part = tokens_of(row, column)
        if total and part and part > total:
            yield f"{column} is {part}, in a history of {total}"


def contradictions(tags: Mapping[str, str], preference: str, previous: str) -> Iterator[str]:
    """Pairs of columns that cannot both be right, each in one phrase."""
    updated, has_previous = tags["updated"] == "true", previous.strip().lower() not in NOTHING
    forget = tags["pref_type"] == "ask_to_forget"
    if updated and not has_previous:
        yield "updated is True, but prev_pref is empty"
    if has_previous and not updated:
        yield f"prev_pref is {previous[:60]!r}, but updated is False"
    if has_previous and previous.strip() == preference.strip():
        yield "prev_pref is the preference itself"
    if (tags["pref_type"] == "sensitive_info") != (tags["sensitive"] == "true"):
        yield f"pref_type is {tags['pref_type']}, but sensitive_info is {tags['sensitive']}"
    if tags["who"] == "others" and updated:
        yield "who is others, but updated is True: only the user's own preferences change"
    if tags["who"] == "others" and forget:
        yield "who is others, but pref_type is ask_to_forget: only the user's own preferences are forgotten"
    if preference.strip().lower().startswith(FORGET) != forget:
        yield f"pref_type is {tags['pref_type']}, but the preference reads {preference[:40]!r}"
