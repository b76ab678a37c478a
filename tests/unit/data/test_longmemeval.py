"""LongMemEval: sessions become one dated history, and a question has no options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rft.config import DataConfig
from rft.data.benchmarks import load_benchmark
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
        ],
    ],
}


def write(folder: Path, items: Any) -> DataConfig:
    (folder / "longmemeval_s_cleaned.json").write_text(json.dumps(items), encoding="utf-8")
    return DataConfig(source=str(folder))


def test_sessions_become_one_history(tmp_path: Path):
    data = write(tmp_path, [ITEM, ITEM | {"question_id": "e47b_abs", "question_type": "multi-session"}])
    benchmark = load_benchmark("longmemeval", data, "val")
    first, second = benchmark.questions
    assert benchmark.history(first.history_id).messages == (
        Message(role="user", content="[2023/05/20 (Sat) 02:21] Hi."),
        Message(role="assistant", content="Hello."),
        Message(role="user", content="[2023/05/21 (Sun) 10:00] I hum jazz."),
    )
    assert first.evidence == (Message(role="user", content="I hum jazz."),)
    assert (first.correct_answer, first.incorrect_answers, benchmark.option_order(first)) == ("7", (), ())
    assert "2023/05/30" in first.query and first.updated
    assert (second.scenario, second.updated, second.persona_id) == ("abstention", False, 1)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({}, "not a list"),
        ([ITEM, ITEM], "question 1 .* repeats"),
        ([{key: value for key, value in ITEM.items() if key != "answer"}], "question 0 .* lacks answer"),
        ([ITEM | {"haystack_dates": []}], "other numbers"),
        ([ITEM | {"haystack_sessions": [[], []]}], "no message"),
        ([ITEM | {"haystack_sessions": [[], [{"role": "tool", "content": "x"}]]}], "role"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, items: Any, message: str):
    with pytest.raises(ValueError, match=message):
        load_benchmark("longmemeval", write(tmp_path, items), "val")


def test_one_file_is_needed(tmp_path: Path):
    with pytest.raises(ValueError, match="not 0"):
        load_benchmark("longmemeval", DataConfig(source=str(tmp_path)), "val")
