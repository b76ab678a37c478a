"""Files of one JSON value per line, as a crash may leave them.

A line ends with a line feed and with nothing else: texts of models may hold characters that `str.splitlines` takes for
line ends, such as U+2028, and JSON leaves those as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def whole_lines(path: Path) -> list[str]:
    """The lines of a file, none where it is absent; a last one that was cut short is left out."""
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []


def keep_whole_lines(path: Path) -> None:
    """Before a file is added to: a line that was cut short must not run into the next one."""
    if path.exists() and not (text := path.read_text(encoding="utf-8")).endswith("\n"):
        path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")


def rewrite_lines(path: Path, lines: Iterable[str]) -> None:
    """Replaces a file's lines, all at once or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    os.replace(temporary, path)
