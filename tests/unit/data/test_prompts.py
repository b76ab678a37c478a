from __future__ import annotations

import random

import pytest

from rft.data import prompts
from rft.records import History, Message, Question

CARD = Message(role="system", content="card")
USER = Message(role="user", content="hello")


def question() -> Question:
    return Question(
        question_id="train/3",
        row=3,
        persona_id=1,
        history_id="h",
        query="Any {idea}?",
        correct_answer="right",
        incorrect_answers=("w1", "w2", "w3"),
        pref_type="neutral_preferences",
        who="self",
        updated=False,
        sensitive=False,
        scenario="translation",
        topic="music",
        preference="Likes jazz",
        distance_tokens=1,
        evidence=(),
    )


@pytest.mark.parametrize("row", [0, 1, 17, 4999, 20_000])
def test_the_paper_order_is_seed_then_shuffle(row: int) -> None:
    random.seed(42 + row)
    options = ["correct", "incorrect 1", "incorrect 2", "incorrect 3"]
    shuffled = list(options)
    random.shuffle(shuffled)
    assert [options[i] for i in prompts.paper_option_order(row)] == shuffled


def test_golden_paper_orders() -> None:
    # Written down, so that another Python or another rule is noticed.
    assert [prompts.paper_option_order(row) for row in range(4)] == [
        (2, 1, 3, 0),
        (2, 3, 1, 0),
        (1, 0, 2, 3),
        (0, 3, 1, 2),
    ]


def test_permuted_orders_are_reproducible_and_even() -> None:
    orders = [prompts.permuted_option_order(0, epoch, "train/5") for epoch in range(400)]
    assert orders == [prompts.permuted_option_order(0, epoch, "train/5") for epoch in range(400)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    for letter in range(4):
        gold_here = sum(order[letter] == 0 for order in orders)
        assert 60 < gold_here < 140
    assert prompts.permuted_option_order(0, 0, "train/5") != prompts.permuted_option_order(1, 0, "train/5")


def test_question_message() -> None:
    message = prompts.question_message(question(), (2, 0, 3, 1))
    assert message.role == "user"
    assert message.content.startswith("Any {idea}?\n")
    assert "(a) w2\n(b) right\n(c) w3\n(d) w1\n" in message.content
    assert message.content.endswith("\\boxed{a} or \\boxed{b} or \\boxed{c} or \\boxed{d}.")


def test_fewer_options_offer_fewer_letters() -> None:
    assert prompts.question_message(question(), (1, 0)).content.endswith("\\boxed{a} or \\boxed{b}.")


def test_the_persona_card_is_dropped_or_kept() -> None:
    history = History(history_id="h", persona_id=1, messages=(CARD, USER, USER))
    line = Message(role="system", content=prompts.SYSTEM_PROMPT)
    assert prompts.history_messages(history, "drop") == [line, USER, USER]
    assert prompts.history_messages(history, "keep") == [line, CARD, USER, USER]


def test_dropping_the_card_of_a_history_without_one_drops_nothing() -> None:
    history = History(history_id="h", persona_id=1, messages=(USER,))
    assert prompts.history_messages(history, "drop")[1:] == [USER]


def test_sft_target_names_the_letter_of_the_right_answer() -> None:
    assert prompts.sft_target(question(), (2, 0, 3, 1)) == "\\boxed{b} right"
