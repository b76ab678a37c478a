"""JSON as programs and people leave it: one value, or several one after another (JSON lines). Refused where it breaks,
with line and column."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, NoReturn

from rft.data.readers.cells import CellError, one_line
from rft.plain_text import without_half_surrogates

SPACE = re.compile(r"[\s\ufeff]*")
TEXT_OR_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|(-?Infinity|NaN)', re.DOTALL)


class ConstantFoundError(ValueError):
    """NaN or Infinity, which Python writes and JSON does not have."""


def read_values(text: str) -> tuple[list[Any], Counter[str]]:
    """The values of a text that begins with one, and what was odd in them.

    Raises:
        CellError: what is no JSON, and where.
    """
    odd: Counter[str] = Counter()
    decoder = json.JSONDecoder(
        strict=False,  # a tab or a line break within a text is meant as one
        parse_constant=refuse_constant,
        object_pairs_hook=lambda pairs: read_pairs(pairs, odd),
    )
    values: list[Any] = []
    place = skip_space(text, 0)
    while place < len(text):
        try:
            value, place = decoder.raw_decode(text, place)
        except RecursionError:
            raise CellError("is nested too deeply to be read as JSON") from None
        except ConstantFoundError as error:
            raise CellError(f"is not JSON: {error} at {constant_place(text, place)}") from None
        except json.JSONDecodeError as error:
            raise CellError(f"is not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
        except ValueError as error:  # a number of more digits than Python reads
            if "digits" in str(error):
                raise CellError("is not JSON that can be read: a number in it has thousands of digits") from None
            raise CellError(f"is not JSON that can be read: {one_line(error)}") from None
        values.append(value)
        place = skip_space(text, place)
    if "\\u" in text:
        values = whole_characters(values, odd)
    return values, odd


def skip_space(text: str, place: int) -> int:
    found = SPACE.match(text, place)
    assert found is not None, "it matches nothing too"
    return found.end()


def refuse_constant(name: str) -> NoReturn:
    raise ConstantFoundError(name)


def constant_place(text: str, begin: int) -> str:
    """Where the first NaN or Infinity stands outside of texts."""
    found = next((found for found in TEXT_OR_CONSTANT.finditer(text, begin) if found[1]), None)
    at = found.start() if found else begin
    return f"line {text.count(chr(10), 0, at) + 1} column {at - text.rfind(chr(10), 0, at)}"


def read_pairs(pairs: list[tuple[str, Any]], odd: Counter[str]) -> dict[str, Any]:
    """An object; of a key that stands in it twice the last value counts, as everywhere, and it is said."""
    found = dict(pairs)
    if len(found) < len(pairs):
        odd["repeated keys, of which the last is read"] += len(pairs) - len(found)
    return found


def whole_characters(value: Any, odd: Counter[str]) -> Any:
    """The value with halves of surrogate pairs taken out of its texts, and counted.

    Raises:
        CellError: it is nested too deeply.
    """
    try:
        return clean(value, odd)
    except RecursionError:
        raise CellError("is nested too deeply to be read as JSON") from None


def clean(value: Any, odd: Counter[str]) -> Any:
    if isinstance(value, str):
        text, count = without_half_surrogates(value)
        odd["halves of surrogate pairs"] += count
        return text
    if isinstance(value, list):
        return [clean(item, odd) for item in value]
    if isinstance(value, dict):
        return {clean(key, odd): clean(item, odd) for key, item in value.items()}
    return value
