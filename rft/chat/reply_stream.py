"""A stream of server-sent events as the completion that it would have been in one piece."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rft.chat.reply_error import ERROR_KEYS, NoCompletion
from rft.chat.reply_fields import finish_reason_of, refusal_in, text_of

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
