"""A candidate's question and its four options, of lengths that are drawn beforehand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rft.making.audited import unfit_texts
from rft.making.caller import Caller, Request
from rft.making.calls import CallRow
from rft.making.config import PromptName
from rft.making.duplicates import letters_of
from rft.making.plan import Variant
from rft.making.schemas import CHARS_PER_WORD, options_reply
from rft.making.seeds import rng_of
from rft.making.talks import Subject, talk_ids

LENGTHS = (0.75, 0.95, 1.15, 1.35)
"""Of the four options, as multiples of `option_words`."""

QUESTION_PROMPTS: dict[Variant, PromptName] = {
    "plain": "question",
    "updated": "question_updated",
    "others": "question_others",
    "forget": "question_forget",
    "secret": "question_secret",
}

ARTEFACT = re.compile(
    r"^(right|wrong|query|answer|option)\b.{0,3}[:=]|\b(option|answer) (?-i:[A-D1-4])\b|^\(?(?-i:[A-D])[.):]\s"
    r"|```|\bas an AI\b|\bJSON\b|\{\w*\}|\b(right|wrong) answer\b|\bpersonali[sz]ed\b",
    re.IGNORECASE | re.MULTILINE,
)
"""What belongs to the making of a question and not into it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionText:
    """
    Example:
        QuestionText(query="Any idea for my evening?", topic="music", right="...", wrong=("...", "...", "..."),
                     made_by=("p3/s7/question", "p3/s7/options"))
    """

    query: str
    topic: str
    right: str
    wrong: tuple[str, ...]
    """The first is what a careless reader of the history would pick."""
    made_by: tuple[str, ...]
    """The requests that its options come from; the last one may have brought none."""

    @property
    def options(self) -> tuple[str, ...]:
        return (self.right, *self.wrong)


def question_request(caller: Caller, subject: Subject) -> Request:
    config, slot = caller.config, subject.slot
    return Request(
        id=f"{slot.id}/question",
        parents=tuple(talk_ids(slot)),
        prompt=QUESTION_PROMPTS[slot.cell.variant],
        fields=subject.fields | length_fields(config.seed, subject, config.option_words),
        schema=options_reply(config.option_words, question=True),
        model=config.stages.questions,
        max_tokens=300 + 4 * 2 * config.option_words * CHARS_PER_WORD // 4,
        check=lambda value: question_problem(subject, value),
    )


def options_request(caller: Caller, subject: Subject, question: QuestionText) -> Request:
    """Asks for the same options in the lengths that were drawn."""
    config = caller.config
    return Request(
        id=f"{subject.slot.id}/options",
        parents=(f"{subject.slot.id}/question",),
        prompt="options",
        fields={
            "query": question.query,
            "right": question.right,
            "wrong": "\n".join(f"{place}. {text}" for place, text in enumerate(question.wrong, 1)),
            **length_fields(config.seed, subject, config.option_words),
        },
        schema=options_reply(config.option_words, question=False),
        model=config.stages.questions,
        max_tokens=200 + 4 * 2 * config.option_words * CHARS_PER_WORD // 4,
        check=lambda value: rewriting_problem(subject, question, value),
    )


def length_fields(seed: int, subject: Subject, words: int) -> dict[str, str]:
    sizes = [round(words * length) for length in LENGTHS]
    right = sizes.pop(subject.slot.rank)
    rng_of(seed, "lengths", subject.slot.id).shuffle(sizes)
    return {"right_words": str(right), "wrong_words": f"{sizes[0]}, {sizes[1]} and {sizes[2]}"}


def question_text(row: CallRow) -> QuestionText:
    assert row.value is not None
    value = row.value
    return QuestionText(
        query=value["query"], topic=value["topic"], right=value["right"], wrong=tuple(value["wrong"]), made_by=(row.id,)
    )


def length_rank(options: Sequence[str]) -> int | None:
    """How many options are shorter than the first one; None where another is as long."""
    first, *others = map(len, options)
    return None if first in others else sum(length < first for length in others)


def question_problem(subject: Subject, value: Mapping[str, Any]) -> str | None:
    """What is wrong with a question that a machine can see."""
    if not letters_of(value["query"]):
        return "query_without_words"
    if subject.slot.cell.variant == "others" and names(subject.other_name, f"{value['query']} {value['right']}"):
        return "other_person_named"
    return options_problem(subject, [value["right"], *value["wrong"]], value["query"])


def names(name: str, text: str) -> bool:
    """Whether a text has the name as a word of its own."""
    return re.search(rf"\b{re.escape(name)}\b", text) is not None


def rewriting_problem(subject: Subject, question: QuestionText, value: Mapping[str, Any]) -> str | None:
    options = [value["right"], *value["wrong"]]
    if length_rank(options) != subject.slot.rank:
        return "length_as_before"
    return options_problem(subject, options, question.query)


def options_problem(subject: Subject, options: Sequence[str], query: str) -> str | None:
    """What the audit would call unfit, or what belongs to the making."""
    if any(ARTEFACT.search(text) for text in (query, *options)):
        return "artefact"
    if subject.secret:
        secrets = (subject.secret, subject.other_secret)
        shown = [[letters_of(secret) in letters_of(text) for secret in secrets] for text in (query, *options)]
        if shown != [[False, False], [False, False], [True, False], [False, True], [False, False]]:
            return "secrets_not_as_asked"
    return next(iter(unfit_texts(query, options)), None)
