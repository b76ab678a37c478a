"""What PERMA's users said (arXiv 2603.23231, perma.py): the dialogues that a timeline names, as sessions by day.

Messages and sessions without text are left out, and that is counted, as are dialogues that the timeline does not name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from rft.data.readers.cells import CellError, text_of, to_messages
from rft.data.readers.sessions import date_session
from rft.records import Message

DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One conversation of a user.

    Example:
        Session(task="event_1 (Books)", day=date(2023, 1, 15), silent=("event_1 (Books) message 3",),
                messages=(Message(role="user", content="[2023-01-15 Morning] Hi ..."), ...))
    """

    task: str
    day: date
    messages: tuple[Message, ...]
    silent: tuple[str, ...]
    """What is left out because it has no text: messages, or the whole session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All sessions of a user.

    Example:
        History(sessions=(Session(...), ...), moved=(), num_unused=0)
    """

    sessions: tuple[Session, ...]
    """By day."""
    moved: tuple[str, ...]
    """Sessions that the timeline has at another place."""
    num_unused: int
    """Dialogues that the timeline does not name."""


def history_of(timeline: Sequence[Any], topics: Sequence[Any]) -> History:
    """The sessions that a timeline names.

    Raises:
        CellError: a key that is absent or holds something else; a session that is named and not there, or twice.
    """
    conversations: dict[str, Any] = {}
    for task, conversation in conversations_of(topics):
        if task in conversations:
            raise CellError(f"has two dialogues {task[:60]!r}")
        conversations[task] = conversation
    sessions: dict[str, Session] = {}
    for number, event in enumerate(timeline):
        session = session_of(f"timeline event {number} (counted from 0)", event, conversations)
        if session.task in sessions:
            raise CellError(f"timeline event {number} (counted from 0) names {session.task[:60]!r} again")
        sessions[session.task] = session
    by_day = sorted(sessions.values(), key=lambda session: session.day)
    return History(
        sessions=tuple(by_day),
        moved=tuple(task for task, session in zip(sessions, by_day, strict=True) if task != session.task),
        num_unused=len(conversations) - len(sessions),
    )


def session_of(place: str, event: Any, conversations: Mapping[str, Any]) -> Session:
    """The session that an event of the timeline names; `place` is where the event is."""
    if not isinstance(event, dict):
        raise CellError(f"{place} is no object")
    task, written = text_of(event, "task_id"), text_of(event, "date")
    if task not in conversations:
        raise CellError(f"{place} is {task[:60]!r}, of which there is no dialogue")
    try:
        shown = date_session(written, list(to_messages(conversations[task])))
    except CellError as error:
        raise CellError(f"dialogue {task[:60]!r} {error}") from None
    silent = [task] if not shown else [f"{task} message {i}" for i, message in enumerate(shown) if message is None]
    return Session(
        task=task,
        day=day_of(written, place),
        messages=tuple(message for message in shown if message is not None),
        silent=tuple(silent),
    )


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
