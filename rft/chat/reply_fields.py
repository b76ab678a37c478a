"""The fields of a reply under all their names: its text, why it ended, how many tokens it counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rft.chat.failures import ReplyFailure


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
    """Tokens of the prompt and of the reply; thoughts that a server counts in its total alone are the reply's."""
    if not isinstance(usage, Mapping):
        return 0, 0
    prompt = count_of(usage.get("prompt_tokens", usage.get("input_tokens")))
    reply = count_of(usage.get("completion_tokens", usage.get("output_tokens")))
    total = count_of(usage.get("total_tokens"))
    return prompt, max(reply, total - prompt) if prompt else reply


def count_of(value: Any) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0
    return int(number) if math.isfinite(number) and number > 0 else 0


def finish_reason_of(choice: Mapping[str, Any]) -> Any:
    """Why a reply ended, under the names that servers give it where the usual one is absent or null."""
    reason = choice.get("finish_reason")
    if reason is None:
        details = choice.get("finish_details")
        others = (choice.get(key) for key in ("native_finish_reason", "finishReason", "stop_reason"))
        named = [details.get("type") if isinstance(details, Mapping) else None, *others]
        reason = next((one for one in named if isinstance(one, str) and one), None)
    return reason
