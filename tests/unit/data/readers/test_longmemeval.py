"""LongMemEval: sessions become one dated context, and a question has no options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rft.config import DataConfig
from rft.data.dataset import RecordError
from rft.data.readers.longmemeval import LongMemEval
from rft.records import Message

ITEM: dict[str, Any] = {
    "question_id": "e47b",
    "question_type": "knowledge-update",
    "question": "What do I hum?",
    "answer": 7,
    "question_date": "2023/05/30 (Tue) 23:40",
    "haystack_dates": ["2023/05/20 (Sat) 02:21", "2023/05/21 (Sun) 10:00"],
    "haystack_session_ids": ["s1", "s2"],
    "answer_session_ids": ["s2"],
    "haystack_sessions": [
        [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}],
        [
            {"role": "user", "content": "I hum jazz.", "has_answer": True},
            {"role": "assistant", "content": "", "has_answer": False},
            {"role": "user", "content": "And blues.", "has_answer": True},
        ],
    ],
}


def write(folder: Path, items: Any, name: str = "longmemeval_s_cleaned.json", **data: Any) -> LongMemEval:
    (folder / name).write_text(json.dumps(items), encoding="utf-8")
    return LongMemEval(DataConfig(source=str(folder), format="longmemeval", **data))


def test_sessions_become_one_context(tmp_path: Path) -> None:
    dataset = write(tmp_path, [ITEM, ITEM | {"question_id": "e47b_abs", "question_type": "multi-session"}])
    first, second = dataset.split("benchmark").questions
    context = dataset.context(first.context_id)
    assert context.messages == (
        Message(role="user", content="[2023/05/20 (Sat) 02:21] Hi."),
        Message(role="assistant", content="Hello."),
        Message(role="user", content="[2023/05/21 (Sun) 10:00] I hum jazz."),
        Message(role="user", content="And blues."),
    )
    assert context.profile is None
    assert (first.correct_answer, first.incorrect_answers, dataset.option_order(first)) == ("7", (), ())
    assert "2023/05/30" in first.query
    assert first.tags == {"question_type": "knowledge-update", "abstention": "false"}
    assert second.tags == {"question_type": "multi-session", "abstention": "true"}
    assert [question.cluster for question in (first, second)] == ["e47b", "e47b_abs"]
    assert context.cluster == first.cluster


def test_evidence_is_the_context_s_own_messages(tmp_path: Path) -> None:
    dataset = write(tmp_path, [ITEM])
    (question,) = dataset.split("benchmark").questions
    assert question.evidence == dataset.context(question.context_id).messages[2:]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({}, "not a list"),
        ([ITEM, ITEM], "question 1 .* repeats question_id e47b of question 0"),
        ([{key: value for key, value in ITEM.items() if key != "answer"}], "question 0 .* lacks answer"),
        ([{key: value for key, value in ITEM.items() if key != "haystack_dates"}], "lacks haystack_dates"),
        ([ITEM | {"answer": None}], "answer is neither text nor a number"),
        ([ITEM | {"haystack_dates": []}], "other numbers"),
        ([ITEM | {"haystack_dates": [1, 2]}], "not text"),
        ([ITEM | {"haystack_sessions": [None, []]}], "not a list of messages"),
        ([ITEM | {"haystack_sessions": [[], []]}], "no message"),
        ([ITEM | {"haystack_sessions": [[], [{"role": "tool", "content": "x"}]]}], "role"),
        (["x"], "is no object"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, items: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        write(tmp_path, items).split("benchmark")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_questions_are_skipped_and_counted(tmp_path: Path) -> None:
    items = [ITEM, ITEM, ITEM | {"question_id": "b", "haystack_dates": []}]
    split = write(tmp_path, items, bad_rows="skip").split("benchmark")
    assert len(split.questions) == 1
    assert split.manifest == {"rows_skipped": {"duplicate": 1, "question_format": 1}}
    with pytest.raises(ValueError, match="no usable question"):
        write(tmp_path, items[2:], bad_rows="skip").split("benchmark")


def test_the_source_is_a_folder_or_a_file(tmp_path: Path) -> None:
    folder = write(tmp_path, [ITEM], "longmemeval_s")
    assert folder.name == "longmemeval_s"
    with pytest.raises(ValueError, match=r"data\.source"):
        write(tmp_path, [ITEM, ITEM | {"question_id": "b"}], "longmemeval_oracle.json")
    one = LongMemEval(DataConfig(source=str(tmp_path / "longmemeval_oracle.json")))
    assert one.name == "longmemeval_oracle"
    assert (len(folder.split("benchmark").questions), len(one.split("benchmark").questions)) == (1, 2)


def test_a_byte_order_mark_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "longmemeval_s"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([ITEM]).encode())
    assert len(LongMemEval(DataConfig(source=str(path))).split("benchmark").questions) == 1


def test_deep_nesting_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "longmemeval_s.json"
    path.write_text("[" * 5000, encoding="utf-8")
    with pytest.raises(ValueError, match="nested too deeply"):
        LongMemEval(DataConfig(source=str(path))).split("benchmark")


def test_other_splits_contexts_and_options_are_refused(tmp_path: Path) -> None:
    dataset = write(tmp_path, [ITEM])
    with pytest.raises(ValueError, match="longmemeval_s_cleaned has no split 'val'"):
        dataset.split("val")
    with pytest.raises(RecordError, match="no question zz"):
        dataset.context("zz")
    with pytest.raises(ValueError, match=r"data\.options\.num_options has no effect: longmemeval has no options"):
        write(tmp_path, [ITEM], options={"num_options": 4})


def test_the_fingerprint_follows_the_file(tmp_path: Path) -> None:
    before = write(tmp_path, [ITEM]).fingerprint()
    assert LongMemEval(DataConfig(source=str(tmp_path))).fingerprint() == before
    assert write(tmp_path, [ITEM, ITEM | {"question_id": "b"}]).fingerprint() != before
