"""Texts of a data set as values: one parser per kind of cell, shared by every reader.

A parser returns a value or raises `CellError`, whose message is put behind the place of the cell.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from rft.data.readers.split_replies import put_together
from rft.plain_text import has_text
from rft.records import Message, Role

LARGEST_COUNT = 2**53
"""Beyond it a float is not the number that was written."""

MOST_LEVELS = 100
"""Of lists and objects inside each other, in a value that is kept as it is."""


class CellError(ValueError):
    """What is wrong with one cell or message, in one line, to be put behind its place."""


def parse_python(text: str) -> Any:
    """A Python literal, such as the dicts with single quotes that PersonaMem-v2 holds; nothing is evaluated."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise CellError("is not a Python literal") from None


def parse_json(text: str) -> Any:
    """One JSON value."""
    try:
        return json.loads(text)
    except RecursionError:
        raise CellError("is nested too deeply to be read as JSON") from None
    except ValueError as error:
        raise CellError(f"is not complete JSON ({one_line(error)})") from None


def parse_count(text: str) -> int:
    """A whole number; pandas writes one as `12.0` where a column has gaps."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not number.is_integer():
        raise CellError(f"is not a whole number but {text[:40]!r}")
    if abs(number) > LARGEST_COUNT:
        raise CellError(f"is {text[:40]!r}, which counts nothing that there is")
    return int(number)


def parse_bool(text: str) -> bool:
    """True or False, in any case of letters."""
    if text.lower() not in ("true", "false"):
        raise CellError(f"is neither True nor False but {text[:40]!r}")
    return text.lower() == "true"


def parse_optional(text: str) -> str | None:
    """A text, None where it is empty."""
    return text or None


def parse_text(text: str) -> str:
    """A text that is not blank."""
    if not has_text(text):
        raise CellError("is empty")
    return text


def parse_messages(text: str) -> tuple[Message, ...]:
    """The messages of a JSON list, split replies put together, those without text left out."""
    items = parse_json(text)
    whole = [put_together(item) for item in items] if isinstance(items, list) else items
    return tuple(message for message in to_messages(whole) if message is not None)


def to_messages(items: Any) -> Iterator[Message | None]:
    """The messages of a parsed JSON list, None for one without text."""
    if not isinstance(items, list):
        raise CellError("is not a list of messages")
    for index, item in enumerate(items):
        if not isinstance(item, dict) or "role" not in item or "content" not in item:
            raise CellError(f"message {index} has no 'role' and 'content'")
        role, content = item["role"], item["content"]
        if role not in get_args(Role):
            raise CellError(f"message {index} has the role {role!r} instead of system, user or assistant")
        if not isinstance(content, str | None):
            raise CellError(f"message {index} has a content that is not text")
        if not content or not has_text(content):
            yield None
            continue
        try:
            yield Message(role=role, content=encodable(content))
        except CellError as error:
            raise CellError(f"message {index} {error}") from None


def text_of(item: Mapping[str, Any], key: str) -> str:
    """The text or number under a key of a parsed JSON object, as text that is not blank."""
    if key not in item:
        raise CellError(f"lacks {key}")
    value = item[key]
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise CellError(f"{key} is neither text nor a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise CellError(f"{key} is {value}, which is no number and no text")
    if not has_text(str(value)):
        raise CellError(f"{key} is empty")
    return encodable(str(value))


def whole_number(value: Any) -> int | None:
    """The whole number that a JSON value is or spells: 5, 5.0 and "5"; None for anything else, such as true."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return parse_count(str(value))
    except CellError:
        return None


def check_levels(value: Any) -> None:
    """Raises CellError for a parsed JSON value whose nesting code that walks it could not follow."""
    level = [value]
    for _ in range(MOST_LEVELS):
        if not level:
            return
        level = [
            below
            for found in level
            for below in (found.values() if isinstance(found, dict) else found if isinstance(found, list) else ())
        ]
    if level:
        raise CellError(f"has lists or objects more than {MOST_LEVELS} levels deep")


def encodable(text: str) -> str:
    """JSON can spell half of a surrogate pair, which no tokenizer can read."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise CellError("holds half of a surrogate pair, which is no character") from None
    return text


def one_line(error: BaseException) -> str:
    """An error's message without line ends, cut at 300 characters."""
    return " ".join(str(error).split())[:300]
