"""Files of one JSON value per line, as a crash may leave them.

A line ends with a line feed and with nothing else: texts of models may hold characters that `str.splitlines` takes for
line ends, such as U+2028, and JSON leaves those as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def whole_lines(path: Path) -> list[str]:
    """The lines of a file, none where it is absent; a last one that was cut short is left out.

    Raises:
        ValueError: a line that is not in UTF-8.
    """
    content = path.read_bytes() if path.exists() else b""
    try:
        return content[: end_of_last_line(content)].decode("utf-8").split("\n")[:-1]
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path} line {number} is not in UTF-8") from None


def keep_whole_lines(path: Path) -> None:
    """Before a file is added to: a line that was cut short must not run into the next one."""
    if path.exists() and (end := end_of_last_line(content := path.read_bytes())) < len(content):
        os.truncate(path, end)


def end_of_last_line(content: bytes) -> int:
    """Looked for in bytes: the cut may be in the middle of a character."""
    return content.rfind(b"\n") + 1


def rewrite_lines(path: Path, lines: Iterable[str]) -> None:
    """Replaces a file's lines, all at once or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    os.replace(temporary, path)
