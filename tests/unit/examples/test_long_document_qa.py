"""The example with long texts: how rows become texts with questions, and how answers are compared."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.long_document_qa import make_data
from examples.long_document_qa.reward import exact_match, normalised
from rft.config import DataConfig
from rft.data.formats import open_dataset


def row(title: str, context: str, question: str, *answers: str) -> dict[str, Any]:
    return {"title": title, "context": context, "question": question, "answers": {"text": list(answers)}}


ROWS = [
    row("Oslo", "Oslo is a town.", "What is Oslo?", "a town", "town"),
    row("Oslo", "It is cold.", "How is it?", "cold"),
    row("Oslo", "It is cold.", " What is Oslo? ", "cold"),
    row("Lima", "Lima is warm.", "Since when is Lima warm?", "now"),
]


def test_paragraphs_of_an_article_become_one_text() -> None:
    assert list(make_data.contexts(ROWS)) == [
        {"context_id": "Oslo", "text": "Oslo is a town.\n\nIt is cold."},
        {"context_id": "Lima", "text": "Lima is warm."},
    ]


def test_a_question_of_several_paragraphs_has_all_their_answers() -> None:
    found = list(make_data.questions("train", ROWS))
    assert [(line["context_id"], line["query"]) for line in found] == [
        ("Oslo", "What is Oslo?"),
        ("Oslo", "How is it?"),
        ("Lima", "Since when is Lima warm?"),
    ]
    assert found[0]["answer"] == "a town"
    assert found[0]["columns"] == {"answers": ["a town", "town", "cold"]}
    assert [line["tags"]["asks"] for line in found] == ["what", "how", "when"]


def test_what_is_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split, rows in {"train": ROWS[:3], "validation": ROWS[3:]}.items():
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["make_data.py", str(out), "--source", str(tmp_path)])
    assert make_data.main() == 0
    data = open_dataset(DataConfig(format="jsonl", source=str(out)))
    assert (data.splits, data.eval_split, data.strata) == (("train", "validation"), "validation", ("asks",))
    (question,) = data.split("validation").questions
    assert question.columns == {"answers": ["now"]}
    assert data.context(question.context_id).messages[0].content == "Lima is warm."


def test_a_source_that_cannot_be_read_costs_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["make_data.py", str(tmp_path / "out"), "--source", str(tmp_path)])
    assert make_data.main() == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and str(tmp_path) in errors[0]
    assert not (tmp_path / "out").exists()


def test_answers_match_word_for_word() -> None:
    replies = ["The town.", "town of Oslo", "", "."]
    completions = [[{"role": "assistant", "content": reply}] for reply in replies]
    assert exact_match(completions, answers=[["a town"], ["a town"], ["a"], ["%"]], asks=None) == [1.0, 0.0, 0.0, 0.0]


def test_normalised_words() -> None:
    assert normalised("The  Café, in 1999!") == ["café", "in", "1999"]
    assert normalised("A") == ["a"], "an answer may be an article"
    assert normalised("%") == []
