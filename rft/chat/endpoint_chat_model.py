"""An endpoint that answers chats, several requests at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rft.chat.chat_model import ChatRequest, Tag
from rft.chat.endpoint import ChatReply, Endpoint
from rft.chat.threads import in_threads
from rft.data.closing import closing_messages


class EndpointChatModel:
    """A model behind an endpoint. An answer that failed is a reply with its reason.

    Args:
        endpoint: where it is.
        concurrency: requests in flight.
        temperature: 0 is greedy, None is the endpoint's own.
    """

    thought_open = False

    def __init__(self, endpoint: Endpoint, *, concurrency: int, temperature: float | None) -> None:
        self.endpoint = endpoint
        self.concurrency = concurrency
        self.temperature = temperature

    def replies(self, requests: Iterable[ChatRequest[Tag]]) -> Iterator[tuple[Tag, ChatReply]]:
        jobs = ((request.tag, request) for request in requests)
        yield from in_threads(jobs, self._reply, self.concurrency)

    def _reply(self, request: ChatRequest[Any]) -> ChatReply:
        messages = [*request.context, *closing_messages(request.question)]
        seed = request.seed if self.temperature != 0 else None
        return self.endpoint.reply(messages, request.max_tokens, temperature=self.temperature, seed=seed)

    def close(self) -> None:
        self.endpoint.client.close()
