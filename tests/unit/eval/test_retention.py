"""When evidence is in a memory and when it is lost, by its words."""

from __future__ import annotations

from typing import Any

import pytest

from rft.eval.retention import Retention, follow_evidence, key_words
from rft.records import Message, Question
from tests.unit.eval.builder import make_question


def question(**changes: Any) -> Question:
    fields: dict[str, Any] = {
        "query": "Any idea for my evening?",
        "correct_answer": "A night of jazz and sushi.",
        "incorrect_answers": ("A night of metal.", "Opera.", "Nothing."),
        "evidence": (Message(role="user", content="My Evening was Jazz, then a night of sushi, no metal."),),
    }
    return make_question(0, **fields | changes)


def test_key_words_are_in_the_evidence_and_the_right_answer_alone():
    assert key_words(question()) == {"jazz", "sushi"}
    assert key_words(question(columns={})) == {"jazz", "sushi"}, "a data set need not name preferences"
    assert key_words(question(evidence=())) == frozenset()


def test_what_should_be_forgotten_has_none():
    forget = question(
        correct_answer="The classics.", columns={"preference": "Do not remember 'Likes jazz' in memory"},
        incorrect_answers=("Jazz.", "Metal.", "Opera."),
    )  # fmt: skip
    assert key_words(forget) == frozenset()
    assert follow_evidence(forget, 0, ["Jazz."]) is None


def test_the_request_to_forget_is_no_evidence():
    forget = question(
        correct_answer="Classics, I think.", incorrect_answers=("Jazz, I think.", "Metal, I think.", "Opera, I think."),
        query="Any ideas for my music this week?",
        columns={
            "preference": "Do not remember 'Goes with jazz when it comes to music' in memory", "forgotten": True,
        },
        evidence=(
            Message(role="user", content="What would go well with my usual music, jazz, made the day?"),
            Message(role="assistant", content="Since it is jazz, take it slowly."),
            Message(role="user", content="Do not remember my music from now on."),
        ),
    )  # fmt: skip
    assert key_words(forget) == frozenset()


def test_common_words_short_words_and_numbers_are_no_key_words():
    with_noise = question(
        correct_answer="You would like an IT job, 12345, with jazz.", columns={"preference": "Likes it more than most"},
        evidence=(Message(role="user", content="You would like an IT job, 12345, with jazz more than most."),),
    )  # fmt: skip
    assert key_words(with_noise) == {"job", "jazz"}


@pytest.mark.parametrize(
    ("memories", "entered", "lost"),
    [
        (["", "- Jazz!", "- jazz"], 1, None),
        (["", "", "likes SUSHI"], 2, None),  # half of the key words will do
        (["jazz", "metal", "metal"], None, None),  # before the evidence it does not count
        (["", "jazz", "metal"], 1, 2),
        (["", "jazz", "", "jazz", "", ""], 1, 4),  # came back, then lost for good
        (["", "jazzy", ""], None, None),
        (["jazz", "jazz", ""], 1, 2),
        (["", "", "", "jazz"], 3, None),  # noted late
        (["", "jazz", "", "jazz"], 1, None),  # away for a turn
        (["", ""], None, None),
    ],
)
def test_evidence_is_followed_from_its_turn_on(memories: list[str], entered: int | None, lost: int | None):
    expected = Retention(evidence_turn=1, num_turns=len(memories), entered=entered, lost=lost)
    assert follow_evidence(question(), 1, memories) == expected
    assert expected.kept == (entered is not None and lost is None)
