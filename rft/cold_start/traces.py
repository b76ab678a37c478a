r"""Reasoning written out, for the cold start of a small model on the synthetic data.

    <think> music : jazz . (a) opera no (b) jazz yes (c) metal no (d) nothing no </think> \boxed{b}

First what the history says about the topic, then what each option goes by with yes or no, then the letter. A small
model learns the letter only so: asked for it right away, it stays at chance.

`nothing` stands for a generic option, and for a history whose word does not count (forgotten, another person's).
`shown` stands for the option that gives a number away.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from rft.data.prompts import LETTERS
from rft.records import Question
from rft.synthetic import wording as text

TAGS = ("pref_type", "who", "updated", "topic")
"""What a trace needs to know of a question."""


def is_synthetic(question: Question) -> bool:
    """Whether a trace can be written for it: it has the tags, a known topic, and answers with known words."""
    known = {*text.PURPOSES, *(topic.name for topic in text.TOPICS)}
    if not set(TAGS) <= question.tags.keys() or question.tags["topic"] not in known:
        return False
    try:
        return bool([gist(answer) for answer in (question.correct_answer, *question.incorrect_answers)])
    except ValueError:
        return False


def is_hard(question: Question) -> bool:
    """Whether a careless reading gets it wrong: `incorrect_answers[0]` is then what it picks."""
    tags = question.tags
    return (
        tags["updated"] == "true" or tags["who"] == "others" or tags["pref_type"] in ("ask_to_forget", "sensitive_info")
    )


def demonstrates_right(question: Question, right_share_hard: float, seed: int) -> bool:
    """Whether the demonstration of this question is right: always where it is not hard, else by a seeded draw."""
    draw = random.Random(f"right {seed} {question.question_id}").random()
    return not is_hard(question) or draw < right_share_hard


def trace_target(question: Question, option_order: Sequence[int], right: bool) -> str:
    """The reply that shows the right reading of the history, or with `right=False` the careless one."""
    chosen = 0 if right else 1
    return written_out(question, option_order, reading(question, right), chosen)


def written_out(question: Question, option_order: Sequence[int], reading: str, chosen: int | None) -> str:
    """A trace that finds `reading` and takes answer `chosen` (0 is the correct one), or with None a letter at random
    after no option fitted."""
    answers = (question.correct_answer, *question.incorrect_answers)
    letters = LETTERS[: len(option_order)]
    verdicts = " ".join(
        f"({letter}) {gist(answers[index])} {'yes' if index == chosen else 'no'}"
        for letter, index in zip(letters, option_order, strict=True)
    )
    if chosen is None:
        letter = random.Random(f"guess {question.question_id}").choice(letters)
    else:
        letter = letters[list(option_order).index(chosen)]
    return f"<think> {question.tags['topic']} : {reading} . {verdicts} </think> \\boxed{{{letter}}}"


def reading(question: Question, right: bool) -> str:
    """What the history says about the topic: the gist of the answer that it leads to, after the kind of a number."""
    if question.tags["pref_type"] == "sensitive_info":
        return gist(question.correct_answer) + ("" if right else " shown")
    return gist(question.correct_answer if right else question.incorrect_answers[0])


def gist(answer: str) -> str:
    """The one word that an answer goes by.

    Raises:
        ValueError: the answer holds none of the known words, so the data are not synthetic.
    """
    words = re.findall(r"[a-z]+|\d+", answer)
    for word in words:
        if word in text.TOPIC_OF or word in text.SECRETS:
            return word
        if word in text.GENERIC:
            return "nothing"
        if word.isdigit():
            return "shown"
    raise ValueError(f"no known value in {answer!r}; traces need data written by rft/make_data.py synthetic")
