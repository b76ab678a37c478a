"""What judges say of a question, and what follows from it.

Each judge is asked by itself; where more than half of those that gave a verdict object, the question is dropped with
the reason. No verdict at all is an objection, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rft.making.caller import Caller, Request
from rft.making.calls import CallRow
from rft.making.config import FiltersConfig, PromptName
from rft.making.plan import Cell
from rft.making.questions import QuestionText
from rft.making.schemas import AnswerReply, LettersReply, Reply, VerdictReply
from rft.making.seeds import rng_of
from rft.making.talks import Subject, talk_ids

LETTERS = "ABCD"
MAX_TOKENS = 120

READINGS: tuple[PromptName, ...] = ("hint", "evidence", "reflects")
ANSWERS: tuple[PromptName, ...] = ("blind", "options_only")

Messages = Sequence[Mapping[str, str]]


def is_judged(filters: FiltersConfig, cell: Cell, name: PromptName) -> bool:
    """Whether judges are asked for this filter about a question of this kind. Of a secret a machine sees all that
    hint, evidence and reflects are for."""
    if name not in filters.use or (cell.variant == "secret" and name in READINGS):
        return False
    return cell.pref_type not in getattr(filters.exempt, name)


def reading_requests(caller: Caller, subject: Subject, question: QuestionText, evidence: Messages) -> list[Request]:
    """For hint, evidence and reflects."""
    fields: dict[str, Any] = {
        "query": question.query,
        "preference": subject.preference,
        "about": subject.other_name if subject.slot.cell.variant == "others" else "the user",
        "conversation": "\n\n".join(f"{message['role']}: {message['content']}" for message in evidence),
    }
    requests = []
    for number, judge in enumerate(caller.config.stages.judges):
        for name in judged(caller, subject, READINGS):
            schema: type[Reply] = LettersReply if name == "reflects" else VerdictReply
            order = option_order(caller, subject, name, number, 0)
            shown = fields | {"options": lettered(question, order)}
            parents = (*question.made_by, *(talk_ids(subject.slot) if name == "evidence" else ()))
            requests.append(check_request(subject, name, f"{number}", parents, judge, shown, schema))
    return requests


def judged(caller: Caller, subject: Subject, names: Sequence[PromptName]) -> list[PromptName]:
    return [name for name in names if is_judged(caller.config.filters, subject.slot.cell, name)]


def answering_requests(caller: Caller, subject: Subject, question: QuestionText) -> list[Request]:
    """For blind and options_only."""
    requests = []
    for number, judge in enumerate(caller.config.stages.judges):
        for name in judged(caller, subject, ANSWERS):
            for turn in range(caller.config.filters.option_orders):
                order = option_order(caller, subject, name, number, turn)
                fields = {"query": question.query, "options": lettered(question, order)}
                which = f"{number}.{turn}"
                requests.append(check_request(subject, name, which, question.made_by, judge, fields, AnswerReply))
    return requests


def check_request(
    subject: Subject,
    name: PromptName,
    which: str,
    parents: tuple[str, ...],
    judge: str,
    fields: dict[str, Any],
    schema: type[Reply],
) -> Request:
    return Request(
        id=f"{subject.slot.id}/{name}{which}",
        parents=parents,
        prompt=name,
        fields=fields,
        schema=schema,
        model=judge,
        max_tokens=MAX_TOKENS,
        greedy=True,
    )


def option_order(caller: Caller, subject: Subject, name: str, judge: int, turn: int) -> list[int]:
    """Which option stands behind each letter; 0 is the right one. Orders of one judge put it behind different letters,
    as far as there are letters."""
    order = rng_of(caller.config.seed, "order", subject.slot.id, name, judge, turn).sample(range(1, 4), 3)
    first = rng_of(caller.config.seed, "letter", subject.slot.id, name, judge).randrange(4)
    order.insert((first + turn) % 4, 0)
    return order


def lettered(question: QuestionText, order: Sequence[int]) -> str:
    return "\n".join(f"{letter}. {question.options[place]}" for letter, place in zip(LETTERS, order, strict=True))


# ---------------------------------------------------------------------------------------------------- what follows


def reading_problem(caller: Caller, subject: Subject, rows: Mapping[str, CallRow]) -> str | None:
    """Why the question is dropped, or None."""
    reads: dict[PromptName, Callable[[Mapping[str, Any], int], str | None]] = {
        "hint": lambda value, _: "query_gives_preference_away" if value["verdict"] == "yes" else None,
        "evidence": lambda value, _: "conversation_does_not_show_preference" if value["verdict"] == "no" else None,
        "reflects": lambda value, judge: reflects_problem(
            subject, {option_order(caller, subject, "reflects", judge, 0)[LETTERS.index(x)] for x in value["letters"]}
        ),
    }
    for name in judged(caller, subject, READINGS):
        found = [rows[f"{subject.slot.id}/{name}{number}"] for number in range(len(caller.config.stages.judges))]
        verdicts = [reads[name](row.value, judge) for judge, row in enumerate(found) if row.value is not None]
        if problem := majority(verdicts):
            return problem
    return None


def reflects_problem(subject: Subject, reflecting: set[int]) -> str | None:
    """
    Args:
        reflecting: the options that are made for somebody with the preference; 0 is the right one.
    """
    if subject.slot.cell.variant in ("others", "forget"):
        if 0 in reflecting:
            return "right_answer_uses_preference"
        return None if reflecting else "no_wrong_answer_uses_preference"
    if 0 not in reflecting:
        return "right_answer_misses_preference"
    return "wrong_answer_fits_preference" if len(reflecting) > 1 else None


def majority(verdicts: Sequence[str | None]) -> str | None:
    """The most frequent objection, where more than half object."""
    if not verdicts:
        return "no_verdict"
    objections = [verdict for verdict in verdicts if verdict is not None]
    return Counter(objections).most_common(1)[0][0] if 2 * len(objections) > len(verdicts) else None


def share_right(caller: Caller, subject: Subject, name: str, rows: Mapping[str, CallRow]) -> float | None:
    """How often the right option was chosen; None where nobody chose any."""
    hits = []
    for number in range(len(caller.config.stages.judges)):
        for turn in range(caller.config.filters.option_orders):
            row = rows[f"{subject.slot.id}/{name}{number}.{turn}"]
            if row.value is not None:
                order = option_order(caller, subject, name, number, turn)
                hits.append(order[LETTERS.index(row.value["answer"])] == 0)
    return sum(hits) / len(hits) if hits else None
