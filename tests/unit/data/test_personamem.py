from __future__ import annotations

import ast
import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rft.data import personamem
from rft.data.personamem import (
    COLUMNS,
    CellError,
    RecordError,
    iterate_rows,
    read_history,
    read_personas,
    read_questions,
    resolve_source,
)
from rft.records import Message
from tests.unit.data.builder import make_history, make_row, write_csv, write_dataset, write_history

REMEDY = "data.bad_rows=skip"
HISTORY_ID = make_row(1, 0)["chat_history_32k_link"]


# ------------------------------------------------------------------------------------------------------- real sample


def test_the_real_row_is_read_as_it_is(sample: Path) -> None:
    questions, skipped = read_questions(sample, "benchmark", "32k", "error")
    assert skipped == {}
    (question,) = questions
    assert (question.question_id, question.row, question.persona_id) == ("benchmark/0", 0, 521)
    assert question.query.startswith("What are some calming morning routines")
    assert question.correct_answer.startswith("Since you already practice yoga")
    assert len(question.incorrect_answers) == 3
    assert (question.pref_type, question.who, question.updated) == ("anti_stereotypical_pref", "self", False)
    assert question.preference == "Practices yoga and meditation daily"
    assert [message.role for message in question.evidence] == ["user", "assistant", "user", "assistant"]


def test_all_27_columns_of_the_real_row_are_understood(sample: Path) -> None:
    header, cells = iterate_rows(personamem.csv_path(sample, "benchmark"))
    row = {name: COLUMNS[name](cell) for name, cell in zip(header, cells, strict=True)}
    assert len(row) == 27
    assert row["short_persona"]["persona"].startswith("A liberal Democrat")
    assert row["expanded_persona"]["age"] == 38
    assert row["prev_pref"] is None
    assert row["sensitive_info"] is False
    assert row["num_persona_irrelevant_tokens_32k"] == 0


def test_real_excerpts_warn_about_recorded_totals(sample: Path) -> None:
    with pytest.warns(UserWarning, match="total_messages is 189, but there are 8"):
        linked = read_history(sample, "data/chat_history_32k/chat_history_250913_163134_persona521.json", 521)
    assert linked.messages[0].role == "system"
    with pytest.warns(UserWarning, match="total_messages"):
        other = read_history(sample, "data/chat_history_32k/chat_history_250831_232015_persona0.json", 0)
    roles = [message.role for message in other.messages]
    assert ("user", "user") in pairwise(roles)


# ------------------------------------------------------------------------------------------------------------- rows


def read(root: Path, bad_rows: Any = "error") -> Any:
    return read_questions(root, "train", "32k", bad_rows)


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, str]]:
    """Four good rows of two personas, whose histories exist."""
    write_dataset(tmp_path, {"train": (1, 2)}, questions_per_persona=2)
    return [make_row(persona, number) for number in range(2) for persona in (1, 2)]


