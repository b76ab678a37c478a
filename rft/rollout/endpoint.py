"""A model behind an OpenAI-compatible endpoint: a hosted one, or `vllm serve` with a checkpoint of ours."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

import openai

from rft.types import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the endpoint answered.

    Example:
        Reply(text="Likes jazz.", cut_off=False, prompt_tokens=4_912, completion_tokens=4)
    """

    text: str
    cut_off: bool
    """The reply reached its limit."""
    prompt_tokens: int
    completion_tokens: int


class Endpoint:
    """Asks for greedy replies, one at a time.

    Args:
        base_url: such as http://localhost:8000/v1; None is the client's own default.
        model: the name the endpoint knows it by.
        timeout: seconds one attempt may take.
        max_retries: further attempts after a timeout, a lost connection, a rate limit or a server error; the client
            waits longer before each.

    The key is read from OPENAI_API_KEY; an endpoint of one's own needs none.
    """

    def __init__(self, base_url: str | None, model: str, *, timeout: float = 600.0, max_retries: int = 5) -> None:
        key = os.environ.get("OPENAI_API_KEY") or None
        if key is None and base_url is None:
            raise ValueError("set OPENAI_API_KEY, or name the endpoint that needs no key")
        self.model = model
        self.key = key
        self.base_url = base_url
        self.client = openai.OpenAI(base_url=base_url, api_key=key or "none", timeout=timeout, max_retries=max_retries)

    def reply(self, messages: Sequence[Message], max_tokens: int) -> Reply:
        """Raises ValueError where the endpoint refuses the request or cannot be reached."""
        try:
            response = self.client.chat.completions.create(
                model=self.model,
                messages=[{"role": m.role, "content": m.content} for m in messages],  # type: ignore[misc]
                max_tokens=max_tokens,
                temperature=0.0,
            )
        except (openai.OpenAIError, json.JSONDecodeError) as error:
            raise self.failed(str(error)) from None
        if not getattr(response, "choices", None):
            raise self.failed("it answers, but not with a chat completion; an address often ends in /v1")
        choice, usage = response.choices[0], response.usage
        return Reply(
            text=choice.message.content or "",
            cut_off=choice.finish_reason == "length",
            prompt_tokens=usage.prompt_tokens if usage else 0,
            completion_tokens=usage.completion_tokens if usage else 0,
        )

    def failed(self, message: str) -> ValueError:
        """One line with address and model; a key that the endpoint repeats is left out."""
        line = " ".join((message.replace(self.key, "[key]") if self.key else message).split())
        return ValueError(f"{self.base_url or 'the endpoint'}, model {self.model}: {line}")
