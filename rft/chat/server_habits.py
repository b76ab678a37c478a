"""What a server takes: how a request is written for it, and what is learned from a request that it refuses.

Servers that call themselves OpenAI-compatible differ in a few fields. The first request is written for most of them;
a refusal that names what is wrong changes how the next ones are written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rft.chat.reply_error import ReadError
from rft.plain_text import without_half_surrogates
from rft.records import Message, Role

EARLIER_MESSAGES = "..."
"""Stands for a user's message where a chat has to begin with one and does not: its beginning was left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How requests are written for one server.

    Example, a reasoning model of OpenAI:
        Habits(limit_name="max_completion_tokens", temperature=False)
    """

    limit_name: str = "max_tokens"
    temperature: bool = True
    """Whether it is sent."""
    greedy: float = 0.0
    """Sent where the temperature is 0."""
    seed: bool = True
    """Whether it is sent."""
    system_role: bool = True
    """Without, the system's text stands at the beginning of the first user message."""
    alternating_roles: bool = False
    """One system message at the beginning, then user and assistant in turn."""
    stream: bool = False
    """The reply is asked for as a stream, and read as a whole."""
    stream_usage: bool = True
    """With a stream: its counts are asked for."""


def request_body(
    habits: Habits,
    messages: Sequence[Message],
    max_tokens: int,
    temperature: float | None,
    seed: int | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """The fields of a request, without the model's name; `options` come last and win."""
    body: dict[str, Any] = {
        "messages": [
            {"role": message.role, "content": without_half_surrogates(message.content)[0]}
            for message in written_messages(habits, messages)
        ],
        habits.limit_name: max_tokens,
    }
    if temperature is not None and habits.temperature:
        body["temperature"] = temperature or habits.greedy
    if seed is not None and habits.seed:
        body["seed"] = seed
    if habits.stream:
        body["stream"] = True
        if habits.stream_usage:
            body["stream_options"] = {"include_usage": True}
    return body | dict(options)


def written_messages(habits: Habits, messages: Sequence[Message]) -> list[Message]:
    """The chat in the roles that the server takes; no word is lost."""
    written = list(messages)
    if not habits.system_role:
        written = without_system_role(written)
    if habits.alternating_roles:
        written = list(alternating(written))
    return written


def without_system_role(messages: Sequence[Message]) -> list[Message]:
    """Text of the system stands at the beginning of the user message that follows it, or is one of its own."""
    written: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        if message.role == "system":
            waiting.append(message.content)
            continue
        if message.role == "user":
            message = Message(role="user", content=joined([*waiting, message.content]))
        elif waiting:
            written.append(Message(role="user", content=joined(waiting)))
        written.append(message)
        waiting = []
    return [*written, Message(role="user", content=joined(waiting))] if waiting else written


def alternating(messages: Sequence[Message]) -> Iterator[Message]:
    """One system message from those at the beginning, then user and assistant in turn, a user first: messages of one
    role that follow each other become one, and later ones of the system are the user's."""
    num_system = next((place for place, one in enumerate(messages) if one.role != "system"), len(messages))
    if num_system:
        yield Message(role="system", content=joined([one.content for one in messages[:num_system]]))
    role: Role = "user"
    texts: list[str] = (
        [EARLIER_MESSAGES] if num_system < len(messages) and messages[num_system].role == "assistant" else []
    )
    for message in messages[num_system:]:
        its_role: Role = "assistant" if message.role == "assistant" else "user"
        if its_role != role:
            yield Message(role=role, content=joined(texts))
            role, texts = its_role, []
        texts.append(message.content)
    if texts:
        yield Message(role=role, content=joined(texts))


def joined(texts: Sequence[str]) -> str:
    return "\n\n".join(texts)


# ---------------------------------------------------------------------------------------------------------- learning

ALMOST_GREEDY = 0.01
NEEDS_POSITIVE = re.compile(r"positive|greater than 0|> ?0|above 0|larger than 0|[(\]]0(\.0)?,")
STREAM = re.compile(
    r"(only|must|requires?|enable|set to true)\b.{0,60}\bstream|stream\w*.{0,60}\b(only|must|required|requires?|true\b)"
    r"|non-?\s?stream|stream\s*=\s*false|please (use|enable|set) stream"
)
ALTERNATING = re.compile(
    r"alternat|consecutive|same role|system message must be|must (start|begin) with|(first|last) message must"
    r"|at the (very )?beginning|ends? with a \W?user|user after user|assistant after assistant"
)
SYSTEM_ROLE = re.compile(
    r"system.{0,80}\b(not|unsupported|invalid|unexpected|unknown|unrecognized)\b"
    r"|(\bnot\b|n't\b|unsupported|invalid|unexpected|unknown|unrecognized).{0,80}\bsystem"
    r"|developer instruction is not enabled|got \W?system\b"
    r"|(?:only|one of|should be)\W+user\W+(?:and\W+|or\W+)?(?:assistant|model)\b"
)


def learned(
    habits: Habits, body: Mapping[str, Any], options: Mapping[str, Any], error: ReadError
) -> tuple[Habits, str] | None:
    """Other habits for a server that refused a request, and what was learned, in words that follow its name; None
    where nothing is.

    Args:
        habits: those that the request was written with.
        body: the request.
        options: the fields of it that a person asked for, which stay.
        error: what the server said.
    """
    words = f"{error.names} {error.words}".lower()
    if "temperature" in body and "temperature" not in options and re.search(r"\btemperature\b", words):
        if body["temperature"] == 0 and habits.greedy == 0 and NEEDS_POSITIVE.search(words):
            return replace(habits, greedy=ALMOST_GREEDY), f"takes no temperature of 0; it is asked with {ALMOST_GREEDY}"
        return (
            replace(habits, temperature=False),
            f"refuses temperature {body['temperature']}; it is asked without one from here on, and samples as it likes",
        )
    if "seed" in body and "seed" not in options and re.search(r"\bseed\b", words):
        return replace(habits, seed=False), "refuses a seed; it is asked without one from here on"
    if habits.limit_name == "max_tokens" and "max_completion_tokens" in words:
        return (
            replace(habits, limit_name="max_completion_tokens"),
            "takes no max_tokens; it is asked with max_completion_tokens from here on",
        )
    if "stream_options" in body and "stream_options" in words:
        return replace(habits, stream_usage=False), "counts no tokens in a stream; they are 0 in the table"
    if not habits.stream and "stream" not in options and STREAM.search(words):
        return replace(habits, stream=True), "only streams; it is asked for streams from here on"
    roles = [message["role"] for message in body["messages"]]
    if not habits.alternating_roles and ALTERNATING.search(words):
        return (
            replace(habits, alternating_roles=True),
            "needs user and assistant in turn; messages of one role that follow each other are joined from here on",
        )
    if habits.system_role and "system" in roles and SYSTEM_ROLE.search(words):
        return (
            replace(habits, system_role=False),
            "has no system role; that text stands at the beginning of the user's message from here on",
        )
    return None
