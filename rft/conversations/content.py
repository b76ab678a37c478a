"""What a message holds, as text: plain, in parts, with pictures, thoughts and calls of tools between.

Each program has its own parts. They are told apart by the words of their `type` (or `content_type`), so that a
program that was never seen is mostly read right.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rft.data.readers.cells import CellError
from rft.reward.thoughts import split_thought, tags_in

MAX_DEPTH = 8
"""Parts within parts."""

THOUGHT_PARTS = ("think", "reasoning", "thought", "redacted")
TOOL_PARTS = ("tool", "function", "mcp", "code_execution", "executable", "web_search", "browsing", "execution_output",
              "_call", "-call")  # fmt: skip
FILE_PARTS = ("image", "audio", "video", "file", "document", "attachment", "media", "pdf")
"""Words of types; a file is named by the first that fits."""
SYSTEM_PARTS = ("system-prompt", "editable_context")
"""What a program tells the model, such as a person's custom instructions in ChatGPT."""
QUIET_PARTS = ("step-start", "step-finish", "source", "citation", "flag", "token_budget", "cachepoint")
"""Types that stand for nothing a person said."""
FILE_NAMES = ("file_name", "filename", "name", "title")
TYPE_KEYS = ("type", "content_type", "kind", "part_kind", "block_type", "pt")
TYPED_KEYS = ("inlineData", "inline_data", "fileData", "file_data", "functionCall", "function_call", "functionResponse",
              "function_response", "executableCode", "codeExecutionResult", "toolUse", "toolResult", "reasoningContent",
              "cachePoint", "image", "document", "video", "audio")  # fmt: skip
"""Parts of Gemini and of Bedrock say what they are by the key of what they hold."""
TEXT_KEYS = ("text", "refusal", "parts", "content", "value", "part")


STORED_THOUGHT = re.compile(r"<details\s+type=\"reasoning\"[^<>]{0,300}>.*?</details>", re.DOTALL)
"""How Open WebUI stores a thought before its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a message says.

    Example:
        Content(text="Look at my sax.\\n[image]", left_out=Counter())
    """

    text: str
    """Without spaces around; empty where it says nothing."""
    left_out: Counter[str] = field(default_factory=Counter)


def content_of(value: object) -> Content:
    """The text of a message's content: parts become lines, pictures and files are named in brackets.

    Raises:
        CellError: a content that is neither text nor parts.
    """
    left_out: Counter[str] = Counter()
    texts = read_part(value, left_out, 0)
    return Content(text="\n".join(text for text in texts if text.strip()).strip(), left_out=left_out)


def without_thought(content: Content) -> Content:
    """A reply without the thought that it begins with, where a program has stored both as one text."""
    text = content.text
    if found := STORED_THOUGHT.match(text):
        answer = text[found.end() :]
    elif (tag := next(tags_in(text), None)) is not None and tag.start() == 0:
        answer = split_thought(text)[1] or ""
    else:
        return content
    # A thought without an end stays: the rest of the reply may be in it.
    if not answer.strip():
        return content
    return Content(text=answer.strip(), left_out=content.left_out + Counter({"thoughts": 1}))


def read_part(value: object, left_out: Counter[str], depth: int) -> list[str]:
    if depth > MAX_DEPTH:
        raise CellError(f"has parts in more than {MAX_DEPTH} levels")
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, bool) or not isinstance(value, int | float | list | dict):
        raise CellError(f"has a content that is not text but {str(value).lower()}")
    if isinstance(value, float) and not math.isfinite(value):
        raise CellError("has a content that is not text but a number beyond what a computer counts with")
    if isinstance(value, int | float):
        return [number_text(value)]
    if isinstance(value, list):
        return [text for part in value for text in read_part(part, left_out, depth + 1)]
    return read_typed_part(value, left_out, depth)


