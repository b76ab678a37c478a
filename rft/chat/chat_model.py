"""Something that answers chats: a checkpoint on this machine, or an endpoint.

Both hand out replies as they come, so that what was answered before a crash is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from rft.chat.endpoint import ChatReply
from rft.data.closing import Asking
from rft.records import Message

Tag = TypeVar("Tag")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest(Generic[Tag]):
    """A chat that ends with what is to be answered.

    Example:
        ChatRequest(tag="train/17", context=(Message(role="system", content="..."),), question="And now?",
                    max_tokens=2048, seed=7)
    """

    tag: Tag
    """Given back with the reply, so that the caller knows which request it belongs to."""
    context: tuple[Message, ...]
    """Requests that follow each other with an equal context share its computation."""
    question: Asking
    max_tokens: int
    seed: int


class ChatModel(Protocol):
    """Something that answers."""

    thought_open: bool
    """Its template opens the thought, so that a reply begins inside."""

    def replies(self, requests: Iterable[ChatRequest[Tag]]) -> Iterator[tuple[Tag, ChatReply]]:
        """The replies, in any order, failed ones among them. Raises ValueError where every request would fail, after
        those that came."""
        ...

    def close(self) -> None: ...
