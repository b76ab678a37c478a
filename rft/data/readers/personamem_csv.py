"""The rows of PersonaMem-v2 (arXiv 2512.06688) as questions.

    benchmark/text/{train,val,benchmark}.csv            27 columns, one question a row
    data/{train,val,benchmark}_text-*.parquet           the same, as the hub converts it; read where there is no CSV

The release is not spotless (revision 0622e56d, as others report it). Refused as bad rows: one without incorrect
answers, one that repeats the correct answer among them. Left out: null entries among the incorrect answers. Of more
than three incorrect answers the first three count, as in the paper's code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from rft.data.readers.cells import (
    CellError,
    encodable,
    parse_bool,
    parse_count,
    parse_json,
    parse_messages,
    parse_optional,
    parse_python,
    parse_text,
)
from rft.data.readers.csv_rows import CsvRow, read_csv
from rft.data.readers.data_files import SourceFolder
from rft.data.readers.parquet_rows import find_shards, read_parquet
from rft.data.readers.rows import read_rows
from rft.data.readers.tags import distance_bucket, yes_or_no
from rft.plain_text import has_text
from rft.records import Question

CsvName = Literal["train", "val", "benchmark"]
Window = Literal["32k", "128k"]

NUM_INCORRECT = 3

PARQUET_PLACES = (
    "benchmark/text/{name}.parquet",
    "benchmark/text/{name}-*.parquet",
    "data/{name}_text-*.parquet",
    "data/{name}-*.parquet",
    "*/{name}_text/*.parquet",
    "*/{name}/*.parquet",
    "{name}_text*.parquet",
    "{name}.parquet",
)
"""Where a table is looked for that is no CSV file: beside the CSV files, as `datasets` writes it, as the hub converts
it (`default/train_text/0000.parquet`)."""


# ------------------------------------------------------------------------------------------------------------ cells


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
    answers = [encodable(answer) for answer in answers if answer and has_text(answer)]
    if len(answers) < NUM_INCORRECT:
        raise CellError(f"holds {len(answers)} answers, so there are {len(answers) + 1} options instead of 4")
    return tuple(answers[:NUM_INCORRECT])


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


# ------------------------------------------------------------------------------------------------------------- rows


def csv_path(root: Path, csv_name: str) -> Path:
    return root / "benchmark" / "text" / f"{csv_name}.csv"


def table_files(root: Path, csv_name: str) -> list[Path]:
    """The files that hold the rows released under one name; empty where there is none.

    Raises:
        ValueError: only a part of them is there.
    """
    path = csv_path(root, csv_name)
    return [path] if path.exists() else find_shards(root, [place.format(name=csv_name) for place in PARQUET_PLACES])


def rows_of(folder: SourceFolder, csv_name: CsvName, columns: Sequence[str] = tuple(COLUMNS)) -> Iterator[CsvRow]:
    """The rows that are released under one name, whatever kind of file holds them."""
    files = table_files(folder.path, csv_name)
    if files and files[0].suffix == ".parquet":
        return read_parquet(files, columns, "PersonaMem-v2", folder=folder)
    return read_csv(csv_path(folder.path, csv_name), columns, "PersonaMem-v2", folder=folder)


def read_questions(
    folder: SourceFolder, csv_name: CsvName, window: Window, bad_rows: Literal["error", "skip"]
) -> tuple[list[Question], dict[str, int]]:
    """The questions of one table in file order, and how many rows were skipped, by reason. Histories are not looked at.

    A row is a duplicate when it repeats an earlier row's history, query and four answers, or its `ID_COLUMNS` value.

    Raises:
        ValueError: the table is absent, no whole CSV or Parquet or lacks a column, whatever `bad_rows` says.
        RecordError: a row that cannot be used, with `bad_rows="error"`.
    """
    questions, skipped = read_rows(rows_of(folder, csv_name), RowReader(csv_name, window).read, bad_rows)
    if not questions:
        path = table_files(folder.path, csv_name)[0]
        raise ValueError(f"{path} holds no usable row ({sum(skipped.values())} skipped); check that the file is whole")
    return questions, skipped


def read_personas(folder: SourceFolder, csv_name: CsvName) -> set[str]:
    """The personas of one table, those of rows that are otherwise unusable included; no other column is needed."""
    personas = set()
    for row in rows_of(folder, csv_name, ["persona_id"]):
        with suppress(CellError, IndexError):
            personas.add(str(parse_count(row.cells[row.column_at["persona_id"]])))
    return personas


class RowReader:
    """Turns the rows of one table into questions, remembering what it has seen so that repeats are found."""

    def __init__(self, csv_name: CsvName, window: Window) -> None:
        self.csv_name = csv_name
        self.window = window
        self.seen: dict[tuple[object, ...], int] = {}

    def read(self, row: CsvRow) -> Question:
        """Raises RecordError when the row cannot be used."""

        def cell(column: str) -> Any:
            return row.parse(column, COLUMNS[column])

        distance = cell(f"distance_from_related_snippet_to_query_{self.window}")
        question = Question(
            question_id=f"{self.csv_name}/{row.number}",
            context_id=cell(f"chat_history_{self.window}_link"),
            cluster=str(cell("persona_id")),
            query=cell("user_query"),
            correct_answer=cell("correct_answer"),
            incorrect_answers=cell("incorrect_answers"),
            evidence=cell("related_conversation_snippet"),
            tags={
                "pref_type": cell("pref_type"),
                "who": cell("who"),
                "updated": yes_or_no(cell("updated")),
                "sensitive": yes_or_no(cell("sensitive_info")),
                "scenario": cell("conversation_scenario"),
                "topic": cell("topic_query"),
                "distance_tokens": distance_bucket(distance),
            },
            columns={
                "preference": cell("preference"),
                "distance_tokens": distance,
                # The right answer is then that nothing is remembered.
                "forgotten": cell("pref_type") == "ask_to_forget",
            },
        )
        self.check_options(row, question)
        self.check_history(row, question)
        self.check_repeats(row, question)
        return question

    def check_options(self, row: CsvRow, question: Question) -> None:
        answers = (question.correct_answer, *question.incorrect_answers)
        if len({answer.strip() for answer in answers}) < len(answers):
            raise row.bad("repeated_option", "incorrect_answers", "repeats one of the four answers")

    def check_history(self, row: CsvRow, question: Question) -> None:
        history, column = question.context_id, f"chat_history_{self.window}_link"
        folder = f"data/chat_history_{self.window}"
        if PurePosixPath(history).parent != PurePosixPath(folder):
            raise row.bad("history_link", column, f"links {history!r}, no file of {folder}")

    def check_repeats(self, row: CsvRow, question: Question) -> None:
        content = (question.context_id, question.query, question.correct_answer, question.incorrect_answers)
        keys: dict[str, tuple[object, ...]] = {"user_query": ("content", *content)}
        keys |= {name: (name, row.cells[row.column_at[name]]) for name in ID_COLUMNS if name in row.column_at}
        for column, key in keys.items():
            first = self.seen.setdefault(key, row.number)
            if first != row.number:
                raise row.bad("duplicate", column, f"repeats row {first}")
