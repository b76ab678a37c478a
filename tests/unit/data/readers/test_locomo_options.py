"""Options made of other questions' answers: of the same category, alike for nobody, never giving an answer away."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rft.data.readers.locomo_options import NOT_MENTIONED, normalize, with_options
from rft.records import Question


def question(number: int, answer: str, *, category: str = "single_hop", sample: str = "a") -> Question:
    """An adversarial one has `answer` as its tempting answer."""
    adversarial = category == "adversarial"
    return Question(
        question_id=f"locomo/{sample}/{number}",
        context_id=sample,
        cluster=sample,
        query=f"{number}?",
        correct_answer=NOT_MENTIONED if adversarial else answer,
        tags={"category": category, "abstention": "true" if adversarial else "false"},
        columns={"adversarial_answer": answer if adversarial else None},
    )


def answers(questions: Sequence[Question]) -> list[tuple[str, ...]]:
    return [question.incorrect_answers for question in with_options(questions, 4)]


def test_answers_come_from_the_same_category_and_the_same_conversation_first() -> None:
    questions = [question(i, f"near {i}") for i in range(4)]
    questions += [question(i, f"far {i}", sample="b") for i in range(4)]
    questions += [question(9, "a day", category="temporal")] + [
        question(10 + i, f"day {i}", category="temporal", sample="b") for i in range(3)
    ]
    built = with_options(questions, 4)
    assert set(built[0].incorrect_answers) < {NOT_MENTIONED, "near 1", "near 2", "near 3"}
    assert set(built[8].incorrect_answers) < {NOT_MENTIONED, "day 0", "day 1", "day 2"}
    few = with_options([*questions[:2], *questions[4:8]], 4)
    assert set(few[0].incorrect_answers) >= {NOT_MENTIONED, "near 1"}


def test_an_adversarial_question_has_its_tempting_answer() -> None:
    questions = [question(i, f"tempting {i}", category="adversarial") for i in range(4)]
    for i, built in enumerate(with_options(questions, 4)):
        assert built.correct_answer == NOT_MENTIONED
        assert built.incorrect_answers[0] == f"tempting {i}"
        assert len(built.incorrect_answers) == 3
        assert NOT_MENTIONED not in built.incorrect_answers


def test_that_it_is_not_mentioned_is_an_option_of_every_question() -> None:
    questions = [question(i, f"x {i}") for i in range(5)]
    questions += [question(10 + i, f"y {i}", category="adversarial") for i in range(5)]
    for built in with_options(questions, 4):
        assert (built.correct_answer, *built.incorrect_answers).count(NOT_MENTIONED) == 1


def test_answers_that_differ_in_case_or_punctuation_alone_are_one() -> None:
    questions = [question(i, text) for i, text in enumerate(["Jazz", "jazz.", " JAZZ ", "blues", "Blues!", "rock"])]
    for built in with_options(questions, 4):
        assert len({normalize(answer) for answer in (built.correct_answer, *built.incorrect_answers)}) == 4
    assert normalize("7 May, 2023") == normalize("7 may 2023")
    assert normalize("?!") != normalize("...")


def test_the_choice_depends_on_the_question_alone() -> None:
    questions = [question(i, f"x {i}") for i in range(30)]
    built = {item.question_id: set(item.incorrect_answers) for item in with_options(questions, 4)}
    assert answers(questions) == answers(questions)
    assert len({frozenset(chosen) for chosen in built.values()}) > 20


def test_no_answer_is_drawn_much_more_often_than_others() -> None:
    questions = [question(i, f"x {i}") for i in range(200)]
    drawn = Counter(answer for chosen in answers(questions) for answer in chosen if answer != NOT_MENTIONED)
    assert sum(drawn.values()) == 400
    assert max(drawn.values()) <= 10, "each is expected twice"


@settings(deadline=None)
@given(
    texts=st.lists(st.sampled_from(["red", "Red", "blue", "green.", "7", "7 May", "!"]), min_size=2, max_size=9),
    num_options=st.integers(2, 4),
    seed=st.integers(0, 99),
)
def test_options_are_different_or_their_lack_is_named(texts: list[str], num_options: int, seed: int) -> None:
    rng = random.Random(seed)
    kinds = [rng.choice(["single_hop", "adversarial"]) for _ in texts]
    questions = [question(i, text, category=kind) for i, (text, kind) in enumerate(zip(texts, kinds, strict=True))]
    try:
        built = with_options(questions, num_options)
    except ValueError as error:
        assert "data.options.num_options" in str(error)
        assert "\n" not in str(error)
        return
    for item in built:
        shown = {normalize(answer) for answer in (item.correct_answer, *item.incorrect_answers)}
        assert len(shown) == num_options == 1 + len(item.incorrect_answers)


def test_too_few_different_answers_are_named() -> None:
    with pytest.raises(ValueError, match="single_hop have only 2 incorrect answers for locomo/a/0; set it to 3"):
        with_options([question(0, "x"), question(1, "y"), question(2, "X.")], 4)
