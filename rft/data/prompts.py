"""Every word we put around the data: one file for training, evaluation and the cold start.

The long-context protocol follows the paper's own (arXiv 2512.06688, its Qwen runs): a short system line, the
history, then one user message with the query, the options as `(a)` to `(d)`, the `\\boxed{}` format and a request
to think inside tags. The wording here is ours.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from rft.types import History, Message, Question

LETTERS = ("a", "b", "c", "d")

SYSTEM_PROMPT = "You are a helpful assistant who knows this user from the conversations below and answers accordingly."

MCQ_TEMPLATE = """{query}

Which reply suits this user best?
{options}
Think inside <think></think>, then answer with one letter: {boxes}."""


def history_messages(history: History, persona_card: str) -> list[Message]:
    """The system line and the history's messages; `persona_card` is `drop` or `keep`.

    The card is the history's own leading system message. Dropping it removes nothing but that message.
    """
    messages = list(history.messages)
    if persona_card == "drop" and messages and messages[0].role == "system":
        messages = messages[1:]
    return [Message(role="system", content=SYSTEM_PROMPT), *messages]


def question_message(question: Question, option_order: Sequence[int]) -> Message:
    """The last user message: query, lettered options, answer format."""
    answers = (question.correct_answer, *question.incorrect_answers)
    letters = LETTERS[: len(option_order)]
    options = "\n".join(f"({letter}) {answers[index]}" for letter, index in zip(letters, option_order, strict=True))
    boxes = " or ".join(f"\\boxed{{{letter}}}" for letter in letters)
    return Message(role="user", content=MCQ_TEMPLATE.format(query=question.query, options=options, boxes=boxes))


def paper_option_order(row: int, num_options: int = 4) -> tuple[int, ...]:
    """The paper's order for a CSV row: Python's `random.seed(42 + row)`, then a shuffle of [correct, *incorrect]."""
    order = list(range(num_options))
    random.Random(42 + row).shuffle(order)
    return tuple(order)


def permuted_option_order(seed: int, epoch: int, question_id: str, num_options: int = 4) -> tuple[int, ...]:
    """A fresh order for every (seed, epoch, question), the same in every process."""
    order = list(range(num_options))
    random.Random(f"{seed}/{epoch}/{question_id}").shuffle(order)
    return tuple(order)


def sft_target(question: Question, option_order: Sequence[int]) -> str:
    """The paper's cold-start target for a multiple-choice row: the boxed letter, then the option's text."""
    letter = LETTERS[list(option_order).index(0)]
    return f"\\boxed{{{letter}}} {question.correct_answer}"
