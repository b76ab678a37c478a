"""Chats that consist of dated sessions."""

from __future__ import annotations

from collections.abc import Iterable

from rft.records import Message


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
