"""Text that is stored where no reader takes it from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.auditing.builder import (
    Row,
    audit_of,
    cases_of,
    change_history,
    change_row,
    evidence_of,
    link_of,
    over,
    query_of,
    read_table,
    write_table,
)

MESSAGE = {"role": "user", "content": "Hi."}


@pytest.mark.parametrize(
    "extra",
    [
        {"topic": "I am allergic to peanuts, mind that."},
        {"metadata": {"note": {"more": ["I moved to Oslo last year."]}}},
        {"more": {"name": "Also, I have two cats and a dog."}},
    ],
)
def test_text_under_a_key_that_describes_a_message(data: Path, extra: dict[str, Any]) -> None:
    change_history(data, link_of(data), lambda items: items[2].update(extra))
    report = audit_of(data)
    assert [(case.file, case.message) for case in cases_of(report, "dropped_text")] == [(link_of(data), 2)]
    assert "dropped_text" in over(report)


def test_what_describes_a_message_is_no_text(data: Path) -> None:
    said = {"topic": "travel and food", "timestamp": "Mon, 5 May 2025 at 10:00 AM", "name": "Ada", "tokens": 12}
    change_history(data, link_of(data), lambda items: [item.update(said) for item in items])
    assert audit_of(data).findings == ()


def change_file(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = root / link_of(root)
    payload = json.loads(path.read_text())
    change(payload)
    path.write_text(json.dumps(payload))


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (lambda payload: payload.update(second=[MESSAGE]), "'second' holds 1 messages"),
        (lambda payload: payload.update(summary="The user likes opera."), "'summary' holds 'The user likes opera.'"),
        (lambda payload: payload["metadata"].update(old={"chat": [MESSAGE]}), "metadata.old holds 1 messages"),
    ],
)  # fmt: skip
def test_text_beside_the_messages(data: Path, change: Callable[[dict[str, Any]], object], detail: str) -> None:
    change_file(data, change)
    (case,) = cases_of(audit_of(data), "dropped_text")
    assert case.file == link_of(data) and case.detail.startswith(detail)


def test_short_values_beside_the_messages_are_none(data: Path) -> None:
    change_file(data, lambda payload: payload.update(version=2, source="made by hand", tags=["a", "b"]))
    assert audit_of(data).findings == ()


def test_a_key_that_is_there_twice(data: Path) -> None:
    path = data / link_of(data)
    path.write_text(path.read_text().replace('"content"', '"content": "I like jazz.", "content"', 1))
    (case,) = cases_of(audit_of(data), "dropped_text")
    assert (case.file, case.detail) == (link_of(data), "'content' is there twice in one object")


def test_text_beside_a_query_and_beside_evidence(data: Path) -> None:
    def evidence(row: Row) -> None:
        first, *others = evidence_of(row)
        row["related_conversation_snippet"] = json.dumps([first | {"topic": "He says he prefers tea."}, *others])

    query = {"role": "user", "context": "My dog is called Rex."}
    change_row(data, 3, lambda row: row.update(user_query=repr(query | {"content": query_of(row)})))
    change_row(data, 5, evidence)
    assert {case.question for case in cases_of(audit_of(data), "dropped_text")} == {"train/3", "train/5"}


def test_a_column_of_another_name(data: Path) -> None:
    rows = [
        row | {"Unnamed: 0": str(number), "id": f"r{number}", "note": ""} for number, row in enumerate(read_table(data))
    ]
    rows[9]["note"] = "look here"
    write_table(data, rows)
    (case,) = cases_of(audit_of(data), "unknown_column")
    assert (case.question, case.detail) == ("train/9", "'note', which holds 'look here' here")


def test_messages_of_a_jsonl_folder_as_they_are_stored(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "I own a red kite."},
        {"role": "assistant", "content": "Nice.", "more": "Very."},
    ]
    (tmp_path / "contexts.jsonl").write_text(json.dumps({"context_id": "c", "messages": messages}) + "\n")
    question = {"context_id": "c", "query": "Which toy?", "answer": "a kite", "incorrect_answers": ["a ball"]}
    (tmp_path / "questions.jsonl").write_text(json.dumps(question) + "\n")
    assert [(case.file, case.message) for case in cases_of(audit_of(tmp_path), "stray_keys")] == [("c", 1)]
