"""LongMemEval (Wu et al., arXiv 2410.10813) as released: one JSON list, each question with its own sessions.

    longmemeval_s_cleaned.json          (or any longmemeval*.json; data.source may also be the file)

The sessions of a question, in their order, become one context. There are no options: a judge compares the answer with
the reference answer.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from rft.config import DataConfig
from rft.data.dataset import Dataset, RecordError, Split, files_fingerprint
from rft.data.readers.cells import CellError, encodable, text_of, to_messages
from rft.data.readers.format_options import check_options
from rft.data.readers.json_release import find_release, read_list, release_name
from rft.data.readers.rows import read_rows
from rft.data.readers.sessions import date_session
from rft.data.readers.tags import yes_or_no
from rft.records import Context, Message, Question

SESSION_KEYS = ("haystack_sessions", "haystack_dates")


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
        pairs, skipped = self._pairs
        questions = tuple(question for question, _ in pairs)
        return Split(name=name, questions=questions, manifest={"rows_skipped": skipped})

    def context(self, context_id: str) -> Context:
        if context_id not in self._contexts:
            raise RecordError("context_absent", f"{self.path} has no question {context_id}")
        return self._contexts[context_id]

    def fingerprint(self) -> str:
        return files_fingerprint([self.path], [self.config.bad_rows])

    @cached_property
    def _pairs(self) -> tuple[list[tuple[Question, Context]], dict[str, int]]:
        """Each question with its context, and how many items were skipped, by reason."""
        items = enumerate(read_list(self.path, "questions"))
        pairs, skipped = read_rows(items, ItemReader(self.path).read, self.config.bad_rows)
        if not pairs:
            raise ValueError(f"{self.path} holds no usable question; fetch it again")
        return pairs, skipped

    @cached_property
    def _contexts(self) -> dict[str, Context]:
        return {context.context_id: context for _, context in self._pairs[0]}


class ItemReader:
    """Turns the items of the list into questions and contexts, remembering their ids so that repeats are found."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: dict[str, int] = {}

    def read(self, numbered: tuple[int, Any]) -> tuple[Question, Context]:
        """Raises RecordError when the item cannot be used."""
        number, item = numbered
        place = f"{self.path} question {number} (counted from 0)"
        try:
            question, context = read_item(item)
        except CellError as error:
            raise RecordError("question_format", f"{place} {error}") from None
        first = self.seen.setdefault(context.context_id, number)
        if first != number:
            raise RecordError("duplicate", f"{place} repeats question_id {context.context_id} of question {first}")
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
    messages, evidence = read_sessions(item["haystack_sessions"], item["haystack_dates"])
    item_id = text_of(item, "question_id")
    question = Question(
        question_id=f"longmemeval/{item_id}",
        context_id=item_id,
        cluster=item_id,
        query=f"{text_of(item, 'question')} (Asked on {text_of(item, 'question_date')}.)",
        correct_answer=text_of(item, "answer"),
        evidence=tuple(evidence),
        tags={
            "question_type": text_of(item, "question_type"),
            "abstention": yes_or_no(item_id.endswith("_abs")),
        },
    )
    return question, Context(context_id=item_id, cluster=item_id, messages=tuple(messages))


def read_sessions(sessions: Any, dates: Any) -> tuple[list[Message], list[Message]]:
    """The messages of all sessions, and those of them that hold the answer."""
    if not isinstance(sessions, list) or not isinstance(dates, list):
        raise CellError("has no list of sessions or of dates")
    if len(sessions) != len(dates):
        raise CellError("has other numbers of sessions and of dates")
    if not all(isinstance(date, str) for date in dates):
        raise CellError("haystack_dates holds something that is not text")
    messages: list[Message] = []
    evidence: list[Message] = []
    for session, date in zip(sessions, dates, strict=True):
        shown = date_session(encodable(date), list(to_messages(session)))
        messages += [message for message in shown if message]
        evidence += [
            message for message, turn in zip(shown, session, strict=True) if message and turn.get("has_answer")
        ]
    if not messages:
        raise CellError("has no message with text")
    return messages, evidence
