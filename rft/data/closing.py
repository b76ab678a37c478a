"""How a chat ends before the reply: with a user's message, or with one and a system message behind it."""

from __future__ import annotations

from dataclasses import dataclass

from rft.records import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """The last two messages of a chat.

    Example:
        Closing(user="Any idea for my evening?", system="A. Some jazz.\\nB. A walk.\\n...")
    """

    user: str
    system: str


Asking = str | Closing
"""What asks a question: the user's message, or it and a system message behind it."""


def closing_messages(asking: Asking) -> list[Message]:
    """The messages that ask, in order."""
    if isinstance(asking, str):
        return [Message(role="user", content=asking)]
    return [Message(role="user", content=asking.user), Message(role="system", content=asking.system)]


def closing_text(asking: Asking) -> str:
    """All that asks, as the one message of a user."""
    return asking if isinstance(asking, str) else f"{asking.user}\n\n{asking.system}"
