"""Replies in the right form that say absurd things: each is counted by a reason, or harms nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rft.make_data import main
from rft.making.questions import question_problem
from rft.making.schemas import AnswerReply, ConflictsReply, VerdictReply, options_reply, read_reply
from rft.making.talks import Subject, subject_of
from tests.unit.making.conftest import Make
from tests.unit.making.test_create import create, report_of, rows_of
from tests.unit.making.test_requests import person, slot
from tests.unit.making.writer import Writer

ONE = {"train": {"personas": 1, "questions": 3}}
Change = Callable[[dict[str, Any]], dict[str, Any]]


def changed(writer: Writer, reply: str, change: Change) -> None:
    plain = getattr(writer, reply)
    setattr(writer, reply, lambda prompt, body, rng: change(plain(prompt, body, rng)))


def with_options(change: Callable[[str], str]) -> Change:
    return lambda value: value | {"right": change(value["right"]), "wrong": [change(one) for one in value["wrong"]]}


@pytest.mark.parametrize(
    ("reply", "change", "reason"),
    [
        ("OptionsReply", with_options(lambda text: text + " word" * 3000), "question: wrong_form"),
        ("OptionsReply", lambda value: value | {"right": "A", "wrong": ["a", "A", "a."]}, "question: repeated_option"),
        ("OptionsReply", lambda value: value | {"query": "\u200b\u2060"}, "question: wrong_form"),
        ("OptionsReply", lambda value: value | {"query": "...?!"}, "question: query_without_words"),
        ("OptionsReply", lambda value: value | {"wrong": ["\u200b", "\u200c", "\u200d"]}, "question: wrong_form"),
        ("OptionsReply", lambda value: {"\ud800" * 9: "x"} | value, "question: wrong_form"),
        ("ConversationReply", lambda value: {"turns": [{"user": "\x00", "assistant": "b"}]},
         "conversation: wrong_form"),
        ("PreferencesReply", lambda value: {"items": value["items"][:1] * len(value["items"])}, "repeated_preference"),
    ],
)  # fmt: skip
def test_what_is_absurd_is_dropped_by_a_reason(
    writer: Writer, config_file: Make, tmp_path: Path, reply: str, change: Change, reason: str
):
    changed(writer, reply, change)
    config = config_file(splits=ONE, kinds={"others": 0, "sensitive_info": 0, "ask_to_forget": 0})
    assert create(config, "budget.attempts=1", "budget.candidates_per_persona=30") == 1
    report = report_of(tmp_path / "made")
    assert report["candidates"]["dropped"][reason] >= report["candidates"]["tried"] - 5


def test_odd_characters_enter_as_they_are_or_not_at_all(writer: Writer, config_file: Make, tmp_path: Path):
    markup = "<script>alert(1)</script>"
    changed(writer, "OptionsReply", with_options(lambda text: f"\x08\x1b[31m{text}\ud83d 🫖👩‍👧 茶 {markup}"))
    changed(writer, "PersonaReply", lambda value: value | {"name": "Ann {persona}", "job": "a\u2028b\r\nc"})
    changed(
        writer, "ConflictsReply", lambda value: {"pairs": [{"first": 10**300, "second": -1}, {"first": 2, "second": 2}]}
    )
    config = config_file(splits=ONE)
    assert create(config) == 0
    with (tmp_path / "made/dataset/benchmark/text/train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    for row in rows:
        assert row["correct_answer"].endswith(f" 🫖👩‍👧 茶 {markup}")
        assert not set("\x08\x1b\x00") & set("".join(row.values()))
        assert json.loads(row["expanded_persona"])["name"] == "Ann {persona}"
    assert main(["llm", "preview", str(config), "--rows", "4"]) == 0
    page = (tmp_path / "made/preview.html").read_text()
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page


def test_another_person_is_not_named_in_the_question():
    subject = subject_of(0, slot("others"), person())
    assert isinstance(subject, Subject)
    subject = replace(subject, other_name="Bao")
    good = {"query": "Any idea for tonight?", "right": "A walk.", "wrong": ["Tea for Bao.", "Juice.", "Beer."]}
    assert question_problem(subject, good) is None
    assert question_problem(subject, good | {"query": "Any idea for Bao's evening?"}) == "other_person_named"
    assert question_problem(subject, good | {"right": "A walk with Bao."}) == "other_person_named"
    assert question_problem(subject, good | {"query": "Any idea for the Baobab?"}) is None
    own = subject_of(0, slot(), person())
    assert isinstance(own, Subject) and question_problem(own, good | {"query": "Any idea for Bao?"}) is None


@pytest.mark.parametrize(
    ("text", "schema", "failure"),
    [
        ('{"verdict": "yes", "\\u001b[31m' + "y" * 5000 + '": 1}', VerdictReply, "wrong_form"),
        ('{"verdict": ' + "[" * 100_000, VerdictReply, "not_json"),
        ('{"verdict": "yes", "why": ' + "9" * 5000 + "}", VerdictReply, "not_json"),
        ('{"answer": "E"}', AnswerReply, "wrong_form"),
        ('{"answer": null}', AnswerReply, "wrong_form"),
        ('{"pairs": [{"first": 1e400, "second": 1}]}', ConflictsReply, "wrong_form"),
        ('{"pairs": {"first": 1, "second": 2}}', ConflictsReply, "wrong_form"),
        ('{"right": "c", "wrong": ["d", "e"]}', options_reply(9, question=False), "wrong_form"),
    ],
)  # fmt: skip
def test_odd_json_has_a_reason_that_can_be_shown(text: str, schema: Any, failure: str):
    value, found, detail = read_reply(text, schema)
    assert (value, found) == (None, failure)
    assert len(detail) < 1000 and "\x1b" not in detail and json.dumps(detail, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "kinds",
    [
        {"sensitive_info": 1},
        {"ask_to_forget": 1},
        {"therapy_background": 1},
        {"neutral_preferences": 1, "others": 1},
        {"neutral_preferences": 1, "others": 0, "updated": 1},
    ],
    ids=str,
)
def test_one_persona_may_have_all_questions_of_one_kind(
    writer: Writer, config_file: Make, tmp_path: Path, kinds: dict[str, float]
):
    names = [
        "stereotypical_pref", "anti_stereotypical_pref", "neutral_preferences", "health_and_medical_conditions",
        "therapy_background", "ask_to_forget", "sensitive_info", "others", "updated",
    ]  # fmt: skip
    config = config_file(kinds=dict.fromkeys(names, 0) | kinds, splits={"train": {"personas": 1, "questions": 6}})
    assert create(config, "budget.candidates_per_persona=24") in (0, 1)
    split = report_of(tmp_path / "made")["splits"]["train"]
    assert split["made"] == 6 and len(split["by_kind"]) == 1
    assert not rows_of(tmp_path / "made", "preferences") or "sensitive_info" not in kinds
