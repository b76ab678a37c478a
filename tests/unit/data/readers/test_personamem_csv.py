"""The rows of PersonaMem-v2: good ones become questions, bad ones are named with file, row, column and remedy."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rft.data.dataset import RecordError
from rft.data.readers.cells import CellError
from rft.data.readers.data_files import SourceFolder
from rft.data.readers.personamem_csv import COLUMNS, csv_path, read_personas, read_questions, rows_of
from rft.plain_text import has_text
from rft.records import Message
from tests.unit.data.builder import make_row, write_csv, write_dataset

REMEDY = "data.bad_rows=skip"
HISTORY_ID = make_row(1, 0)["chat_history_32k_link"]


# ------------------------------------------------------------------------------------------------------- real sample


def test_the_real_row_is_read_as_it_is(sample: Path) -> None:
    questions, skipped = read_questions(SourceFolder(sample), "benchmark", "32k", "error")
    assert skipped == {}
    (question,) = questions
    assert (question.question_id, question.cluster) == ("benchmark/0", "521")
    assert question.query.startswith("What are some calming morning routines")
    assert question.correct_answer.startswith("Since you already practice yoga")
    assert len(question.incorrect_answers) == 3
    assert (question.tags["pref_type"], question.tags["who"]) == ("anti_stereotypical_pref", "self")
    assert question.tags["updated"] == "false"
    assert question.columns["preference"] == "Practices yoga and meditation daily"
    assert [message.role for message in question.evidence] == ["user", "assistant", "user", "assistant"]


def test_all_27_columns_of_the_real_row_are_understood(sample: Path) -> None:
    (stored,) = rows_of(SourceFolder(sample), "benchmark")
    row = {name: stored.parse(name, parser) for name, parser in COLUMNS.items()}
    assert len(row) == len(stored.cells) == 27
    assert row["short_persona"]["persona"].startswith("A liberal Democrat")
    assert row["expanded_persona"]["age"] == 38
    assert row["prev_pref"] is None
    assert row["sensitive_info"] is False
    assert row["num_persona_irrelevant_tokens_32k"] == 0


# ------------------------------------------------------------------------------------------------------------- rows


def read(root: Path, bad_rows: Any = "error") -> Any:
    return read_questions(SourceFolder(root), "train", "32k", bad_rows)


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, str]]:
    """Four good rows of two personas, whose histories exist."""
    write_dataset(tmp_path, {"train": (1, 2)}, questions_per_persona=2)
    return [make_row(persona, number) for number in range(2) for persona in (1, 2)]


def test_good_rows_in_file_order(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    questions, skipped = read(tmp_path)
    assert [question.question_id for question in questions] == [f"train/{i}" for i in range(4)]
    assert [question.cluster for question in questions] == ["1", "2", "1", "2"]
    assert skipped == {}


def test_what_a_row_says_besides_becomes_tags_and_columns(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    rows[0] |= {"updated": "True", "distance_from_related_snippet_to_query_32k": "12000.0", "topic_query": ""}
    write_csv(tmp_path, "train", rows)
    question = read(tmp_path)[0][0]
    assert question.context_id == HISTORY_ID
    assert question.tags == {
        "pref_type": "neutral_preferences",
        "who": "self",
        "updated": "true",
        "sensitive": "false",
        "scenario": "translation",
        "topic": "",
        "distance_tokens": "8k-16k",
    }
    assert question.columns == {"preference": "Likes jazz", "distance_tokens": 12_000, "forgotten": False}


def test_the_window_chooses_the_history_and_the_distance(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    for row in rows:
        path = tmp_path / row["chat_history_128k_link"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}", encoding="utf-8")
        row["distance_from_related_snippet_to_query_32k"] = "unreadable"
    write_csv(tmp_path, "train", rows)
    question = read_questions(SourceFolder(tmp_path), "train", "128k", "error")[0][0]
    assert question.context_id == rows[0]["chat_history_128k_link"]
    assert question.columns["distance_tokens"] == 64_170


BAD_CELLS = {
    "incorrect_answers": [
        json.dumps(["x", "y"]),
        "",
        "[1, 2, 3]",
        '["a", "b"',
        '{"a": 1}',
        '["a", "b", "\\ud83d"]',
        "[" * 200_000,
        "[" * 200_000 + "]" * 200_000,
    ],
    "user_query": [
        "",
        "{'role': 'user'",
        "{'role': 'user'}",
        "{'role': 'user', 'content': ''}",
        "__import__('os')",
        "[" * 200_000,
        "-" * 200_000 + "1",
    ],
    "persona_id": ["", "x", "nan", "inf", "1.5", "1e23", "-1e300"],
    "updated": ["", "maybe"],
    "sensitive_info": ["2"],
    "correct_answer": ["", "   "],
    "related_conversation_snippet": ["[", "[1]", '[{"role": "tool", "content": "x"}]', '[{"role": "user"}]'],
    "distance_from_related_snippet_to_query_32k": ["", "far", "1e23", "9" * 400, "1e999", "NaN"],
    "chat_history_32k_link": [""],
    "pref_type": [""],
}


@pytest.mark.parametrize(("column", "cell"), [(column, cell) for column, cells in BAD_CELLS.items() for cell in cells])
def test_a_bad_cell_is_refused_with_file_row_and_column(
    tmp_path: Path, rows: list[dict[str, str]], column: str, cell: str
) -> None:
    rows[2][column] = cell
    path = write_csv(tmp_path, "train", rows)
    with pytest.raises(RecordError) as caught:
        read(tmp_path)
    assert_one_line(caught.value, str(path), "row 2", column, REMEDY)
    questions, skipped = read(tmp_path, "skip")
    assert [question.question_id for question in questions] == ["train/0", "train/1", "train/3"]
    assert skipped == {column: 1}


def test_three_options_are_refused(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    rows[1]["incorrect_answers"] = json.dumps(["x", "y"])
    write_csv(tmp_path, "train", rows)
    with pytest.raises(ValueError, match=r"row 1 .*incorrect_answers: .*3 options instead of 4"):
        read(tmp_path)


def test_null_answers_do_not_count_and_a_fourth_is_left_out(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    rows[0]["incorrect_answers"] = json.dumps(["x", None, "y", " ", "z", "extra"])
    write_csv(tmp_path, "train", rows)
    assert read(tmp_path)[0][0].incorrect_answers == ("x", "y", "z")


def test_a_repeated_option_is_refused(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    rows[3]["incorrect_answers"] = json.dumps(["x", "y", rows[3]["correct_answer"]])
    write_csv(tmp_path, "train", rows)
    with pytest.raises(RecordError, match=r"row 3 .*repeats one of the four answers"):
        read(tmp_path)
    assert read(tmp_path, "skip")[1] == {"repeated_option": 1}


def test_a_duplicated_row_is_refused(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    write_csv(tmp_path, "train", [*rows, rows[1]])
    with pytest.raises(RecordError, match=r"row 4 .*repeats row 1"):
        read(tmp_path)
    questions, skipped = read(tmp_path, "skip")
    assert (len(questions), skipped) == (4, {"duplicate": 1})


def test_a_duplicated_id_is_refused(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    ids = ["q0", "q1", "q0", "q3"]
    write_csv(tmp_path, "train", [{"question_id": id_, **row} for id_, row in zip(ids, rows, strict=True)])
    with pytest.raises(RecordError, match=r"row 2 .*question_id: repeats row 0"):
        read(tmp_path)


def test_the_same_query_with_other_answers_is_no_duplicate(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    other = rows[0] | {"correct_answer": "Something else.", "updated": "True"}
    write_csv(tmp_path, "train", [*rows, other])
    assert len(read(tmp_path)[0]) == 5


@pytest.mark.parametrize("link", ["../secret.json", "/etc/passwd", "data/chat_history_128k/x.json", "x.json"])
def test_a_link_outside_the_window_s_folder_is_refused(tmp_path: Path, rows: list[dict[str, str]], link: str) -> None:
    rows[0]["chat_history_32k_link"] = link
    write_csv(tmp_path, "train", rows)
    with pytest.raises(RecordError, match=r"row 0 .*chat_history_32k_link: links"):
        read(tmp_path)


def test_rows_are_read_without_their_histories(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    before = read(tmp_path)
    (tmp_path / HISTORY_ID).unlink()
    assert read(tmp_path) == before


def test_a_row_with_too_few_cells_is_refused(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    path = write_csv(tmp_path, "train", rows)
    path.write_text(path.read_text(encoding="utf-8") + "1,2,3\n", encoding="utf-8")
    with pytest.raises(RecordError, match=r"row 4 .*has 3 cells instead of 27"):
        read(tmp_path)


def test_blank_lines_a_byte_order_mark_and_extra_columns_are_fine(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    path = write_csv(tmp_path, "train", [row | {"remark": "x"} for row in rows])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\r\n\r\n")
    assert len(read(tmp_path)[0]) == 4


# ------------------------------------------------------------------------------------------------------ broken files


@pytest.mark.parametrize("policy", ["error", "skip"])
@pytest.mark.parametrize("column", list(COLUMNS))
def test_a_missing_column_is_named(tmp_path: Path, rows: list[dict[str, str]], column: str, policy: str) -> None:
    for row in rows:
        del row[column]
    path = write_csv(tmp_path, "train", rows)
    with pytest.raises(ValueError, match=f"lacks the column {column};") as caught:
        read(tmp_path, policy)
    assert_one_line(caught.value, str(path))


def damage_csv(change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def damage(root: Path) -> Path:
        path = csv_path(root, "train")
        path.write_bytes(change(path.read_bytes()))
        return path

    return damage


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda _: b"", "lacks the columns persona_id"),
        (lambda data: data.split(b"\n")[0], "holds no usable row"),
        (lambda data: data.replace(b"jazz", b"j\xe4zz"), "not UTF-8"),
        (lambda data: data.decode().encode("utf-16"), "not UTF-8"),
        (lambda data: data[: data.rindex(b'"')], "not whole CSV"),
    ],
)
def test_a_broken_csv_is_refused_whatever_the_policy(
    tmp_path: Path, rows: list[dict[str, str]], change: Callable[[bytes], bytes], expected: str
) -> None:
    path = damage_csv(change)(tmp_path)
    for policy in ("error", "skip"):
        with pytest.raises(ValueError, match=expected) as caught:
            read(tmp_path, policy)
        assert_one_line(caught.value, str(path))


def test_an_absent_csv_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.csv does not exist"):
        read(tmp_path)


def test_personas_of_unusable_rows_count(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    rows[0]["correct_answer"] = ""
    rows[1] |= {"persona_id": "77"}
    rows[2] |= {"persona_id": "?"}
    write_csv(tmp_path, "train", rows)
    assert read_personas(SourceFolder(tmp_path), "train") == {"1", "77", "2"}


def test_the_personas_need_no_other_column(tmp_path: Path) -> None:
    write_csv(tmp_path, "benchmark", [{"persona_id": "4.0"}, {"persona_id": "5"}])
    assert read_personas(SourceFolder(tmp_path), "benchmark") == {"4", "5"}


# ----------------------------------------------------------------------------------------------------- any cell text


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(COLUMNS)), st.text() | st.from_regex(r"[\[{\"'(]{1,8}[\w\"':,\]})]*"))
def test_a_cell_parser_returns_or_says_what_is_wrong(column: str, cell: str) -> None:
    problem = ""
    try:
        COLUMNS[column](cell)
    except CellError as error:
        problem = str(error)
    assert "\n" not in problem


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1).filter(has_text))
def test_any_query_survives_the_round_trip(query: str) -> None:
    cell = str({"role": "user", "content": query})
    assert ast.literal_eval(cell)["content"] == query
    assert COLUMNS["user_query"](cell) == query.strip()


def test_evidence_is_parsed(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    assert read(tmp_path)[0][0].evidence == (Message(role="user", content="I hum jazz."),)


def test_2000_rows_take_less_than_two_seconds(tmp_path: Path) -> None:
    write_dataset(tmp_path, {"train": range(20)}, questions_per_persona=1)
    write_csv(tmp_path, "train", [make_row(i % 20, i) for i in range(2000)])
    start = time.process_time()
    assert len(read(tmp_path)[0]) == 2000
    assert time.process_time() - start < 2.0


def assert_one_line(error: BaseException, *parts: str) -> None:
    message = str(error)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
