"""LongMemEval (Wu et al., arXiv 2410.10813) as released: one JSON list, each question with its own sessions.

    longmemeval_s_cleaned.json          (or any longmemeval*.json; data.source may also be the file)

The sessions of a question, in the order of their dates, become one context: longmemeval_oracle.json does not have them
in order, and the release's own run_generation.py sorts them. There are no options: a judge compares the answer with the
reference answer. Evidence is what `has_answer` marks.

Left out, and counted: sessions and messages without text, which the release has (its issue 4). Kept: the same session
at two dates, which 13 histories of longmemeval_s_cleaned.json have (issue 54).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from rft.config import DataConfig
from rft.data.dataset import Dataset, RecordError, Split, files_fingerprint
from rft.data.readers.cells import CellError, text_of, to_messages
from rft.data.readers.format_options import check_options
from rft.data.readers.json_release import find_release, read_list, release_name
from rft.data.readers.rows import read_usable_rows
from rft.data.readers.sessions import date_session, places_note
from rft.data.readers.tags import yes_or_no
from rft.records import Context, Message, Question

SESSION_KEYS = ("haystack_sessions", "haystack_dates")

PREFERENCE = "single-session-preference"
"""The type of questions whose answer says what a fitting reply would take into account: a judge is told it as what is
known of the user."""

SESSION_TIME = re.compile(
    r"([0-9]{4})[/-]([0-9]{1,2})[/-]([0-9]{1,2})(?:\s*\([^\W\d]+\))?(?:[\sT]+([0-9]{1,2}):([0-9]{2})(?::[0-9]{2})?)?"
)
"""`2023/05/20 (Sat) 02:21`, or less of it."""


class LongMemEval(Dataset):
    """Open questions about a user's many chat sessions; an evaluation alone."""

    splits: ClassVar[tuple[str, ...]] = ("benchmark",)
    eval_split: ClassVar[str] = "benchmark"
    breakdowns: ClassVar[tuple[str, ...]] = ("question_type", "abstention")
    strata: ClassVar[tuple[str, ...]] = ("question_type",)

    def __init__(self, config: DataConfig) -> None:
        super().__init__(config)
        check_options(config.options, (), "longmemeval")
        self.path = find_release(config.source, "longmemeval", follow_links=config.follow_links)

    @property
    def name(self) -> str:
        return release_name("longmemeval", self.path)

    def split(self, name: str) -> Split:
        self.check_split(name)
        pairs, manifest = self._pairs
        return Split(name=name, questions=tuple(question for question, _ in pairs), manifest=manifest)

    def context(self, context_id: str) -> Context:
        if context_id not in self._contexts:
            raise RecordError("context_absent", f"{self.path} has no question {context_id}")
        return self._contexts[context_id]

    def fingerprint(self) -> str:
        return files_fingerprint([self.path], [self.config.bad_rows])

    @cached_property
    def _pairs(self) -> tuple[list[tuple[Question, Context]], dict[str, Any]]:
        """Each question with its context, and what was read and left out."""
        items, reader = enumerate(read_list(self.path, "questions")), ItemReader(self.path)
        pairs, skipped = read_usable_rows(items, reader.read, self.config.bad_rows, self.path, "question")
        return pairs, {"evidence_not_found": reader.evidence_not_found, "rows_skipped": skipped}

    @cached_property
    def _contexts(self) -> dict[str, Context]:
        return {context.context_id: context for _, context in self._pairs[0]}


