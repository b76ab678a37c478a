"""From the body of an endpoint's reply to text, reason and counts.

Read are a chat completion, the same as a stream of server-sent events (reply_stream.py), and errors in the shapes that
servers have (reply_error.py); no other file knows how servers write them. A field that is absent, null or of another
type is no error: the text is then empty, the count 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rft.chat.failures import ReplyFailure
from rft.chat.reply_error import ERROR_KEYS, NoCompletion, ReadError, read_error, shortened
from rft.chat.reply_fields import finish_reason_of, read_finish_reason, read_usage, refusal_in, text_of
from rft.chat.reply_stream import is_event_stream, joined_chunks
from rft.plain_text import without_half_surrogates


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadReply:
    """What a completion says.

    Example:
        ReadReply(text="Likes jazz.", cut_off=False, failure=None, prompt_tokens=4_912, completion_tokens=4)
    """

    text: str
    cut_off: bool
    failure: ReplyFailure | None
    prompt_tokens: int
    completion_tokens: int
    words: str = ""
    """With a failure: what the server says about it."""


def read_body(body: bytes, content_type: str = "") -> ReadReply | ReadError:
    """What a reply of status 200 says.

    Raises:
        NoCompletion: it is neither a completion nor an error.
    """
    text = decode(body, content_type)
    if is_event_stream(text, content_type):
        return read_completion(joined_chunks(text))
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise NoCompletion(f"its reply is no JSON ({shortened(text) or 'it is empty'})") from None
    return read_completion(found)


def decode(body: bytes, content_type: str) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise NoCompletion(f"its reply is not in UTF-8 (content type {content_type or 'not given'})") from None


def read_completion(found: Any) -> ReadReply | ReadError:
    if not isinstance(found, Mapping):
        raise NoCompletion("it answers, but not with a chat completion; an address often ends in /v1")
    choices = found.get("choices")
    if isinstance(choices, Mapping):
        choices = [choices]
    choice = choices[0] if isinstance(choices, Sequence) and not isinstance(choices, str) and choices else None
    choice = choice if isinstance(choice, Mapping) else None
    if error := found.get("error") or (choice and choice.get("error")):
        return read_error(None, error)
    if choice is None:
        base = found.get("base_resp")
        if isinstance(base, Mapping) and base.get("status_code"):
            return read_error(None, found)
        if "choices" in found:
            return no_message(found)
        if any(found.get(key) and not is_message(found[key]) for key in ERROR_KEYS):
            return read_error(None, found)
        raise NoCompletion("it answers, but not with a chat completion; an address often ends in /v1")
    return read_choice(choice, found)


def read_choice(choice: Mapping[str, Any], found: Mapping[str, Any]) -> ReadReply:
    message = choice.get("message")
    if isinstance(message, str):
        message = {"content": message}
    if not isinstance(message, Mapping):
        # The older completions have their text here, and no message.
        if not isinstance(choice.get("text"), str):
            return no_message(found, finish_reason_of(choice))
        message = {"content": choice["text"]}
    text = without_half_surrogates(text_of(message.get("content")))[0]
    refusal = text_of(message.get("refusal")) or refusal_in(message.get("content"))
    cut_off, failure = read_finish_reason(finish_reason_of(choice))
    if failure is None and not text.strip() and refusal:
        failure = ReplyFailure.REFUSAL
    if failure is None and not text.strip() and was_filtered(choice.get("content_filter_results")):
        failure = ReplyFailure.CONTENT_FILTER
    if failure is None and not text.strip() and (message.get("tool_calls") or message.get("function_call")):
        failure = ReplyFailure.TOOL_CALLS
    words = ""
    if failure is not None:
        words = shortened(refusal) or f"finish reason {shortened(str(finish_reason_of(choice)))}"
    prompt_tokens, completion_tokens = read_usage(found.get("usage"))
    return ReadReply(
        text=text,
        cut_off=cut_off,
        failure=failure,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        words=words,
    )


def is_message(value: Any) -> bool:
    """Whether it is the message of another API, and none about an error."""
    return isinstance(value, Mapping) and "content" in value


def was_filtered(results: Any) -> bool:
    """Whether a server that names its filters says that one of them took the text away."""
    found = results.values() if isinstance(results, Mapping) else ()
    return any(isinstance(one, Mapping) and one.get("filtered") is True for one in found)


def no_message(found: Mapping[str, Any], finish_reason: Any = None) -> ReadReply:
    """A completion whose message is null or absent: a failed answer, or one that was cut before its first word."""
    cut_off, failure = read_finish_reason(finish_reason)
    prompt_tokens, completion_tokens = read_usage(found.get("usage"))
    return ReadReply(
        text="",
        cut_off=cut_off,
        failure=None if cut_off else failure or ReplyFailure.NO_MESSAGE,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        words=f"a completion without a message, finish reason {shortened(str(finish_reason))}",
    )
