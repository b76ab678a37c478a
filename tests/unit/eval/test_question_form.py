"""How questions are put and what replies are worth, whatever the task."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import Any, cast

import pytest
from transformers import PreTrainedTokenizerBase

from rft.config import RewardConfig
from rft.data.closing import Closing
from rft.data.dataset import order_by_content
from rft.data.prompts import McqWording, gold_letter
from rft.eval.config import CompareConfig, ComparisonConfig
from rft.eval.question_form import QuestionForm, make_question_form
from rft.records import Attempt, Question
from rft.tasks.registry import task_class
from tests.unit.eval.builder import UsersDataset, make_question

EXACT = "tests.unit.eval.builder:exact"
QUESTION = make_question(0)
ORDER = UsersDataset([QUESTION]).option_order(QUESTION)
RIGHT = gold_letter(ORDER)


def form(**changes: Any) -> QuestionForm:
    config = ComparisonConfig(**changes)
    # Words and scores need no tokenizer.
    task = task_class(config)(config, cast(PreTrainedTokenizerBase, None), UsersDataset([QUESTION]))
    return make_question_form(config, task)


def attempt(made: QuestionForm, text: str, question: Question = QUESTION) -> Attempt:
    return Attempt(
        question=question, option_order=made.order_of(question), asked=made.text_of(question), text=text
    )  # fmt: skip


@pytest.mark.parametrize("task", ["mcq", "memory"])
def test_multiple_choice_asks_for_a_boxed_letter(task: str):
    made = form(task=task)
    assert made.text_of(QUESTION) == McqWording().ask(QUESTION, ORDER)
    assert made.text_of(QUESTION, show_query=False).startswith("Which reply")
    assert made.shown_order(QUESTION) == ORDER
    right, none = made.score([attempt(made, f"\\boxed{{{RIGHT}}}"), attempt(made, RIGHT)])
    assert (right.reward, right.parsed, none.reward, none.failure) == (1.0, RIGHT, 0.0, "no_box")


def test_the_other_wording_of_multiple_choice_has_its_own_scorer():
    made = form(compare=CompareConfig(protocol="final_answer"))
    assert "Final Answer: [Letter]" in made.text_of(QUESTION) and made.shown_order(QUESTION) == ORDER
    right, boxed = made.score([attempt(made, f"Final Answer: {RIGHT.upper()}"), attempt(made, f"\\boxed{{{RIGHT}}}")])
    assert (right.reward, boxed.reward) == (1.0, 0.0)
    weighted = form(
        compare=CompareConfig(protocol="final_answer"), reward=RewardConfig(function=["task", EXACT], weights=[1, 2])
    )
    (score,) = weighted.score([attempt(weighted, f"Final Answer: {RIGHT.upper()}")])
    assert (score.reward, score.parsed, score.parts) == (1.0, RIGHT, {"task": 1.0, "exact": 0.0})


def test_the_leaderboard_asks_in_two_messages_and_reads_the_same_line():
    made = form(compare=CompareConfig(protocol="leaderboard"))
    asking = made.asking(QUESTION)
    assert isinstance(asking, Closing) and asking.user.startswith("And {now}?") and "Some {jazz}." in asking.system
    assert made.text_of(QUESTION) == f"{asking.user}\n\n{asking.system}"
    letter = gold_letter(made.shown_order(QUESTION))
    assert f"\n{letter.upper()}. Some {{jazz}}." in asking.system
    right, boxed = made.score(
        [attempt(made, f"Final Answer: [{letter.upper()}]"), attempt(made, f"\\boxed{{{letter}}}")]
    )
    assert (right.reward, boxed.reward) == (1.0, 0.0)
    assert form().asking(QUESTION) == form().text_of(QUESTION)


def test_the_leaderboard_s_open_question_hides_the_options_and_waits_for_a_judge():
    made = form(compare=CompareConfig(protocol="leaderboard", answers="open"))
    asking = made.asking(QUESTION)
    assert isinstance(asking, str) and asking.startswith("And {now}?\n\n") and made.order_of(QUESTION) == ()
    (score,) = made.score([attempt(made, "Some jazz.")])
    assert (score.reward, score.failure) == (None, None)


def test_a_plain_question_is_worth_what_the_functions_say():
    made = form(task="qa", reward=RewardConfig(function=EXACT))
    assert made.text_of(QUESTION) == "And {now}?" and made.shown_order(QUESTION) == ()
    right, wrong, neither = made.score([attempt(made, text) for text in ("Some {jazz}.", "Opera.", "")])
    assert (right.reward, wrong.reward, neither.reward) == (1.0, 0.0, None)


def test_open_answers_hide_the_options_and_wait_for_a_judge():
    made = form(compare=CompareConfig(answers="open"))
    assert made.text_of(QUESTION) == "And {now}?" and made.order_of(QUESTION) == ()
    (score,) = made.score([attempt(made, "Some jazz.")])
    assert (score.reward, score.failure) == (None, None)


def test_an_open_answer_is_left_to_the_judge_unless_there_is_none():
    made = form(compare=CompareConfig(answers="open"))
    texts = ["Jazz.", "<think>Hm.</think>Jazz.", "", "<thinking>Hm. Jazz", "<think>Hm.</think> "]
    scores = made.score([attempt(made, text) for text in texts])
    assert [score.reward for score in scores] == [None, None, 0.0, 0.0, 0.0]
    assert [score.failure for score in scores] == [None, None, "empty", "unclosed_thought", "empty"]


def test_the_leaderboard_s_order_of_options_follows_the_row_and_not_its_place():
    order_of = form(compare=CompareConfig(protocol="leaderboard")).order_of
    questions = [make_question(number, query=f"And {number}?") for number in range(40)]
    assert [order_of(replace(one, question_id=f"val/{99 - n}")) for n, one in enumerate(questions)] == list(
        map(order_of, questions)
    )
    assert len(set(map(order_of, questions))) > 10, "another query has another order"
    assert order_of(replace(questions[0], incorrect_answers=())) == ()


def test_the_leaderboard_s_order_is_the_same_on_every_machine_and_in_every_process():
    """Values of 2026: neither a version of Python nor its hash seed may change them."""
    questions = [make_question(number, query=f"And {number}?") for number in range(4)]
    expected = [(0, 1, 3, 2), (0, 1, 3, 2), (1, 2, 0, 3), (0, 3, 2, 1)]
    assert list(map(order_by_content, questions)) == expected
    program = (
        "from rft.data.dataset import order_by_content\n"
        "from rft.records import Question\n"
        "print(order_by_content(Question(question_id='', context_id='', cluster='1', query='And 2?', "
        "correct_answer='Some {jazz}.', incorrect_answers=('Metal, pls.', 'Opera.', 'F.'))))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "4711"}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert ran.stdout.strip() == str(expected[2]), ran.stderr


def test_the_leaderboard_s_orders_are_balanced():
    orders = Counter(order_by_content(make_question(number, query=f"And {number}?")) for number in range(4800))
    assert len(orders) == 24
    assert all(140 <= count <= 260 for count in orders.values()), "200 each, and a standard deviation of 14"
    places = Counter(order.index(0) for order in orders.elements())
    assert all(1080 <= count <= 1320 for count in places.values()), "1,200 each, and a standard deviation of 30"