class ItemReader:
    """Turns the items of the list into questions and contexts, remembering their ids so that repeats are found."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: dict[str, int] = {}
        self.evidence_not_found = 0
        """Sessions that are said to hold an answer and are not there."""

    def read(self, numbered: tuple[int, Any]) -> tuple[Question, Context]:
        """Raises RecordError when the item cannot be used."""
        number, item = numbered
        place = f"{self.path} question {number} (counted from 0)"
        try:
            question, context = read_item(item)
            num_absent = count_absent(item)
        except CellError as error:
            raise RecordError("question_format", f"{place} {error}") from None
        first = self.seen.setdefault(context.context_id, number)
        if first != number:
            raise RecordError("duplicate", f"{place} repeats question_id {context.context_id} of question {first}")
        self.evidence_not_found += num_absent
        return question, context


def read_item(item: Any) -> tuple[Question, Context]:
    """One question and its sessions as one context.

    Raises:
        CellError: a key that is absent or holds something else.
    """
    if not isinstance(item, dict):
        raise CellError("is no object")
    if missing := [key for key in SESSION_KEYS if key not in item]:
        raise CellError(f"lacks {missing[0]}")
    item_id, answer, question_type = (text_of(item, key) for key in ("question_id", "answer", "question_type"))
    messages, evidence, notes = read_sessions(item_id, item["haystack_sessions"], item["haystack_dates"])
    question = Question(
        question_id=f"longmemeval/{item_id}",
        context_id=item_id,
        cluster=item_id,
        query=f"{text_of(item, 'question')} (Asked on {text_of(item, 'question_date')}.)",
        correct_answer=answer,
        evidence=tuple(evidence),
        tags={"question_type": question_type, "abstention": yes_or_no(item_id.endswith("_abs"))},
        columns={"preference": answer if question_type == PREFERENCE else None},
    )
    return question, Context(context_id=item_id, cluster=item_id, messages=tuple(messages), notes=notes)


def read_sessions(item_id: str, sessions: Any, dates: Any) -> tuple[list[Message], list[Message], dict[str, str]]:
    """The messages of all sessions, those of them that hold the answer, and notes on what is odd."""
    if not isinstance(sessions, list) or not isinstance(dates, list):
        raise CellError("has no list of sessions or of dates")
    if len(sessions) != len(dates):
        raise CellError("has other numbers of sessions and of dates")
    times = [time_of(date) for date in dates]
    order = sorted(range(len(times)), key=times.__getitem__)
    messages: list[Message] = []
    evidence: list[Message] = []
    empty: list[str] = []
    for number in order:
        place = f"session {number}"
        try:
            shown = date_session(dates[number], list(to_messages(sessions[number])))
            marked = [has_answer(turn) for turn in sessions[number]]
        except CellError as error:
            raise CellError(f"{place} (counted from 0): {error}") from None
        messages += [message for message in shown if message]
        evidence += [message for message, is_marked in zip(shown, marked, strict=True) if message and is_marked]
        empty += [place] if not shown else [f"{place} message {i}" for i, message in enumerate(shown) if not message]
    if not messages:
        raise CellError("has no message with text")
    moved = [f"session {number}" for place, number in enumerate(order) if place != number]
    told = {
        "messages_without_text": ("sessions and messages without text are left out", empty),
        "sessions_out_of_order": ("sessions are put in the order of their dates", moved),
    }
    return messages, evidence, {name: places_note(item_id, *note) for name, note in told.items() if note[1]}


def time_of(date: Any) -> datetime:
    """When a session was, to the minute."""
    found = SESSION_TIME.fullmatch(date.strip()) if isinstance(date, str) else None
    try:
        if found is not None:
            return datetime(*(int(part or 0) for part in found.groups()))  # type: ignore[arg-type]
    except ValueError:
        pass
    raise CellError(f"haystack_dates holds {str(date)[:40]!r}, which is no date like 2023/05/20 (Sat) 02:21")


def has_answer(turn: Any) -> bool:
    """Whether a message that `to_messages` has accepted is marked as evidence."""
    found = turn.get("has_answer")
    if not isinstance(found, bool | None):
        raise CellError(f"has_answer is {str(found)[:40]!r} instead of true or false")
    return found is True


def count_absent(item: Mapping[str, Any]) -> int:
    """How many of `answer_session_ids` no session has; 0 where sessions have no ids."""
    ids, answers = item.get("haystack_session_ids"), item.get("answer_session_ids")
    if ids is None or answers is None:
        return 0
    if not isinstance(ids, list) or not isinstance(answers, list):
        raise CellError("has a haystack_session_ids or an answer_session_ids that is no list")
    return sum(answer not in ids for answer in answers)
