"""Tables in docs/planning.md, each between two markers that name the command that writes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs/planning.md"
END = "<!-- end of table -->"


def write_table(script: str, lines: Sequence[str]) -> None:
    """Puts `lines` in place of the table of a script, such as `bench/plan_table.py`."""
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), script, lines), encoding="utf-8")


def with_table(text: str, script: str, lines: Sequence[str]) -> str:
    """The page with another table; everything outside the markers stays."""
    begin = f"<!-- table: python {script} -->"
    head, rest = text.split(begin)
    _, tail = rest.split(END, 1)
    return "\n".join([f"{head}{begin}", *lines, f"{END}{tail}"])
