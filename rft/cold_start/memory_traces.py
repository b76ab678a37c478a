r"""Memories written out, for the cold start of a small model on the synthetic data.

    1. music: jazz
    2. insurance: passport

A note per topic of which a chunk says what the user goes by. A right memory replaces what has changed, empties what is
to be forgotten, and holds nothing about other people. In the demonstrations a careless update starts over: it holds
what the chunk says and nothing from before. So the model starts forgetful, and at times is not.

Notes are numbered and keep their lines, because a small model learns to carry a list on by looking up the next number,
and hardly learns it from the line before.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rft.cold_start.traces import gist, written_out
from rft.data.chunks import Chunk, last_message_of, turn_that_reads
from rft.records import Message, Question

Notes = dict[str, str]
"""Topic -> value, in the order they were noted."""

NOTHING = "nothing"
"""The value of what was forgotten, and the memory of no notes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What one message says about one topic.

    Example:
        Event(message=12, topic="music", value="jazz")
    """

    message: int
    """Index in the context."""
    topic: str
    value: str | None
    """None: forget it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One update of a demonstration.

    Example:
        Step(turn=1, before={"music": "jazz"}, after={"music": "jazz", "pet": "geckos"})
    """

    turn: int
    before: Notes
    after: Notes


def text_of(notes: Notes) -> str:
    """The memory that these notes are; a memory of none says so."""
    lines = [f"{number}. {topic}: {value}" for number, (topic, value) in enumerate(notes.items(), 1)]
    return "\n".join(lines) or NOTHING


def events(questions: Sequence[Question], messages: Sequence[Message]) -> list[Event]:
    """What a history says about the topics of its questions, in its order."""
    found = [event for question in questions for event in events_of(question, messages)]
    return sorted(found, key=lambda event: event.message)


def events_of(question: Question, messages: Sequence[Message]) -> list[Event]:
    """In the history's order; none for what is another person's."""
    last = last_message_of(question.evidence, messages)
    assert last is not None, "synthetic evidence stands in its history"
    topic, begin = question.tags["topic"], last - len(question.evidence) + 1
    right, careless = gist(question.correct_answer), gist(question.incorrect_answers[0])
    if question.tags["who"] == "others":
        return []
    if question.tags["pref_type"] == "ask_to_forget":
        shown = first_with((careless,), messages, begin)
        return [Event(message=shown, topic=topic, value=careless), Event(message=last, topic=topic, value=None)]
    found = [Event(message=first_with((right,), messages, begin), topic=topic, value=right)]
    if question.tags["updated"] == "true":
        earlier = first_with((topic, careless), messages, 0)
        found.insert(0, Event(message=earlier, topic=topic, value=careless))
    return found


def first_with(words: Sequence[str], messages: Sequence[Message], begin: int) -> int:
    """Index of the first message from `begin` on in which all of `words` stand."""
    return next(
        index
        for index in range(begin, len(messages))
        if all(re.search(rf"\b{re.escape(word)}\b", messages[index].content, re.IGNORECASE) for word in words)
    )


def rewrite(notes: Notes, news: Sequence[Event], *, keep: bool = True) -> Notes:
    """The notes after a chunk that says `news`; those from before stay or, carelessly, all go."""
    after = dict(notes) if keep else {}
    for event in news:
        if event.value is not None:
            after[event.topic] = event.value
        elif event.topic in after:
            after[event.topic] = NOTHING
    return after


def demonstrate(
    timeline: Sequence[Event], chunks: Sequence[Chunk], keep_share: float, rng: random.Random
) -> list[Step]:
    """A careless writing of one history's memory, update by update.

    In every second demonstration the notes carried over are complete all the same, so that the model also sees what to
    do with a full memory.
    """
    complete = rng.random() < 0.5
    notes: Notes = {}
    steps = []
    for turn in range(len(chunks)):
        news = [event for event in timeline if turn_that_reads(event.message, chunks) == turn]
        after = rewrite(notes, news, keep=rng.random() < keep_share)
        steps.append(Step(turn=turn, before=notes, after=after))
        notes = rewrite(notes, news) if complete else after
    return steps


def answer_from(question: Question, option_order: Sequence[int], notes: Notes) -> str:
    """The trace that answers from these notes: the option that is noted, the generic one where nothing is."""
    read = notes.get(question.tags["topic"], NOTHING)
    gists = [gist(answer) for answer in (question.correct_answer, *question.incorrect_answers)]
    return written_out(question, option_order, read, gists.index(read) if read in gists else None)
