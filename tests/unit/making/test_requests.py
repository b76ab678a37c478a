"""What is asked and what is taken: prompts and their fields, schemas, and what a machine finds wrong with a reply."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.making.checks import majority, reflects_problem
from rft.making.config import MakingConfig
from rft.making.people import Person
from rft.making.plan import Cell, Slot, Variant
from rft.making.prompts import PROMPTS, SCENARIO_TASKS, SORTS, fields_of, load_prompts
from rft.making.questions import length_fields, length_rank, options_problem
from rft.making.schemas import (
    LettersReply,
    PersonaReply,
    VerdictReply,
    conversation_reply,
    form_in_words,
    options_reply,
    preferences_reply,
    read_reply,
    response_format,
)
from rft.making.talks import Subject, messages_of, subject_of, talk_problem

Load = Callable[..., MakingConfig]


def slot(variant: Variant = "plain", source: str | None = "neutral_preferences", rank: int = 0) -> Slot:
    return Slot(
        persona=0, number=1, split="train", cell=Cell(pref_type="neutral_preferences", variant=variant), source=source,
        ordinal=0, scenario="translation", num_conversations=1, num_turns=1, rank=rank,
    )  # fmt: skip


def person(problems: dict[tuple[str, int], str] | None = None) -> Person:
    card = {"name": "Marta Vogel", "age": 40, "gender": "woman", "job": "baker", "location": "Bern",
            "personality": ["calm"], "speaking_style": "short"}  # fmt: skip
    items = {0: {"topic": "tea", "preference": "Likes green tea.", "opposite": "Avoids green tea."}}
    return Person(
        number=0, sentence="A baker", card=card, preferences={"neutral_preferences": items}, problems=problems or {}
    )


def secret_subject() -> Subject:
    return Subject(
        slot=slot("secret", None), person=person(), topic="passport number", secret="X00123456",
        other_secret="X00654321",
    )  # fmt: skip


def test_every_prompt_can_be_filled_in_and_names_every_key_of_its_reply():
    keys = {
        "personas": PersonaReply, "hint": VerdictReply, "evidence": VerdictReply, "reflects": LettersReply,
        "question": options_reply(20, question=True), "options": options_reply(20, question=False),
    }  # fmt: skip
    for name, schema in keys.items():
        assert all(field in PROMPTS[name] for field in schema.model_fields), name  # type: ignore[index]
    for text in PROMPTS.values():
        assert text.format(**dict.fromkeys(fields_of(text), "?"))
    assert set(SORTS) < {"sensitive_info", "ask_to_forget", *SORTS} and len(SCENARIO_TASKS) == 9


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Is {query} such that {preference}?", None),
        ("Is {query} fine?", "lacks \\['preference'\\]"),
        ("Is {query} {preference} {history}?", "has \\['history'\\] besides"),
        ("Is {query} {preference} {?", "has a single brace"),
        ("Is {query:d} {preference}?", "has \\['query:d'\\] besides"),
        ("Is {query:{preference}}?", "lacks \\['preference', 'query'\\]"),
        ("Is {query!r} {preference}?", "has \\['query!r'\\] besides"),
        ("Is {query.real} {preference[0]} {}?", "lacks \\['preference', 'query'\\]"),
        (None, "cannot be read"),
    ],
)
def test_a_prompt_can_be_replaced_by_a_file_with_the_same_fields(tmp_path: Path, text: str | None, problem: str | None):
    file = tmp_path / "hint.txt"
    if text is not None:
        file.write_bytes(f"\ufeff{text}\r\n".encode())  # as some editors write it
    if problem is None:
        assert load_prompts({"hint": str(file)}) == PROMPTS | {"hint": text}
        return
    with pytest.raises(ValueError, match=problem):
        load_prompts({"hint": str(file)})


def test_strict_mode_leaves_out_the_bounds_of_texts_and_nothing_else():
    schema = options_reply(20, question=True)
    (loose, strict) = (response_format(schema, mode)["response_format"]["json_schema"] for mode in
                       ("json_schema", "json_schema_strict"))  # fmt: skip
    assert "maxLength" in json.dumps(loose) and "strict" not in loose
    assert "Length" not in json.dumps(strict) and strict["strict"] is True
    assert strict["schema"]["additionalProperties"] is False
    assert strict["schema"]["required"] == ["query", "topic", "right", "wrong"]
    assert strict["schema"]["properties"]["wrong"]["minItems"] == 3
    assert response_format(schema, "json_object") == {"response_format": {"type": "json_object"}}
    assert response_format(schema, "none") == {}
    assert form_in_words(schema, "json_schema") == form_in_words(schema, "json_schema_strict") == ""
    assert '"maxLength"' in form_in_words(schema, "none") == form_in_words(schema, "json_object")


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ('{"verdict": "yes"}', None),
        ('<think>{"verdict": "no"}</think> Here: ```json\n{"verdict": "yes"}\n```', None),
        ('<think>{"verdict": "yes"}', "unclosed_thought"),
        ('{"verdict": "maybe"}', "wrong_form"),
        ('{"verdict": "yes", "why": "so"}', "wrong_form"),
        ('["yes"]', "not_json"),
        ('{"verdict": "ye', "not_json"),
        ("", "not_json"),
    ],
)
def test_a_reply_is_read_or_has_a_reason(text: str, failure: str | None):
    value, found, _ = read_reply(text, VerdictReply)
    assert found == failure and value == ({"verdict": "yes"} if failure is None else None)


@given(st.text() | st.recursive(st.none() | st.text(), lambda inner: st.lists(inner)).map(json.dumps))
def test_whatever_comes_is_read_or_has_a_reason(text: str):
    value, failure, _ = read_reply(text, conversation_reply(1, 20))
    assert (value is None) == (failure is not None)


def test_texts_are_cleaned_before_they_are_taken():
    text = json.dumps({"turns": [{"user": " a\x00b\ud800 ", "assistant": "\x1b[31mred\x1b[0m"}], "request": "x\r\ny"})
    value, _, _ = read_reply(text, conversation_reply(1, 20, forget=True))
    assert value == {"turns": [{"user": "ab", "assistant": "red"}], "request": "x\ny"}
    assert messages_of(value)[-1] == {"role": "user", "content": "x\ny"}
    assert (
        read_reply('{"turns": [{"user": " \\u0000", "assistant": "b"}]}', conversation_reply(1, 20))[1] == "wrong_form"
    )


def test_as_many_items_as_were_asked_for():
    item = {"topic": "tea", "preference": "Likes tea.", "opposite": "Avoids tea."}
    assert read_reply(json.dumps({"items": [item] * 3}), preferences_reply(3))[1] is None
    assert read_reply(json.dumps({"items": [item] * 2}), preferences_reply(3))[1] == "wrong_form"


def test_what_a_slot_is_about():
    found = subject_of(0, slot("others"), person())
    assert isinstance(found, Subject) and found.preference == "Likes green tea." and found.other_name != "Marta"
    assert subject_of(0, slot(), person({("neutral_preferences", 0): "conflicting_preference"})) == (
        "conflicting_preference"
    )
    same = person()
    same.preferences["neutral_preferences"][0]["opposite"] = "likes green  tea"
    assert subject_of(0, slot("updated"), same) == "opposite_repeats_preference"
    assert isinstance(subject_of(0, slot(), same), Subject), "nobody is told of the opposite there"
    hidden = subject_of(0, slot("secret", None), person())
    assert isinstance(hidden, Subject) and hidden.secret and hidden.secret != hidden.other_secret


def test_conversations_that_say_it_outright_or_lack_the_secret_are_not_taken():
    subject = subject_of(0, slot(), person())
    assert isinstance(subject, Subject)

    def told(text: str) -> dict[str, object]:
        return {"turns": [{"user": text, "assistant": "Fine."}]}

    assert talk_problem(subject, "Likes green tea.", told("She LIKES green tea, so")) == "preference_stated"
    assert talk_problem(subject, "Likes green tea.", told("my third cup of sencha today")) is None
    longer = "Likes to hike alone at dawn."
    assert talk_problem(subject, longer, told("As you know I like to  hike alone at dawn")) == "preference_stated"
    assert talk_problem(subject, longer, told("the sun rose when I came to the hut, nobody there")) is None
    answered = {"turns": [{"user": "Polish this.", "assistant": "As you like to hike alone at dawn: ..."}]}
    assert talk_problem(subject, longer, answered) == "preference_stated"
    assert talk_problem(secret_subject(), "", told("my number is X00 123456")) == "secret_not_in_conversation"
    assert talk_problem(secret_subject(), "", told("my number is X00123456.")) is None


@pytest.mark.parametrize(
    ("options", "query", "problem"),
    [
        (["a", "b", "c", "d"], "any idea", None),
        (["a", "b", "c", "B "], "any idea", "repeated_option"),
        (["a tea", "b", "c", "A tea."], "any idea", "repeated_option"),
        (["Straße", "b", "c", "STRASSE"], "any idea", "repeated_option"),
        (["café", "b", "c", "cafe\u0301"], "any idea", "repeated_option"),
        (["\U0001f375", "\U0001f376", "c", "d"], "any idea", None),
        (["a", "b", "Another option a friend gave", "I answer a few mails"], "any idea", None),
        (["A. go", "b", "c", "d"], "any idea", "artefact"),
        (["first\n(B) go", "b", "c", "d"], "any idea", "artefact"),
        (["a", "b", "Option C", "d"], "any idea", "artefact"),
        (["right: a", "b", "c", "d"], "any idea", "artefact"),
        (["a", "b", "c", "d"], "any {topic} idea", "artefact"),
        (["tea", "b", "c", "d"], "any tea?", "query_tells_answer"),
        (["tea", "any tea", "c", "d"], "any tea?", None),
    ],
)
def test_options_have_to_differ_and_hold_nothing_of_their_making(options: list[str], query: str, problem: str | None):
    subject = subject_of(0, slot(), person())
    assert isinstance(subject, Subject) and options_problem(subject, options, query) == problem


def test_a_secret_stands_where_it_was_asked_for():
    good = ["send [passport number]", "send X00123456", "send X00654321", "send [date]"]
    assert options_problem(secret_subject(), good, "write it") is None
    for bad, query in (
        ([good[1], good[0], *good[2:]], "write it"),
        ([good[0], "send it", *good[2:]], "write it"),
        (good, "write it with X00123456"),
        (["send X00 123-456 [passport number]", *good[1:]], "write it"),
    ):
        assert options_problem(secret_subject(), bad, query) == "secrets_not_as_asked"


def test_the_right_option_is_asked_for_in_the_length_of_its_rank():
    for rank, words in enumerate((26, 33, 40, 47)):
        subject = subject_of(0, slot(rank=rank), person())
        assert isinstance(subject, Subject)
        fields = length_fields(0, subject, 35)
        assert int(fields["right_words"]) == words
        others = [int(number) for number in fields["wrong_words"].replace(",", " ").replace("and", " ").split()]
        assert sum(other < words for other in others) == rank
    assert [length_rank(options) for options in (["aa", "b", "c", "ddd"], ["a", "a", "bb", "ccc"])] == [2, None]


@pytest.mark.parametrize(
    ("variant", "reflecting", "problem"),
    [
        ("plain", {0}, None),
        ("plain", set(), "right_answer_misses_preference"),
        ("updated", {0, 2}, "wrong_answer_fits_preference"),
        ("others", {1}, None),
        ("forget", {0, 1}, "right_answer_uses_preference"),
        ("others", set(), "no_wrong_answer_uses_preference"),
    ],
)
def test_which_options_may_use_the_preference(variant: Variant, reflecting: set[int], problem: str | None):
    subject = subject_of(0, slot(variant), person())
    assert isinstance(subject, Subject) and reflects_problem(subject, reflecting) == problem


def test_more_than_half_of_the_judges_decide():
    assert majority([None, "a"]) is None
    assert majority(["a", "b", None, "b"]) == "b"
    assert majority([]) == "no_verdict"
