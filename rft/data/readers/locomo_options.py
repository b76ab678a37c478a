"""Multiple choice out of LoCoMo's open questions: an incorrect answer is what another question is answered with.

One option of every question says that the answer is not mentioned. Were it there for adversarial questions alone, it
would give them away: it is their right answer, and it would be no other question's wrong one.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from rft.records import Question

NOT_MENTIONED = "It is not mentioned in the conversation."
"""The right answer of an adversarial question."""


def with_options(questions: Sequence[Question], num_options: int) -> list[Question]:
    """The questions with `num_options` - 1 incorrect answers each, always the same for a question id.

    An adversarial question has the answer that LoCoMo wrote to tempt, another one that it is not mentioned; the rest
    are drawn from the questions of the same category, of the same conversation first. No two are alike.

    Raises:
        ValueError: a category without enough different answers.
    """
    of_category: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        of_category[question.tags["category"]].append(question)
    return [add_options(question, of_category[question.tags["category"]], num_options) for question in questions]


def add_options(question: Question, alike: Sequence[Question], num_options: int) -> Question:
    own = tempting_answer(question) if question.tags["abstention"] == "true" else NOT_MENTIONED
    taken = {normalize(question.correct_answer)}
    chosen: list[str] = []
    for answer in chain([own] if own else [], drawn_answers(question, alike)):
        if len(chosen) == num_options - 1:
            break
        if normalize(answer) not in taken:
            taken.add(normalize(answer))
            chosen.append(answer)
    if len(chosen) < num_options - 1:
        lower = f"set it to {len(chosen) + 1} or lower, or " if chosen else ""
        raise ValueError(
            f"data.options.num_options is {num_options}, but the questions of category {question.tags['category']} "
            f"have only {len(chosen)} incorrect answers for {question.question_id}; {lower}leave it out"
        )
    return replace(question, incorrect_answers=tuple(chosen))


def drawn_answers(question: Question, alike: Sequence[Question]) -> Iterator[str]:
    """Answers of the other questions: those of the same conversation shuffled, then the others shuffled."""
    rng = random.Random(f"answers for {question.question_id}")
    for same in (True, False):
        answers = [
            tempting_answer(other) or other.correct_answer
            for other in alike
            if other.question_id != question.question_id and (other.cluster == question.cluster) == same
        ]
        rng.shuffle(answers)
        yield from answers


def tempting_answer(question: Question) -> str | None:
    """What LoCoMo wrote as the wrong answer of an adversarial question; None for others."""
    found = question.columns["adversarial_answer"]
    return None if found is None else str(found)


def normalize(answer: str) -> str:
    """Two answers that differ in case, spaces or punctuation alone are the same one."""
    return " ".join(re.findall(r"\w+", answer.casefold())) or answer.strip()
