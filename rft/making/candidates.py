"""From slots to candidates: each with its conversations, its question, what judges said, and why it was dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rft.making.audited import repeated_queries
from rft.making.caller import Caller, Request
from rft.making.calls import CallRow
from rft.making.checks import ANSWERS, answering_requests, judged, reading_problem, reading_requests, share_right
from rft.making.duplicates import near_duplicates
from rft.making.people import Person
from rft.making.plan import Slot
from rft.making.questions import QuestionText, length_rank, options_request, question_request, question_text
from rft.making.talks import Subject, messages_of, subject_of, talk_ids, talk_requests
from rft.records import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A slot and what became of it.

    Example:
        Candidate(slot=slot, subject=subject, talks=((...), (...)), question=QuestionText(...), problem=None,
                  blind=0.0, options_only=0.5)
    """

    slot: Slot
    subject: Subject | None = None
    talks: tuple[list[dict[str, str]], ...] = ()
    """The messages of each conversation, in the order in which they were held; the last one is the evidence."""
    question: QuestionText | None = None
    problem: str | None = None
    """Why it is not in the data set, by the first thing that was wrong."""
    blind: float | None = None
    """Share of tries in which judges chose the right option from the question alone; None where none was asked."""
    options_only: float | None = None
    """The same from the options alone."""

    @property
    def passes(self) -> bool:
        return self.problem is None


def make_candidates(
    caller: Caller, people: Mapping[int, Person], slots: Sequence[Slot], before: Sequence[Candidate] = ()
) -> list[Candidate]:
    """One per slot, in their order; stage by stage, and only of those that are still good something more is asked.

    Args:
        people: by number; slots of others fail.
        before: candidates that pass, which the new ones must not repeat.
    """
    found = [with_subject(caller, slot, people.get(slot.persona)) for slot in slots]
    found = with_talks(caller, found)
    found = with_questions(caller, found)
    found = without_duplicates(caller, found, before)
    found = with_readings(caller, found)
    return with_answers(caller, found)


def with_subject(caller: Caller, slot: Slot, person: Person | None) -> Candidate:
    if person is None:
        return Candidate(slot=slot, problem="no_persona")
    subject = subject_of(caller.config.seed, slot, person)
    if isinstance(subject, str):
        return Candidate(slot=slot, problem=subject)
    return Candidate(slot=slot, subject=subject)


def asked(
    caller: Caller, stage: str, found: Sequence[Candidate], requests_of: Mapping[str, list[Request]]
) -> dict[str, CallRow]:
    """All rows of a stage, in one go."""
    return caller.run(stage, [request for one in found if one.passes for request in requests_of[one.slot.id]])


def with_talks(caller: Caller, found: Sequence[Candidate]) -> list[Candidate]:
    requests = {one.slot.id: talk_requests(caller, one.subject) for one in found if one.passes and one.subject}
    rows = asked(caller, "conversations", found, requests)
    return [with_its_talks(one, rows) if one.passes else one for one in found]


def with_its_talks(one: Candidate, rows: Mapping[str, CallRow]) -> Candidate:
    own = [rows[item] for item in talk_ids(one.slot)]
    if failed := [row.failure for row in own if row.value is None]:
        return replace(one, problem=f"conversation: {failed[0]}")
    return replace(one, talks=tuple(messages_of(row.value) for row in own if row.value is not None))


def with_questions(caller: Caller, found: Sequence[Candidate]) -> list[Candidate]:
    """Questions, and their options once more where the right one has not the length that was drawn for it."""
    requests = {one.slot.id: [question_request(caller, one.subject)] for one in found if one.passes and one.subject}
    rows = asked(caller, "questions", found, requests)
    written = []
    for one in found:
        if one.passes:
            row = rows[f"{one.slot.id}/question"]
            text = question_text(row) if row.value is not None else None
            one = replace(one, question=text, problem=None if text else f"question: {row.failure}")
        written.append(one)
    return with_lengths(caller, written) if "lengths" in caller.config.filters.use else written


def with_lengths(caller: Caller, found: Sequence[Candidate]) -> list[Candidate]:
    requests = {
        one.slot.id: [options_request(caller, one.subject, one.question)]
        if length_rank(one.question.options) != one.slot.rank
        else []
        for one in found
        if one.passes and one.subject and one.question
    }
    rows = asked(caller, "options", found, requests)
    written = []
    for one in found:
        row = rows.get(f"{one.slot.id}/options")
        if row is not None and one.question is not None:
            text = replace(one.question, made_by=(*one.question.made_by, row.id))
            if row.value is not None:
                text = replace(text, right=row.value["right"], wrong=tuple(row.value["wrong"]))
            one = replace(one, question=text)
        written.append(one)
    return written


def without_duplicates(caller: Caller, found: Sequence[Candidate], before: Sequence[Candidate]) -> list[Candidate]:
    filters = caller.config.filters
    if "near_duplicate" not in filters.use:
        return list(found)
    whole = [one for one in (*before, *found) if one.question is not None and one.passes]
    texts = [f"{one.question.query} {one.question.right}" for one in whole if one.question]
    repeated = {whole[place].slot.id for place in near_duplicates(texts, filters.duplicate_ratio)}
    repeated |= repeated_queries([as_row(one) for one in whole])
    return [
        replace(one, problem="near_duplicate") if one.passes and one.slot.id in repeated else one for one in found
    ]  # fmt: skip


def as_row(one: Candidate) -> Question:
    """The row of the data set that a candidate may become, as far as rows are compared with each other."""
    assert one.question is not None and one.subject is not None
    return Question(
        question_id=one.slot.id,
        context_id="",
        cluster=str(one.slot.persona),
        query=one.question.query,
        correct_answer=one.question.right,
        incorrect_answers=one.question.wrong,
        tags={"topic": one.subject.topic},
        columns={"preference": one.subject.preference},
    )


def with_readings(caller: Caller, found: Sequence[Candidate]) -> list[Candidate]:
    requests = {
        one.slot.id: reading_requests(caller, one.subject, one.question, evidence_of(one))
        for one in found
        if one.passes and one.subject and one.question
    }
    rows = asked(caller, "checks", found, requests)
    return [
        replace(one, problem=reading_problem(caller, one.subject, rows)) if one.passes and one.subject else one
        for one in found
    ]


def evidence_of(one: Candidate) -> list[dict[str, str]]:
    """What shows the preference: of an interest that is asked about again and again, every conversation."""
    talks = one.talks if one.slot.num_conversations > 1 else one.talks[-1:]
    return [message for talk in talks for message in talk]


def with_answers(caller: Caller, found: Sequence[Candidate]) -> list[Candidate]:
    requests = {
        one.slot.id: answering_requests(caller, one.subject, one.question)
        for one in found
        if one.passes and one.subject and one.question
    }
    rows = asked(caller, "checks", found, requests)
    filters = caller.config.filters
    answered = []
    for one in found:
        if one.passes and one.subject:
            shares = {
                name: share_right(caller, one.subject, name, rows) for name in judged(caller, one.subject, ANSWERS)
            }
            unanswered = [name for name, share in shares.items() if share is None]
            blind = shares.get("blind")
            problem = f"no_verdict_{unanswered[0]}" if unanswered else None
            if blind is not None and blind > filters.most_blind_right:
                problem = "answerable_without_history"
            one = replace(one, blind=blind, options_only=shares.get("options_only"), problem=problem)
        answered.append(one)
    return answered
