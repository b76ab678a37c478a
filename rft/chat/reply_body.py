"""From the body of an endpoint's reply to text, reason and counts: the only place that knows how servers write them.

Read are a chat completion, the same as a stream of server-sent events, and errors in the shapes that servers have. A
field that is absent, null or of another type is no error: the text is then empty, the count 0.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rft.chat.failures import ReplyFailure
from rft.plain_text import without_control_sequences, without_half_surrogates

LONGEST_WORDS = 400
"""Characters of an error's message that are kept."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadError:
    """What an error says.

    Example:
        ReadError(status=400, words="Unsupported value: ...", codes="unsupported_value", names="temperature")
    """

    status: int | None
    """Of HTTP, or as the error itself names it."""
    words: str
    """The message, on one line."""
    codes: str = ""
    """The error's code, type and status, as the server names them."""
    names: str = ""
    """The request's fields that it names as such."""


ERROR_KEYS = ("error", "message", "detail", "msg", "errors", "base_resp")
"""One of them holds the message of an error."""


class NoCompletion(ValueError):
    """The body is no chat completion."""


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


def finish_reason_of(choice: Mapping[str, Any]) -> Any:
    """Why a reply ended, under the names that servers give it where the usual one is absent or null."""
    reason = choice.get("finish_reason")
    if reason is None:
        details = choice.get("finish_details")
        others = (choice.get(key) for key in ("native_finish_reason", "finishReason", "stop_reason"))
        named = [details.get("type") if isinstance(details, Mapping) else None, *others]
        reason = next((one for one in named if isinstance(one, str) and one), None)
    return reason


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


# ------------------------------------------------------------------------------------------------------ its fields


