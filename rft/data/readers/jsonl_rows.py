"""Lines of a file of JSON objects, each of which can say where it stands.

A line ends with a line feed and with nothing else: JSON texts may hold characters that other readers take for line
ends, such as U+2028. A byte order mark, carriage returns before line feeds and blank lines are fine.
"""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rft.data.dataset import RecordError
from rft.data.readers.cells import CellError, encodable, parse_json, parse_text

SHOWN_CHARS = 40
"""How much of a wrong key is shown."""

Parser = Callable[[Any], Any]
"""From a JSON value to what it means; raises CellError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonlRow:
    """One line that is not blank.

    Example:
        JsonlRow(path=Path("data/questions.jsonl"), number=2, offset=31, data=b'{"query": "2 + 2?", "answer": "4"}')
    """

    path: Path
    number: int
    """Lines count from 1, blank ones included."""
    offset: int
    """Bytes of the file before this line."""
    data: bytes

    def parse(self, parsers: Mapping[str, Parser], required: Sequence[str]) -> dict[str, Any]:
        """The object's values by key, each read by its parser.

        Raises:
            RecordError: no UTF-8, no JSON, no object; an unknown or a missing key; a value that its parser refuses.
        """
        item = self.parse_object()
        for key in item:
            if key not in parsers:
                raise self.bad("unknown_key", f"has the unknown key {key[:SHOWN_CHARS]!r}{nearest(key, parsers)}")
        for key in required:
            if key not in item:
                raise self.bad("missing_key", f"has no '{key}'")
        return {key: self.parse_value(key, parsers[key], value) for key, value in item.items()}

    def parse_object(self) -> dict[str, Any]:
        try:
            item = parse_json(self.data.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise self.bad("encoding", f"is not UTF-8 (byte {error.start} of the line)") from None
        except CellError as error:
            raise self.bad("json", f"{error}; a line must be one whole JSON object") from None
        if not isinstance(item, dict):
            raise self.bad("json", f"is {kind_of(item)} instead of a JSON object")
        return item

    def parse_value(self, key: str, parser: Parser, value: Any) -> Any:
        try:
            return parser(value)
        except CellError as error:
            raise self.bad(key, f"{error}", key) from None

    def bad(self, reason: str, message: str, key: str | None = None) -> RecordError:
        """The error to raise for this line, or for the value of one of its keys."""
        return RecordError(reason, f"{self.place}, {key}: {message}" if key else f"{self.place} {message}")

    @property
    def place(self) -> str:
        return f"{self.path} line {self.number}"


def read_jsonl(path: Path) -> Iterator[JsonlRow]:
    """The lines of a file that are not blank, one at a time."""
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            start = len(codecs.BOM_UTF8) if number == 1 and line.startswith(codecs.BOM_UTF8) else 0
            if line[start:].strip():
                yield JsonlRow(path=path, number=number, offset=offset + start, data=line[start:])
            offset += len(line)


def read_line_at(path: Path, number: int, offset: int) -> JsonlRow:
    """The line that begins at a byte of the file, as `read_jsonl` found it."""
    with path.open("rb") as file:
        file.seek(offset)
        return JsonlRow(path=path, number=number, offset=offset, data=file.readline())


def nearest(key: str, known: Mapping[str, Any]) -> str:
    found = difflib.get_close_matches(key[:SHOWN_CHARS], known, n=1, cutoff=0.5)
    return f" (did you mean '{found[0]}'?)" if found else f" (known ones are {', '.join(known)})"


def text_value(value: Any) -> str:
    """A JSON string that is not blank."""
    if not isinstance(value, str):
        raise CellError(f"is {kind_of(value)} instead of text in quotes")
    return parse_text(encodable(value))


def name_value(value: Any) -> str:
    """A text of one line: messages and tables show it."""
    name = text_value(value)
    if len(name.splitlines()) > 1:
        raise CellError("is longer than one line")
    return name


def kind_of(value: Any) -> str:
    """What a JSON value is, for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object"
