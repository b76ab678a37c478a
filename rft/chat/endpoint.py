"""A model behind an OpenAI-compatible endpoint: a hosted one, or `vllm serve` with a checkpoint of ours."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import openai

from rft.records import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """What a model answered.

    Example:
        ChatReply(text="Likes jazz.", cut_off=False, prompt_tokens=4_912, completion_tokens=4)
    """

    text: str
    cut_off: bool
    """The reply reached its limit."""
    prompt_tokens: int
    completion_tokens: int
    token_ids: tuple[int, ...] = ()
    """The reply's tokens, where a model on this machine answered."""


class Endpoint:
    """Asks for replies; several threads may share one.

    Args:
        base_url: such as http://localhost:8000/v1; None is the client's own default.
        model: the name the endpoint knows it by.
        timeout: seconds one attempt may take.
        max_retries: further attempts after a timeout, a lost connection, a rate limit or a server error; the client
            waits longer before each.
        requests_per_minute: replies that may be begun per minute; 0 is no limit.
        options: further fields of each request.

    The key is read from OPENAI_API_KEY; an endpoint of one's own needs none.
    """

    def __init__(
        self,
        base_url: str | None,
        model: str,
        *,
        timeout: float = 600.0,
        max_retries: int = 5,
        requests_per_minute: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        key = os.environ.get("OPENAI_API_KEY") or None
        if key is None and base_url is None:
            raise ValueError("set OPENAI_API_KEY, or name the endpoint that needs no key")
        self.model = model
        self.key = key
        self.base_url = base_url
        self.options = dict(options or {})
        self.limit_name = "max_tokens"
        self.pace = Pace(60.0 / requests_per_minute if requests_per_minute else 0.0)
        self.client = openai.OpenAI(base_url=base_url, api_key=key or "none", timeout=timeout, max_retries=max_retries)

    def reply(
        self, messages: Sequence[Message], max_tokens: int, *, temperature: float | None = 0.0, seed: int | None = None
    ) -> ChatReply:
        """One reply; greedy by default, and with `temperature` None as the endpoint likes.

        Raises:
            ValueError: the endpoint refuses the request or cannot be reached.
        """
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            **({} if temperature is None else {"temperature": temperature}),
            **({} if seed is None else {"seed": seed}),
            **self.options,
        }
        self.pace.wait()
        try:
            response = self._create(request, max_tokens)
        except (openai.OpenAIError, json.JSONDecodeError) as error:
            raise self.failed(str(error)) from None
        if not getattr(response, "choices", None):
            raise self.failed("it answers, but not with a chat completion; an address often ends in /v1")
        choice, usage = response.choices[0], response.usage
        return ChatReply(
            text=choice.message.content or "",
            cut_off=choice.finish_reason == "length",
            prompt_tokens=usage.prompt_tokens if usage else 0,
            completion_tokens=usage.completion_tokens if usage else 0,
        )

    def _create(self, request: dict[str, Any], max_tokens: int) -> Any:
        create: Any = self.client.chat.completions.create
        try:
            return create(**request, **{self.limit_name: max_tokens})
        except openai.BadRequestError as error:
            # Reasoning models take the newer name only, older servers the older one only.
            if self.limit_name != "max_tokens" or "max_completion_tokens" not in str(error):
                raise
            self.limit_name = "max_completion_tokens"
            return create(**request, **{self.limit_name: max_tokens})

    def failed(self, message: str) -> ValueError:
        """One line with address and model; a key that the endpoint repeats is left out."""
        line = " ".join((message.replace(self.key, "[key]") if self.key else message).split())
        return ValueError(f"{self.base_url or 'the endpoint'}, model {self.model}: {line}")


class Pace:
    """Lets one caller through every `interval` seconds."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self.lock = threading.Lock()
        self.next = 0.0

    def wait(self) -> None:
        with self.lock:
            at = max(self.next, time.monotonic())
            self.next = at + self.interval
        time.sleep(max(0.0, at - time.monotonic()))
