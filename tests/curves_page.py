"""docs/curves.md as a list of metrics."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "curves.md"


def undescribed(names: Iterable[str]) -> list[str]:
    """The metrics that no table of the page has."""
    cells = [line.split("|")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    written = [name for cell in cells for name in re.findall("`([^`]+)`", cell)]
    written += re.findall(r"`(eval/accuracy_\w+)`", PAGE.read_text())
    # TAG, VALUE, NAME, LETTER and PHASE stand for any word.
    patterns = [re.compile(re.sub("[A-Z]+", "[^/]+", re.escape(name))) for name in written]
    return sorted(name for name in set(names) if not any(pattern.fullmatch(name) for pattern in patterns))
