"""When evidence is in a memory and when it is lost, by its words."""

from __future__ import annotations

from typing import Any

import pytest

from rft.eval.retention import Retention, follow, key_words
from rft.types import Message, Question


def question(**changes: Any) -> Question:
    fields: dict[str, Any] = {
        "question_id": "val/0", "row": 0, "persona_id": 0, "history_id": "h", "query": "Any idea for my evening?",
        "correct_answer": "A night of jazz and sushi.",
        "incorrect_answers": ("A night of metal.", "Opera.", "Nothing."),
        "pref_type": "neutral_preferences", "who": "self", "updated": False, "sensitive": False,
        "scenario": "translation", "topic": "music", "preference": "Likes jazz", "distance_tokens": 9,
        "evidence": (Message(role="user", content="My Evening was Jazz, then a night of sushi, no metal."),),
    }  # fmt: skip
    return Question(**fields | changes)


def test_key_words_are_in_the_evidence_and_the_right_answer_alone():
    assert key_words(question()) == {"jazz", "sushi"}


def test_what_should_be_forgotten_has_none():
    forget = question(
        correct_answer="The classics.", preference="Do not remember 'Likes jazz' in memory",
        incorrect_answers=("Jazz.", "Metal.", "Opera."),
    )  # fmt: skip
    assert key_words(forget) == frozenset()
    assert follow(forget, 0, ["Jazz."]) is None


@pytest.mark.parametrize(
    ("memories", "entered", "lost"),
    [
        (["", "- Jazz!", "- jazz"], 1, None),
        (["", "", "likes SUSHI"], 2, None),  # half of the key words will do
        (["jazz", "metal", "metal"], None, None),  # before the evidence it does not count
        (["", "jazz", "metal"], 1, 2),
        (["", "jazz", "", "jazz", "", ""], 1, 4),  # came back, then lost for good
        (["", "jazzy", ""], None, None),
    ],
)
def test_evidence_is_followed_from_its_turn_on(memories: list[str], entered: int | None, lost: int | None):
    expected = Retention(evidence_turn=1, num_turns=len(memories), entered=entered, lost=lost)
    assert follow(question(), 1, memories) == expected
    assert expected.kept == (entered is not None and lost is None)