def text_of(content: Any) -> str:
    """The text of a message's content: text as it is, text parts joined; thoughts and images are left out."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        return text_of_part(content)
    if isinstance(content, Sequence):
        return "".join(part if isinstance(part, str) else text_of_part(part) for part in content)
    return "" if content is None or isinstance(content, bool) else str(content)


TEXT_PARTS = (None, "", "text", "output_text")


def text_of_part(part: Any) -> str:
    if not isinstance(part, Mapping) or part.get("type") not in TEXT_PARTS:
        return ""
    text = part.get("text", part.get("content", part.get("parts")))
    if isinstance(text, Mapping):
        text = text.get("value")
    if isinstance(text, Sequence) and not isinstance(text, str):
        return "".join(one for one in text if isinstance(one, str))
    return text if isinstance(text, str) else ""


def refusal_in(content: Any) -> str:
    if not isinstance(content, Sequence):
        return ""
    parts = [part for part in content if isinstance(part, Mapping) and part.get("type") == "refusal"]
    return "".join(str(part.get("refusal") or part.get("text") or "refusal") for part in parts)


FINISHED = {"", "none", "null", "ok", "eot", "success", "succeeded"}
FINISH_REASONS: tuple[tuple[ReplyFailure | str, tuple[str, ...]], ...] = (
    (ReplyFailure.TOOL_CALLS, ("tool", "function")),
    (
        ReplyFailure.CONTENT_FILTER,
        (
            "filter", "safety", "block", "prohibit", "moderat", "guard", "sensitive", "recitation", "spii", "toxic",
            "violat", "flagged", "policy", "censor", "risk", "harm",
        ),
    ),
    (ReplyFailure.REFUSAL, ("refus",)),
    (ReplyFailure.OVERLOADED, ("resource", "overload", "rate_limit")),
    (ReplyFailure.TIMEOUT, ("timeout", "time_limit")),
    (ReplyFailure.SERVER_ERROR, ("error", "fail", "abort", "cancel", "network", "interrupt", "preempt")),
    ("length", ("length", "max_", "maxtok", "limit", "truncat", "window", "exceed", "incomplete", "cut", "partial")),
    ("stop", ("stop", "eos", "end", "complete", "finish", "done", "normal", "halt")),
)  # fmt: skip
"""What the reasons of servers contain, in the order in which they are tried: `STOP`, `end_turn`, `stop_sequence`, `eos`
are stop; `MAX_TOKENS`, `model_context_window_exceeded` are length; `SAFETY`, `sensitive` are the filter."""


def read_finish_reason(reason: Any) -> tuple[bool, ReplyFailure | None]:
    """Whether the reply was cut at its limit, and why it cannot be used. A server that names no reason has finished."""
    if reason is None:
        return False, None
    name = str(reason).strip().lower().removeprefix("finish_reason_").replace("-", "_").replace(" ", "_")
    if name in FINISHED:
        return False, None
    for meaning, parts in FINISH_REASONS:
        if any(part in name for part in parts):
            return meaning == "length", meaning if isinstance(meaning, ReplyFailure) else None
    return False, ReplyFailure.UNKNOWN_FINISH_REASON


def read_usage(usage: Any) -> tuple[int, int]:
    """Tokens of the prompt and of the reply."""
    if not isinstance(usage, Mapping):
        return 0, 0
    return (
        count_of(usage.get("prompt_tokens", usage.get("input_tokens"))),
        count_of(usage.get("completion_tokens", usage.get("output_tokens"))),
    )


def count_of(value: Any) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0
    return int(number) if math.isfinite(number) and number > 0 else 0


# ---------------------------------------------------------------------------------------------------------- streams


END_OF_STREAM = "[DONE]"


EVENT_STREAM = re.compile(r"\s*+(?::[^\r\n]*+\s++)*+(?:data|event|id|retry):")
"""How one begins, behind comments with which a server shows that it still works."""


def is_event_stream(text: str, content_type: str) -> bool:
    return EVENT_STREAM.match(text) is not None or "event-stream" in content_type.lower()


def joined_chunks(text: str) -> dict[str, Any]:
    """The completion whose pieces a stream holds, or the first error in it.

    Raises:
        NoCompletion: the stream ends before the reply does, or holds none.
    """
    pieces: list[str] = []
    refusals: list[str] = []
    called_tool, ended, whole = False, False, None
    reason, usage = None, None
    for chunk in chunks_of(text):
        if chunk is None:
            ended = True
            continue
        if chunk.get("error") or ("choices" not in chunk and any(chunk.get(key) for key in ERROR_KEYS)):
            return {"error": chunk.get("error") or chunk}
        usage = chunk.get("usage") or usage
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, Mapping):
            continue
        reason = finish_reason_of(choice) or reason
        delta = choice.get("delta")
        if isinstance(delta, Mapping):
            pieces.append(text_of(delta.get("content")))
            refusals.append(text_of(delta.get("refusal")) or refusal_in(delta.get("content")))
            called_tool |= bool(delta.get("tool_calls") or delta.get("function_call"))
        elif choice.get("message") is not None:
            whole = choice["message"]
        elif isinstance(choice.get("text"), str):
            pieces.append(choice["text"])
    if reason is None and not ended:
        raise NoCompletion("it answers with a stream that ends before the reply does")
    message: Any = {"content": "".join(pieces), "refusal": "".join(refusals), "tool_calls": called_tool}
    if whole is not None and not message["content"]:
        message = whole
    return {"choices": [{"finish_reason": reason, "message": message}], "usage": usage}


def chunks_of(text: str) -> Iterator[Mapping[str, Any] | None]:
    """The events of a stream; None for the mark at its end. What is no JSON is left out."""
    for block in text.replace("\r\n", "\n").replace("\r", "\n").split("\n\n"):
        data = [line.removeprefix("data:").strip() for line in block.split("\n") if line.startswith("data:")]
        # An event may have several lines; some servers leave out the empty line between two events.
        found = [parsed(line) for line in data]
        for event in found if all(one is not None for one in found) else [parsed("\n".join(data))]:
            if event == END_OF_STREAM or isinstance(event, Mapping):
                yield event if isinstance(event, Mapping) else None


def parsed(text: str) -> Any:
    if text == END_OF_STREAM:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


# ----------------------------------------------------------------------------------------------------------- errors


def read_error(status: int | None, error: Any) -> ReadError:
    """An error in whatever shape it has.

    Args:
        status: of HTTP; None for an error in a reply of status 200, whose own code is then read.
    """
    if isinstance(error, Sequence) and not isinstance(error, str):
        error = error[0] if error else ""
    if not isinstance(error, Mapping):
        return ReadError(status=status, words=shortened(str(error or "")))
    inner = error.get("error")
    if isinstance(inner, Mapping):
        return read_error(status, inner)
    base = error.get("base_resp")
    message = next(
        (
            value
            for value in (
                error.get("message"), inner, error.get("detail"), error.get("msg"), error.get("errors"),
                base.get("status_msg") if isinstance(base, Mapping) else None,
            )
            if value
        ),
        None,
    )  # fmt: skip
    words, names = words_and_names(message)
    codes = [str(error[key]) for key in ("code", "type", "status") if isinstance(error.get(key), str | int)]
    metadata = error.get("metadata")
    if isinstance(metadata, Mapping) and metadata.get("reasons"):
        words = f"{words} ({shortened(str(metadata['reasons']))})"
    own_status = next((int(code) for code in codes if code.isdecimal() and 400 <= int(code) <= 599), None)
    return ReadError(
        status=own_status if status is None else status,
        words=words or shortened(" ".join(codes)),
        codes=" ".join(codes),
        names=" ".join([str(error.get("param") or ""), names]).strip(),
    )


def words_and_names(message: Any) -> tuple[str, str]:
    """An error's message, and the fields of the request that a list of complaints names."""
    if isinstance(message, Sequence) and not isinstance(message, str):
        complaints = [one for one in message if isinstance(one, Mapping)]
        names = " ".join(str(place) for one in complaints for place in list_of(one.get("loc"))[-1:])
        texts = [str(one.get("msg") or one.get("message") or "") for one in complaints] or [str(one) for one in message]
        said = "; ".join(f"{names}: {text}" if names else text for text in texts[:3])
        return shortened(said), names
    if isinstance(message, Mapping):
        return shortened(str(message.get("message") or message.get("msg") or json.dumps(message))), ""
    return shortened(str(message or "")), ""


def list_of(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def shortened(text: str) -> str:
    """On one line, and not longer than a person reads."""
    plain = without_control_sequences(without_half_surrogates(text[: 4 * LONGEST_WORDS])[0])
    line = " ".join(plain.split())
    return line if len(line) <= LONGEST_WORDS else line[:LONGEST_WORDS] + " ..."
