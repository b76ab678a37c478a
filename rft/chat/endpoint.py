"""A model behind an OpenAI-compatible endpoint: a hosted one, or `vllm serve` with a checkpoint of ours.

A failed answer is an answer: it has a reason (failures.py), is counted by it, and stops nothing. The run stops in one
line where every answer would fail: a key that is refused, no credit, no such model, nobody there, or `patience`
failures in a row.

What this server takes is learned once, from the first request that it refuses, for all threads (server_habits.py).
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import openai
from tqdm import tqdm

from rft.chat.address import parse_address, without_secrets
from rft.chat.failures import PASSING_FAILURES, FailedReply, ReplyFailure, failure_of
from rft.chat.gate import Gate, GatedClient
from rft.chat.reply_body import ReadReply, read_body
from rft.chat.reply_error import NoCompletion, ReadError, read_error, shortened
from rft.chat.server_habits import Habits, learned, request_body
from rft.records import Message, Role

LONGEST_WAIT = 8.0
"""Seconds before an overloaded server is asked again, as in the official client."""

REFUSED_HABITS = (None, 400, 422, 500)
"""Statuses with which servers refuse what they do not take; llama.cpp does it with 500 for its chat template."""


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
    closed_by: Role = "user"
    """Role of the last message of the chat, as it was sent."""
    failure: ReplyFailure | None = None
    """Why the answer cannot be used, whatever its text; None where it ended as it should, or was cut off."""
    detail: str = ""
    """With a failure: one line that names the address, the model and what the server says."""


class NoLongerAnswers(ValueError):
    """So many requests in a row got no answer that nothing more is asked: one line."""


class Endpoint:
    """Asks for replies; several threads may share one.

    Args:
        base_url: such as http://localhost:8000/v1; None is OPENAI_BASE_URL, or the client's own default. Its query,
            such as `?api-version=...`, is sent with each request.
        model: the name the endpoint knows it by.
        timeout: seconds one attempt may take.
        max_retries: further attempts after a timeout, a lost connection, a rate limit or a server error; the client
            waits longer before each, or as long as the server says.
        requests_per_minute: replies that may be begun per minute; 0 is no limit.
        options: further fields of each request.
        api_key_header: the header that holds the key; None is `Authorization: Bearer`.
        api_key_env: the environment variable that holds the key; None sends none.
        habits: what is known of the server beforehand.
        patience: failures in a row, the attempts of each used up, after which nothing more is asked.
        gate: what every attempt passes, the client's own further ones too.

    An endpoint of one's own needs no key: the variable may then be absent.

    Raises:
        ValueError: no key and no address, a key that no header can hold, an address that is none.
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
        api_key_header: str | None = None,
        api_key_env: str | None = "OPENAI_API_KEY",
        habits: Habits | None = None,
        patience: int = 16,
        gate: Gate | None = None,
    ) -> None:
        key = read_key(api_key_env)
        if base_url is None:
            base_url = os.environ.get("OPENAI_BASE_URL", "").strip() or None  # where the client looks too
        if key is None and base_url is None:
            raise ValueError(f"set {api_key_env or 'a key'}, or name the endpoint that needs no key")
        address = parse_address(base_url) if base_url is not None else None
        self.model = model
        self.name = f"{address.shown if address else 'the endpoint'}, model {model}"
        self.secrets = (*([key] if key else []), *(address.secrets if address else ()))
        self.options = dict(options or {})
        self.max_retries = max_retries
        self.patience = patience
        self.pace = Pace(60.0 / requests_per_minute if requests_per_minute else 0.0)
        self.headers: dict[str, Any] | None = {"Authorization": openai.Omit()} if api_key_header else None
        self.client = openai.OpenAI(
            base_url=address.url if address else None,
            api_key=key or "none",
            timeout=timeout,
            max_retries=max_retries,
            default_query=address.query if address else None,
            default_headers={api_key_header: key or "none"} if api_key_header else None,
            http_client=GatedClient(gate) if gate is not None else None,
        )
        self.lock = threading.Lock()
        self.habits = habits or Habits()
        self.has_answered = False
        self.failures_in_a_row = 0

    def reply(
        self,
        messages: Sequence[Message],
        max_tokens: int,
        *,
        temperature: float | None = 0.0,
        seed: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> ChatReply:
        """One reply, or a failed one with its reason; greedy by default, with `temperature` None as the endpoint likes.

        Args:
            options: further fields of this request, such as response_format; those of the endpoint win.

        Raises:
            ValueError: every request would fail.
        """
        attempt = 0
        while True:
            habits = self.habits
            body = request_body(habits, messages, max_tokens, temperature, seed, {**(options or {}), **self.options})
            self.pace.wait()
            found, wait = self._ask(body)
            asked_in_vain = isinstance(found, ReadError) and (found.status or 0) >= 500
            if isinstance(found, ReadError):
                if self._learns(habits, body, found):
                    continue
                found = self._without_answer(found)
            may_pass = asked_in_vain or found.failure in (ReplyFailure.OVERLOADED, ReplyFailure.TIMEOUT)
            if wait is None or not may_pass or attempt == self.max_retries:
                return replace(self._counted(found), closed_by=body["messages"][-1]["role"])
            time.sleep(wait or min(LONGEST_WAIT, 0.5 * 2**attempt) * random.uniform(0.75, 1.0))
            attempt += 1

    def _ask(self, body: Mapping[str, Any]) -> tuple[ReadReply | ReadError, float | None]:
        """What came back, and how long to wait before it is asked again: 0 where the server does not say, None where
        the client has already tried as often as it may.

        Raises:
            ValueError: every request would fail.
        """
        try:
            response = self.client.chat.completions.with_raw_response.create(
                model=self.model,
                messages=body["messages"],
                extra_body={name: value for name, value in body.items() if name != "messages"},
                extra_headers=self.headers,
            )
            return read_body(response.content, response.headers.get("content-type", "")), wait_of(response.headers)
        except openai.APIStatusError as error:
            return read_error(error.status_code, error.body), None
        except NoCompletion as error:
            return no_answer(ReplyFailure.UNREADABLE_REPLY, str(error)), None
        except openai.APITimeoutError as error:
            return no_answer(ReplyFailure.TIMEOUT, str(error)), None
        except openai.APIConnectionError as error:
            return no_answer(ReplyFailure.UNREACHABLE, f"{error} ({error.__cause__})"), None
        except openai.OpenAIError as error:
            raise self.failed(str(error)) from None

    def _learns(self, habits: Habits, body: Mapping[str, Any], error: ReadError) -> bool:
        """Whether the request may be written in another way than with `habits`. What is learned is said once."""
        if error.status not in REFUSED_HABITS:
            return False
        with self.lock:
            if self.habits != habits:
                return True  # another thread has learned in the meantime
            found = learned(habits, body, self.options, error)
            if found is None:
                return False
            self.habits, what = found
            tqdm.write(f"note: {self.name}: {what}", file=sys.stderr)
            return True

    def _without_answer(self, error: ReadError) -> ReadReply:
        """The failed answer that an error stands for.

        Raises:
            ValueError: every request would fail.
        """
        failure = failure_of(error.status, f"{error.codes} {error.words}")
        words = " - ".join(filter(None, [f"Error code: {error.status}" if error.status else "", error.words]))
        if failure is None:
            hint = error.status in (404, 405) and "/v1" not in self.name
            raise self.failed(words + ("; an address often ends in /v1" if hint else ""))
        return no_answer(failure, words)

    def _counted(self, found: ReadReply) -> ChatReply:
        """The reply; failures in a row are counted.

        Raises:
            ValueError: nobody has ever answered here, or no longer does.
        """
        is_trouble = found.failure in PASSING_FAILURES or found.failure is ReplyFailure.REFUSED_REQUEST
        with self.lock:
            self.failures_in_a_row = self.failures_in_a_row + 1 if is_trouble else 0
            self.has_answered |= not is_trouble
            in_a_row, has_answered = self.failures_in_a_row, self.has_answered
        detail = str(self.failed(found.words)) if found.failure is not None else ""
        if in_a_row >= self.patience:
            kind = ValueError if found.failure is ReplyFailure.REFUSED_REQUEST else NoLongerAnswers
            raise kind(f"{detail} ({in_a_row} failures in a row)")
        if not has_answered and found.failure in (ReplyFailure.UNREACHABLE, ReplyFailure.UNREADABLE_REPLY):
            raise ValueError(detail)
        return ChatReply(
            text=found.text,
            cut_off=found.cut_off,
            prompt_tokens=found.prompt_tokens,
            completion_tokens=found.completion_tokens,
            failure=found.failure,
            detail=detail,
        )

    def failed(self, message: str) -> ValueError:
        """One line with address and model; a key that the endpoint repeats is left out."""
        line = " ".join(without_secrets(message, self.secrets).split())
        return ValueError(f"{self.name}: {line}")


def usable(reply: ChatReply) -> ChatReply:
    """The reply, where nothing can go on without one.

    Raises:
        FailedReply: it failed.
    """
    if reply.failure is not None:
        raise FailedReply(reply.failure, reply.detail)
    return reply


def no_answer(failure: ReplyFailure, words: str) -> ReadReply:
    return ReadReply(
        text="", cut_off=False, failure=failure, prompt_tokens=0, completion_tokens=0, words=shortened(words)
    )


def read_key(variable: str | None) -> str | None:
    """The key of the environment, without the line end that a file leaves at it; None where there is none.

    Raises:
        ValueError: it cannot be sent.
    """
    key = os.environ.get(variable, "").strip() if variable else ""
    if not key:
        return None
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError(f"{variable} holds white space or a character that no key has; copy it anew")
    return key


def wait_of(headers: Mapping[str, str]) -> float:
    """Seconds that a reply of status 200 asks to wait; 0 where it does not say, or says more than two minutes."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        return seconds if 0 < seconds <= 120 else 0.0
    return 0.0


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
