"""A reply whose text stands in more keys than `content`, put together again.

In PersonaMem-v2 some assistant replies were written as broken JSON, so that a quotation mark ended the text and the
rest became keys and values of the same message (five in the release, as others report):

    {"role": "assistant", "content": "He wrote ", "see you at noon": " and left."}

A reader of `content` alone loses that text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

OWN_KEYS = ("role", "content")

SIDE_KEYS = frozenset(
    (
        "id", "name", "index", "turn", "turn_id", "dia_id", "time", "timestamp", "date", "created_at", "updated_at",
        "model", "type", "topic", "scenario", "language", "has_answer", "weight", "metadata", "tokens", "token_count",
        "tool_calls", "tool_call_id", "function_call", "refusal", "annotations", "audio", "images", "image",
        "finish_reason", "stop_reason", "usage", "uuid", "message_id", "session_id", "conversation_id", "source",
        "speaker", "author", "sender",
    )
)  # fmt: skip
"""Keys that say something about a message; none of them is a part of its text."""

NAME = re.compile(r"\s*(?:[a-z][A-Za-z0-9]*(?:[_-][A-Za-z0-9]+)*|\d+|[Cc]ontents?|CONTENTS?)\s*")
"""A key that a program chose, such as `content_2`, or `content` misspelt: its value alone is text."""

LABEL = re.compile(r"[A-Z][\w-]*(?: [A-Z0-9][\w-]*)*")
"""A key that heads what follows it, such as `Subject`."""

MOST_LEVELS = 20
"""Of objects inside each other in which text is looked for."""


def stray_keys(item: Mapping[str, Any], but: Sequence[str] = OWN_KEYS) -> list[str]:
    """The keys of a message besides role, content and what is said about a message."""
    return [key for key in item if key not in but and key.lower() not in SIDE_KEYS]


def put_together(item: Any) -> Any:
    """A message whose stray text stands behind its content, in the order of its keys; anything else as it is."""
    if not isinstance(item, dict) or not isinstance(item.get("content", ""), str | None):
        return item
    stray = text_below({key: item[key] for key in stray_keys(item)})
    if not stray.strip():
        return item
    return {"role": item.get("role"), "content": joined(item.get("content") or "", stray).rstrip("\n")}


def text_below(value: Any, levels: int = MOST_LEVELS) -> str:
    """All text of a value, in its order: keys of objects are text, too, where no program chose them."""
    if isinstance(value, str):
        return value
    if not levels or not isinstance(value, dict | list):
        return ""
    if isinstance(value, list):
        return "\n".join(text for part in value if (text := text_below(part, levels - 1)).strip())
    pieces = (piece_of(key, text_below(value[key], levels - 1)) for key in stray_keys(value, but=("role",)))
    return reduce(joined, (piece for piece in pieces if piece.strip()), "")


def piece_of(key: str, text: str) -> str:
    """A stray key and the text below it as one text; empty where neither is one."""
    if NAME.fullmatch(key):
        return text
    if LABEL.fullmatch(key) and text.strip():
        return f"{key}: {text.strip()}\n"
    return joined(key, text)


def joined(before: str, after: str) -> str:
    """Both texts, with white space between them: what stood there, or one space."""
    if not before.strip() or not after.strip():
        return before + after if before.strip() or after.strip() else ""
    apart = before[-1].isspace() or after[0].isspace() or after[0] in ",.;:!?)"
    return before + after if apart else f"{before} {after}"
