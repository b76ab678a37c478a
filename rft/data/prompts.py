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

MEMORY_SYSTEM_PROMPT = "You keep a memory about one user, so that later replies can suit them."

MEMORY_UPDATE_HEAD = """Read the conversation, then write the memory anew. Note what it says about the user, openly or \
by the way. Keep what still holds, replace what has changed, remove what the user asks to forget, and do not mistake \
other people's preferences for the user's. Answer with the memory alone: short notes, one per line.

Conversation:
"""

MEMORY_UPDATE_TAIL = """
Memory so far:
{memory}"""

MEMORY_QUESTION = """

The memory will be used to answer:
{query}"""

MEMORY_ANSWER_HEAD = """What you remember of this user:
{memory}

"""

NO_MEMORY = "(nothing yet)"
"""Shown where the memory is empty."""


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
    return Message(role="user", content=ask(question.query, [answers[index] for index in option_order]))


def ask(query: str, options: Sequence[str]) -> str:
    """A query and its options, at most one per letter."""
    letters = LETTERS[: len(options)]
    shown = "\n".join(f"({letter}) {option}" for letter, option in zip(letters, options, strict=True))
    boxes = " or ".join(f"\\boxed{{{letter}}}" for letter in letters)
    return MCQ_TEMPLATE.format(query=query, options=shown, boxes=boxes)


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
