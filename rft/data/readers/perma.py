r"""PERMA (Liu et al., arXiv 2603.23231, Apache-2.0) as released: what users said over months, and multiple choice.

    tasks/user108/interleaved_timeline.json     [{"task_id": ..., "date": "2023-01-15 Morning"}, ...], in order
    tasks/user108/raw_dialogues_c.json          [{"topic": ..., "dialogs": [{"task_id", "conversation": [{role,
                                                 content}, ...], ...}]}, ...]; `_n` with noise, `_s` in the user's style
    evaluation/user108/meta/overall/SD-Books-task-1_3.json
                                                {"task_id", "question", "question_date": "2023-10-10", "task_type": 3,
                                                 "options": "A: ...\nB: ...", "gold_label": "E"}

A question's context is every session of the timeline up to the day of the question, so contexts of one user begin
alike. A session of the same day counts as one before the question: the release gives questions no time of day. What it
says besides (preferences, descriptions, goals) is about the answers and is not read.

`data.options.dialogues` chooses c (clean, the default), n (noisy) or s (style).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from rft.config import DataConfig
from rft.data.dataset import Dataset, RecordError, Split, files_fingerprint
from rft.data.prompts import LETTERS
from rft.data.readers.cells import CellError, parse_json, text_of, to_messages
from rft.data.readers.data_files import SourceFolder, check_text_file, looked_in, source_path
from rft.data.readers.format_options import check_options
from rft.data.readers.json_release import read_list
from rft.data.readers.rows import read_rows
from rft.data.readers.sessions import date_session
from rft.records import Context, Message, Question

DIALOGUES = ("c", "n", "s")
QUESTIONS = "evaluation/*/meta/overall/*.json"
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\b")
KINDS = {"SD": "single_domain", "MD": "multi_domain"}
STAGES = {1: "before", 2: "in_time", 3: "afterwards"}
"""By `task_type`: when a question is asked, compared with the sessions that matter for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One conversation of a user.

    Example:
        Session(day=date(2023, 1, 15), messages=(Message(role="user", content="[2023-01-15 Morning] Hi ..."), ...))
    """

    day: date
    messages: tuple[Message, ...]


class Perma(Dataset):
    """Multiple-choice questions about users whose preferences grow and change; an evaluation alone."""

    splits: ClassVar[tuple[str, ...]] = ("benchmark",)
    eval_split: ClassVar[str] = "benchmark"
    breakdowns: ClassVar[tuple[str, ...]] = ("kind", "stage")
    strata: ClassVar[tuple[str, ...]] = ("kind", "stage")

    def __init__(self, config: DataConfig) -> None:
        super().__init__(config)
        check_options(config.options, ("dialogues",), "perma")
        self.dialogues = dialogues_of(config.options)
        self.path = source_path(config.source)
        self.folder = SourceFolder(self.path, follow_links=config.follow_links)
        self.files = sorted(self.path.glob(QUESTIONS))
        if not self.files:
            raise ValueError(
                f"data.source {config.source} holds no {QUESTIONS}{looked_in(self.path)}; fetch PERMA's release and "
                "name the folder that holds evaluation and tasks"
            )

    @property
    def name(self) -> str:
        return f"perma-{self.dialogues}"

    def split(self, name: str) -> Split:
        self.check_split(name)
        questions, skipped = read_rows(self.files, self.read_question, self.config.bad_rows)
        if not questions:
            raise ValueError(f"{self.path} holds no usable question; fetch it again")
        questions.sort(key=lambda question: (question.cluster, question.context_id))
        return Split(name=name, questions=tuple(questions), manifest={"rows_skipped": skipped})

    def context(self, context_id: str) -> Context:
        user, _, day = context_id.partition("/")
        until = date.fromisoformat(day)
        messages = tuple(m for session in self.sessions(user) if session.day <= until for m in session.messages)
        return Context(context_id=context_id, cluster=user, messages=messages)

    def fingerprint(self) -> str:
        read = [*self.files, *self.path.glob("tasks/*/*.json")]
        return files_fingerprint(read, [self.dialogues, self.config.bad_rows])

    def read_question(self, path: Path) -> Question:
        """Raises RecordError when the question, or the user's sessions, cannot be used."""
        user = path.parents[2].name
        try:
            question = question_of(user, path.stem, self.read_object(path))
        except CellError as error:
            raise RecordError("question_format", f"{path} {error}") from None
        self.sessions(user)
        return question

    def sessions(self, user: str) -> Sequence[Session]:
        """The sessions of a user, in order.

        Raises:
            RecordError: they are absent or cannot be used.
        """
        if user not in self._sessions:
            timeline = self.path / "tasks" / user / "interleaved_timeline.json"
            dialogues = timeline.with_name(f"raw_dialogues_{self.dialogues}.json")
            try:
                self._sessions[user] = sessions_of(*(self.read_list(file) for file in (timeline, dialogues)))
            except CellError as error:
                raise RecordError("context_format", f"{timeline.parent} {error}") from None
        return self._sessions[user]

    @cached_property
    def _sessions(self) -> dict[str, Sequence[Session]]:
        return {}

    def read_object(self, path: Path) -> Mapping[str, Any]:
        self.folder.check(path)
        try:
            found = parse_json(path.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError:
            raise CellError("is not UTF-8") from None
        if not isinstance(found, dict):
            raise CellError("is no object")
        return found

    def read_list(self, path: Path) -> list[Any]:
        """A list of a user's folder.

        Raises:
            CellError: it is absent or cannot be read.
        """
        try:
            check_text_file(path, self.folder)
            return read_list(path, "sessions")
        except ValueError as error:
            raise CellError(f"cannot be used: {error}") from None


def dialogues_of(options: Mapping[str, Any]) -> str:
    """`data.options.dialogues`."""
    found = options.get("dialogues", DIALOGUES[0])
    if found not in DIALOGUES:
        raise ValueError(f"data.options.dialogues must be one of {', '.join(DIALOGUES)}, not {found!r}")
    return str(found)


# -------------------------------------------------------------------------------------------------------- questions


def question_of(user: str, name: str, item: Mapping[str, Any]) -> Question:
    """One question.

    Args:
        user: of it, such as `user108`.
        name: of its file.
        item: what the file holds.

    Raises:
        CellError: a key that is absent or holds something else.
    """
    day = day_of(text_of(item, "question_date"), "question_date")
    options = options_of(text_of(item, "options"))
    label = text_of(item, "gold_label").strip()
    if label not in options:
        raise CellError(f"gold_label is {label[:40]!r}, and the options are {', '.join(options)}")
    task_type = item.get("task_type")
    stage = STAGES.get(task_type) if isinstance(task_type, int) else None
    kind = KINDS.get(text_of(item, "task_id").partition("-")[0])
    if stage is None or kind is None:
        raise CellError("has a task_type other than 1, 2 or 3, or a task_id that begins with neither SD- nor MD-")
    right = options.pop(label)
    return Question(
        question_id=f"{user}/{name}",
        context_id=f"{user}/{day.isoformat()}",
        cluster=user,
        query=text_of(item, "question"),
        correct_answer=right,
        incorrect_answers=tuple(options.values()),
        tags={"kind": kind, "stage": stage},
    )


def options_of(text: str) -> dict[str, str]:
    """By its letter, each option of a text such as `A: Tea.\\nB: Milk.`. An option may have several lines: the next one
    begins at the first line that begins with the next letter and a colon.

    Raises:
        CellError: fewer than two options, one without text, or two alike.
    """
    body, begins = f"\n{text.strip()}", [-1]
    for letter in LETTERS:
        begin = body.find(f"\n{letter.upper()}:", begins[-1] + 1)
        if begin < 0:
            break
        begins.append(begin)
    if begins[1:2] != [0]:
        raise CellError(f"options does not begin with A: but with {text[:40]!r}")
    texts = [body[begin + 3 : end].strip() for begin, end in pairwise([*begins[1:], len(body)])]
    found = {letter.upper(): said for letter, said in zip(LETTERS, texts, strict=False)}
    if len(found) < 2:
        raise CellError("options holds fewer than two options")
    if not all(found.values()):
        raise CellError(f"option {next(letter for letter, said in found.items() if not said)} has no text")
    if len(set(found.values())) < len(found):
        raise CellError("options holds the same option twice")
    return found


# --------------------------------------------------------------------------------------------------------- sessions


def sessions_of(timeline: Sequence[Any], topics: Sequence[Any]) -> tuple[Session, ...]:
    """The sessions that a timeline names, in its order.

    Raises:
        CellError: a key that is absent or holds something else; a session that is named and not there.
    """
    conversations = dict(conversations_of(topics))
    sessions = []
    for number, event in enumerate(timeline):
        place = f"timeline event {number} (counted from 0)"
        if not isinstance(event, dict):
            raise CellError(f"{place} is no object")
        task, written = text_of(event, "task_id"), text_of(event, "date")
        if task not in conversations:
            raise CellError(f"{place} is {task[:60]!r}, of which there is no dialogue")
        try:
            messages = date_session(written, list(to_messages(conversations[task])))
        except CellError as error:
            raise CellError(f"dialogue {task[:60]!r} {error}") from None
        sessions.append(Session(day=day_of(written, place), messages=tuple(m for m in messages if m)))
    return tuple(sessions)


def conversations_of(topics: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Each dialogue's id and messages, not checked yet."""
    for topic in topics:
        dialogs = topic.get("dialogs") if isinstance(topic, dict) else None
        if not isinstance(dialogs, list) or not all(isinstance(dialog, dict) for dialog in dialogs):
            raise CellError("a topic has no list of objects under dialogs")
        for dialog in dialogs:
            yield text_of(dialog, "task_id"), dialog.get("conversation")


def day_of(text: str, what: str) -> date:
    """The day that a text such as `2023-01-15 Morning` begins with."""
    found = DAY.match(text.strip())
    try:
        return date.fromisoformat(found[0] if found else "")
    except ValueError:
        raise CellError(f"{what} is {text[:40]!r}, which does not begin with a date like 2023-01-15") from None