def test_good_rows_in_file_order(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    questions, skipped = read(tmp_path)
    assert [question.question_id for question in questions] == [f"train/{i}" for i in range(4)]
    assert [question.persona_id for question in questions] == [1, 2, 1, 2]
    assert skipped == {}


BAD_CELLS = {
    "incorrect_answers": [json.dumps(["x", "y"]), "", "[1, 2, 3]", '["a", "b"', '{"a": 1}', '["a", "b", "\\ud83d"]'],
    "user_query": ["", "{'role': 'user'", "{'role': 'user'}", "{'role': 'user', 'content': ''}", "__import__('os')"],
    "persona_id": ["", "x", "nan", "inf", "1.5"],
    "updated": ["", "maybe"],
    "sensitive_info": ["2"],
    "correct_answer": ["", "   "],
    "related_conversation_snippet": ["[", "[1]", '[{"role": "tool", "content": "x"}]', '[{"role": "user"}]'],
    "distance_from_related_snippet_to_query_32k": ["", "far"],
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
    assert [question.row for question in questions] == [0, 1, 3]
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


def test_an_absent_history_is_refused(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    (tmp_path / HISTORY_ID).unlink()
    with pytest.raises(RecordError, match=f"row 0 .*links {HISTORY_ID}, which does not exist"):
        read(tmp_path)
    questions, skipped = read(tmp_path, "skip")
    assert {question.persona_id for question in questions} == {2}
    assert skipped == {"history_absent": 2}


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
        path = personamem.csv_path(root, "train")
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
    assert read_personas(tmp_path, "train") == {1, 77, 2}


# --------------------------------------------------------------------------------------------------------- histories


def test_a_good_history_does_not_warn(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    write_history(tmp_path, 1, make_history(1))
    history = read_history(tmp_path, HISTORY_ID, 1)
    assert (history.history_id, history.persona_id, len(history.messages)) == (HISTORY_ID, 1, 12)
    assert not recwarn.list


def test_roles_that_do_not_alternate_are_kept(tmp_path: Path) -> None:
    stored = make_history(1)
    write_history(tmp_path, 1, stored)
    roles = [message.role for message in read_history(tmp_path, HISTORY_ID, 1).messages]
    assert roles == [message["role"] for message in stored["chat_history"]]
    assert ("user", "user") in pairwise(roles)


def test_messages_without_text_are_left_out_with_a_warning(tmp_path: Path) -> None:
    stored = make_history(1)
    stored["chat_history"][3]["content"] = None
    stored["chat_history"][4]["content"] = ""
    write_history(tmp_path, 1, stored)
    with pytest.warns(UserWarning, match="2 messages without text are left out"):
        history = read_history(tmp_path, HISTORY_ID, 1)
    assert len(history.messages) == 10


GOOD = json.dumps(make_history(1)).encode()

BROKEN_HISTORIES = {
    "history_empty": [b"", b" \n", json.dumps(make_history(1) | {"chat_history": []}).encode()],
    "history_json": [GOOD[: len(GOOD) // 2], b"[" * 100_000, b'{"metadata": NaN'],
    "history_encoding": [GOOD.replace(b"Ada", b"\xc4da"), GOOD.decode().encode("utf-16"), b"\xff\xfe\x00"],
    "history_format": [
        b"[]",
        b'"x"',
        b'{"chat_history": []}',
        b'{"metadata": {"persona_id": 1}}',
        b'{"metadata": {}, "chat_history": [{"role": "user", "content": "x"}]}',
        b'{"metadata": {"persona_id": 1}, "chat_history": {"role": "user"}}',
        b'{"metadata": {"persona_id": 1}, "chat_history": [{"role": "tool", "content": "x"}]}',
        b'{"metadata": {"persona_id": 1}, "chat_history": [{"role": "user", "content": [{"text": "x"}]}]}',
        b'{"metadata": {"persona_id": 1}, "chat_history": [{"role": "user", "content": "\\ud83d"}]}',
    ],
    "history_persona": [json.dumps(make_history(2)).encode()],
}


@pytest.mark.parametrize(
    ("reason", "content"), [(reason, content) for reason, contents in BROKEN_HISTORIES.items() for content in contents]
)
def test_a_broken_history_is_refused(tmp_path: Path, reason: str, content: bytes) -> None:
    path = write_history(tmp_path, 1, make_history(1))
    path.write_bytes(content)
    with pytest.raises(RecordError) as caught:
        read_history(tmp_path, HISTORY_ID, 1)
    assert caught.value.reason == reason
    assert_one_line(caught.value, str(path), REMEDY)


def test_an_absent_history_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="does not exist"):
        read_history(tmp_path, HISTORY_ID, 1)


# ------------------------------------------------------------------------------------------------------------ source


def test_a_folder_is_its_own_source(tmp_path: Path) -> None:
    assert resolve_source(str(tmp_path), None, "32k") == tmp_path


@pytest.mark.parametrize("source", ["/no/such/folder", "./data", "a/b/c", "folder"])
def test_a_path_that_is_no_folder(source: str) -> None:
    with pytest.raises(ValueError, match="is not a folder"):
        resolve_source(source, "0" * 40, "32k")


@pytest.mark.parametrize("revision", [None, "main", "0622e56"])
def test_a_hub_id_needs_a_commit(revision: str | None) -> None:
    with pytest.raises(ValueError, match=r"needs data\.revision"):
        resolve_source("bowen-upenn/PersonaMem-v2", revision, "32k")


def test_a_failed_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="cannot be downloaded") as caught:
        resolve_source("bowen-upenn/PersonaMem-v2", "0622e56d1cc6f1bc990a5100a6ec4022a60e66a6", "32k")
    assert_one_line(caught.value, "bowen-upenn/PersonaMem-v2", "data.source")


def test_only_the_needed_files_are_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def snapshot(repo_id: str, **options: Any) -> str:
        asked.update(options, repo_id=repo_id)
        return str(tmp_path)

    monkeypatch.setattr(personamem, "snapshot_download", snapshot)
    assert resolve_source("owner/name", "a" * 40, "128k") == tmp_path
    assert asked["revision"] == "a" * 40
    assert asked["allow_patterns"] == ["benchmark/text/*.csv", "data/chat_history_128k/*.json"]


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
@given(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip))
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
