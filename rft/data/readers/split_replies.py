"""A reply whose text stands in more keys than `content`, put together again.

In PersonaMem-v2 some assistant replies were written as broken JSON, so that a quotation mark ended the text and the
rest became keys and values of the same message (five in the release, as others report):

    {"role": "assistant", "content": "He wrote ", "see you at noon": " and left."}

A reader of `content` alone loses that text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

OWN_KEYS = ("role", "content")

SIDE_KEYS = frozenset(
    (
        "id", "name", "index", "turn", "turn_id", "dia_id", "time", "timestamp", "date", "created_at", "updated_at",
        "model", "type", "topic", "scenario", "language", "has_answer", "weight", "metadata", "tokens", "token_count",
        "tool_calls", "tool_call_id", "function_call", "refusal", "annotations", "audio", "images", "image",
    )
)  # fmt: skip
"""Keys that say something about a message; none of them is a part of its text."""

NAME = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*")
"""A key that a program chose, such as `content_2`: its value alone is text."""

LABEL = re.compile(r"[A-Z][\w-]*(?: [A-Z0-9][\w-]*)*")
"""A key that heads what follows it, such as `Subject`."""


def stray_keys(item: Mapping[Any, Any]) -> list[str]:
    """The keys of a message besides role, content and what is said about a message."""
    return [str(key) for key in item if key not in OWN_KEYS and str(key).lower() not in SIDE_KEYS]


def put_together(item: Any) -> Any:
    """A message whose stray text stands behind its content, in the order of its keys; anything else as it is."""
    if not isinstance(item, dict) or not isinstance(item.get("content", ""), str | None):
        return item
    pieces = [piece for key in stray_keys(item) if (piece := piece_of(key, item[key])).strip()]
    if not pieces:
        return item
    text = item.get("content") or ""
    for piece in pieces:
        text = joined(text, piece)
    return {"role": item.get("role"), "content": text.rstrip("\n")}


def piece_of(key: str, value: Any) -> str:
    """The text of a stray key and its value; empty where neither is one."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = "\n".join(value)
    text = value if isinstance(value, str) else ""
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
