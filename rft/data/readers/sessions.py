"""Chats that consist of dated sessions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rft.records import Message

MOST_NAMED = 5
"""Places that a note names."""


def date_session(date: str, messages: Iterable[Message | None]) -> list[Message | None]:
    """The messages of one session, each at its place; the first one with text says when it was: questions ask for
    dates."""
    shown: list[Message | None] = []
    for message in messages:
        first = message is not None and not any(shown)
        shown.append(
            Message(role=message.role, content=f"[{date}] {message.content}") if message and first else message
        )
    return shown


def places_note(context_id: str, told: str, places: Sequence[str]) -> str:
    """A note for a context: `conv-1: turns without text are left out, 2 of them (D2:4, D3:1)`."""
    more = f" and {len(places) - MOST_NAMED} more" if len(places) > MOST_NAMED else ""
    return f"{context_id}: {told}, {len(places)} of them ({', '.join(places[:MOST_NAMED])}{more})"
