"""Every word we put around the data: one file for training, evaluation and the cold start.

The long-context protocol follows the paper's own (arXiv 2512.06688, its Qwen runs): a short system line, the
history, then one user message with the query, the options as `(a)` to `(d)`, the `\\boxed{}` format and a request
to think inside tags. The wording here is ours.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Literal, Protocol

from rft.data.closing import Asking, Closing, closing_text
from rft.records import Context, Message, Question

CUT_MARK = "[...]"
"""Stands where a part of a message was left out."""

LETTERS = tuple(string.ascii_lowercase)
"""Options are lettered from `a`; PersonaMem has four."""

AnswerFormat = Literal["boxed", "final_answer"]
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

LEADERBOARD_QUERY = """{query}

Keep in mind what you know of my preferences from our conversations."""

LEADERBOARD_OPTIONS = """These replies are possible:

{options}

Weigh step by step which of them suits the request and the user best. End with a line of this form: \
Final Answer: [Letter]"""
"""The Agent Memory Leaderboard's protocol for PersonaMem-v2, in words of ours: a request to recall ends the user's
message, and a system message behind it shows the options."""

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


class Wording(Protocol):
    """What a task puts around a question. Two wordings that say the same have equal texts, and share cached tokens."""

    system_prompt: str | None
    """First message of a chat, unless the context begins with a system message of its own; None for none."""

    def ask(self, question: Question, option_order: Sequence[int], *, show_query: bool = True) -> str:
        """The user message that asks `question`; with `show_query` off, a control that hides what was asked."""
        ...


class McqWording:
    """Multiple choice: the query, lettered options, how to give a letter.

    Args:
        protocol: how a letter is asked for.
    """

    system_prompt: str | None = SYSTEM_PROMPT

    def __init__(self, protocol: AnswerFormat = "boxed") -> None:
        self.protocol: AnswerFormat = protocol

    def ask(self, question: Question, option_order: Sequence[int], *, show_query: bool = True) -> str:
        query = question.query if show_query else ""
        return ask(query, options_of(question, option_order), self.protocol)


class LeaderboardWording:
    """The query with a request to recall; options, where there are any, in a system message behind it. There is no
    system line: the leaderboard writes none."""

    system_prompt: str | None = None

    def ask(self, question: Question, option_order: Sequence[int], *, show_query: bool = True) -> str:
        """All of it as a user's message, for chats that take no system message at their end."""
        return closing_text(self.close(question, option_order, show_query=show_query))

    def close(self, question: Question, option_order: Sequence[int], *, show_query: bool = True) -> Asking:
        """How a chat that asks `question` ends."""
        query = question.query if show_query else ""
        user = LEADERBOARD_QUERY.format(query=query).lstrip()
        if not option_order:
            return user
        shown = lettered(options_of(question, option_order))
        return Closing(user=user, system=LEADERBOARD_OPTIONS.format(options=shown))


class PlainWording:
    """The query as it is, with the task's system line or none."""

    def __init__(self, system_prompt: str | None = None) -> None:
        self.system_prompt = system_prompt

    def ask(self, question: Question, option_order: Sequence[int], *, show_query: bool = True) -> str:
        return question.query if show_query else ""


def context_messages(context: Context, wording: Wording, profile: Literal["drop", "keep"]) -> list[Message]:
    """What stands before a question: the system line, the context's profile where it is kept, its messages."""
    own_system = bool(context.messages) and context.messages[0].role == "system"
    system = [] if own_system or wording.system_prompt is None else [wording.system_prompt]
    shown = [context.profile] if profile == "keep" and context.profile is not None else []
    return [*(Message(role="system", content=text) for text in system), *shown, *context.messages]


def wording_text(wording: Wording) -> str:
    """All of a wording's own words, for fingerprints: a probe question as it would be asked."""
    probe = Question(
        question_id="", context_id="", cluster="", query="@q", correct_answer="@0", incorrect_answers=("@1", "@2", "@3")
    )
    opened = Question(question_id="", context_id="", cluster="", query="@q", correct_answer="@0")
    asked = [
        wording.ask(probe, (0, 1, 2, 3)),
        wording.ask(probe, (0, 1, 2, 3), show_query=False),
        wording.ask(opened, ()),
    ]
    return "\0".join([wording.system_prompt or "", *asked])


def options_of(question: Question, option_order: Sequence[int]) -> list[str]:
    """The answers as the letters show them."""
    answers = (question.correct_answer, *question.incorrect_answers)
    return [answers[index] for index in option_order]


def shown_order(wording: Wording, question: Question, option_order: Sequence[int]) -> tuple[int, ...]:
    """`option_order` where the message that asks shows every option; empty where the wording leaves options out."""
    asked = wording.ask(question, option_order)
    return tuple(option_order) if all(option in asked for option in options_of(question, option_order)) else ()


def offered_letters(option_order: Sequence[int]) -> tuple[str, ...]:
    """The letters offered, in order."""
    return LETTERS[: len(option_order)]


def gold_letter(option_order: Sequence[int]) -> str:
    """The letter that shows the correct answer."""
    return LETTERS[list(option_order).index(0)]


def ask(query: str, options: Sequence[str], protocol: AnswerFormat = "boxed") -> str:
    """A query (none where it is empty) and its options, at most one per letter; without options the query alone."""
    letters = LETTERS[: len(options)]
    if not options:
        return query
    if protocol == "final_answer":
        return FINAL_ANSWER_TEMPLATE.format(query=query, options=lettered(options)).lstrip()
    shown = "\n".join(f"({letter}) {option}" for letter, option in zip(letters, options, strict=True))
    boxes = " or ".join(f"\\boxed{{{letter}}}" for letter in letters)
    return MCQ_TEMPLATE.format(query=query, options=shown, boxes=boxes).lstrip()


def lettered(options: Sequence[str]) -> str:
    """The options as `A. ...` to `D. ...`, one below the other."""
    letters = LETTERS[: len(options)]
    return "\n".join(f"{letter.upper()}. {option}" for letter, option in zip(letters, options, strict=True))


def sft_target(question: Question, option_order: Sequence[int]) -> str:
    """The paper's cold-start target for a multiple-choice row: the boxed letter, then the option's text."""
    return f"\\boxed{{{gold_letter(option_order)}}} {question.correct_answer}"
