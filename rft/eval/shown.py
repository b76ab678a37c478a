"""What a system shows before a question."""

from __future__ import annotations

from dataclasses import dataclass

from rft.records import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What stands before a question, and how many messages had to be left out of it.

    Questions that can share it have equal messages, so that an engine computes them once.

    Example:
        Shown(messages=(Message(role="system", content="..."), ...), messages_dropped=0, context_id="data/...json")
    """

    messages: tuple[Message, ...]
    messages_dropped: int = 0
    context_id: str | None = None
    """Of the context that is shown, where it is a whole one or its part."""
