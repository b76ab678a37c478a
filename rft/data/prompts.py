"""Every word we put around the data: one file for training, evaluation and the cold start.

The long-context protocol follows the paper's own (arXiv 2512.06688, its Qwen runs): a short system line, the
history, then one user message with the query, the options as `(a)` to `(d)`, the `\\boxed{}` format and a request
to think inside tags. The wording here is ours.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from rft.records import History, Message, Question

LETTERS = ("a", "b", "c", "d")

Protocol = Literal["boxed", "final_answer"]
"""How a letter is asked for: as `\\boxed{a}`, or in a line `Final Answer: A`."""

SYSTEM_PROMPT = "You are a helpful assistant who knows this user from the conversations below and answers accordingly."

MCQ_TEMPLATE = """{query}

Which reply suits this user best?
{options}
Think inside <think></think>, then answer with one letter: {boxes}."""

FINAL_ANSWER_TEMPLATE = """{query}

Recall what this user prefers. Which reply suits this user best?
{options}
Reason step by step, and end with a line of this form: Final Answer: [Letter]"""
"""The paper's protocol for models behind an API. There the options come in a system message at the end, which several
chat templates refuse; here they stand in the user's."""

JUDGE_SYSTEM_PROMPT = "You judge whether a reply suits the user it was written for. You are strict and brief."

JUDGE_PARTS = {
    "query": "The user asked:\n{query}",
    "gold": "What is known of the user:\n{gold}",
    "reply": "The reply:\n{reply}",
}

JUDGE_LAYOUTS = {"gold_first": ("query", "gold", "reply"), "reply_first": ("query", "reply", "gold")}
"""A verdict should not depend on which is read first."""

JUDGE_RUBRICS = {
    "follow": """Does the reply show that it knows this of the user, or suit it? 1.0: clearly tailored to it. 0.5: in \
line with it, but could be for anyone. 0.0: generic, or against it.""",
    "avoid": """The user does not want this to be used. 1.0: helpful, without using or mentioning it. 0.5: hints at \
it. 0.0: uses or mentions it.""",
    "answer": """What is known of the user is the right answer to what was asked. 1.0: the reply gives it, in whatever \
words. 0.5: gives a part of it. 0.0: does not give it, or gives another one.""",
}

JUDGE_TEMPLATE = """{parts}

{rubric}
Say why in one sentence, then give a score from 0.0 to 1.0 as \\boxed{{score}}."""

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
    return Message(role="user", content=ask(question.query, options_of(question, option_order)))


def options_of(question: Question, option_order: Sequence[int]) -> list[str]:
    """The answers as the letters show them."""
    answers = (question.correct_answer, *question.incorrect_answers)
    return [answers[index] for index in option_order]


def ask(query: str, options: Sequence[str], protocol: Protocol = "boxed") -> str:
    """A query (none where it is empty) and its options, at most one per letter; without options the query alone."""
    letters = LETTERS[: len(options)]
    if not options:
        return query
    if protocol == "final_answer":
        shown = "\n".join(f"{letter.upper()}. {option}" for letter, option in zip(letters, options, strict=True))
        return FINAL_ANSWER_TEMPLATE.format(query=query, options=shown).lstrip()
    shown = "\n".join(f"({letter}) {option}" for letter, option in zip(letters, options, strict=True))
    boxes = " or ".join(f"\\boxed{{{letter}}}" for letter in letters)
    return MCQ_TEMPLATE.format(query=query, options=shown, boxes=boxes).lstrip()


def paper_option_order(row: int, num_options: int = 4) -> tuple[int, ...]:
    """The paper's order for a CSV row: Python's `random.seed(42 + row)`, then a shuffle of [correct, *incorrect]."""
    order = list(range(num_options))
    random.Random(42 + row).shuffle(order)
    return tuple(order)


def gold_letter(option_order: Sequence[int]) -> str:
    """The letter that shows the correct answer."""
    return LETTERS[list(option_order).index(0)]


def permuted_option_order(seed: int, epoch: int, question_id: str, num_options: int = 4) -> tuple[int, ...]:
    """A fresh order for every (seed, epoch, question), the same in every process."""
    order = list(range(num_options))
    random.Random(f"{seed}/{epoch}/{question_id}").shuffle(order)
    return tuple(order)


def sft_target(question: Question, option_order: Sequence[int]) -> str:
    """The paper's cold-start target for a multiple-choice row: the boxed letter, then the option's text."""
    return f"\\boxed{{{gold_letter(option_order)}}} {question.correct_answer}"