def read_typed_part(part: Mapping[str, object], left_out: Counter[str], depth: int) -> list[str]:
    kind = kind_of(part)
    if part.get("thought") is True or part.get("isThought") is True or has_word(kind, THOUGHT_PARTS):
        left_out["thoughts"] += 1
        return []
    if has_word(kind, QUIET_PARTS):
        return []
    if has_word(kind, SYSTEM_PARTS):
        left_out["system messages"] += 1
        return []
    if has_word(kind, TOOL_PARTS):
        left_out["tool calls and results"] += 1
        return []
    for key in TEXT_KEYS:
        found = part.get(key)
        # Of a file only what was said in it is text: a transcript, not its bytes.
        if found is not None and not (key != "text" and has_word(kind, FILE_PARTS)):
            return read_part(found, left_out, depth + 1)
    if has_word(kind, FILE_PARTS):
        return [file_text(part, kind)]
    if not part or any(key in part for key in TEXT_KEYS):
        return []
    if kind:
        left_out[f"parts of the type {kind[:40]!r}"] += 1
        return []
    raise CellError(f"has a content with none of the keys text, parts, content, but {keys_of(part)}")


def kind_of(part: Mapping[str, object]) -> str:
    """What a part calls itself, lower case; empty where it does not."""
    for key in TYPE_KEYS:
        if isinstance(found := part.get(key), str):
            return found.lower()
    for key in TYPED_KEYS:
        if key in part:
            inner = part[key]
            mime = inner.get("mimeType", inner.get("mime_type")) if isinstance(inner, dict) else None
            return str(mime if isinstance(mime, str) else key).lower()
    return ""


def has_word(kind: str, words: Sequence[str]) -> bool:
    return any(word in kind for word in words)


def file_text(part: Mapping[str, object], kind: str) -> str:
    """A picture or a file in brackets, by its name where it has one."""
    word = next((word for word in FILE_PARTS[:3] if word in kind), "file")
    name = next((found for key in FILE_NAMES if isinstance(found := part.get(key), str) and found.strip()), None)
    return f"[{word}: {' '.join(name.split())[:100]}]" if name else f"[{word}]"


def keys_of(item: Mapping[str, object]) -> str:
    """The first keys of an object, for a message."""
    shown = [repr(str(key)[:30]) for key in list(item)[:6]]
    return ", ".join(shown) + (", ..." if len(item) > 6 else "") if shown else "no key"


def number_text(value: int | float) -> str:
    if isinstance(value, float):
        return repr(value)
    return str(value) if value.bit_length() < 10_000 else hex(value)


# -------------------------------------------------------------------------------------------------------------- times

SECONDS_PER_UNIT = (1.0, 1e-3, 1e-6, 1e-9)
LATEST = 1e11
"""Seconds since 1970 that no conversation has, the year 5138; a larger number counts smaller units."""

DATE_WITH_WEEKDAY = re.compile(r"(\d{4})[/-](\d{1,2})[/-](\d{1,2})\D{0,12}?(\d{1,2}):(\d{2})")


def read_time(value: object) -> float | None:
    """Seconds since 1970 UTC from ISO 8601, from a number of seconds to nanoseconds, or from {"$date": ...}; None for
    anything else. A time without zone is taken as UTC."""
    for key in ("$date", "$numberLong", "seconds"):
        if isinstance(value, dict) and key in value:
            value = value[key]
    if isinstance(value, str):
        text = value.strip()
        if not re.fullmatch(r"[0-9]{1,19}(?:\.[0-9]{1,9})?", text):
            return read_date(text)
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and value.bit_length() > 64:
        return None
    found = next((value * unit for unit in SECONDS_PER_UNIT if 0 < value * unit < LATEST), None)
    return float(found) if found is not None and math.isfinite(found) else None


def read_date(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        numbers = DATE_WITH_WEEKDAY.match(text)
        if numbers is None:
            return None
        try:
            moment = datetime(*map(int, numbers.groups()))  # type: ignore[arg-type]
        except ValueError:
            return None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):
        return None
