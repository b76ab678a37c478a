"""memories.jsonl: every update of every memory of a comparison, one per line, written as it is made."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rft.jsonl import keep_whole_lines, whole_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedUpdate:
    """One line.

    Example:
        LoggedUpdate(context_id="data/chat_history_32k/...json", question_id=None, sample=0, turn=2,
                     memory="Likes jazz.", failure=None)
    """

    context_id: str
    question_id: str | None
    """With memory.query_aware the one question that this memory is for; else None."""
    sample: int
    turn: int
    """The update, from 0."""
    memory: str
    """As it stands after this update."""
    failure: str | None
    """Why the reply was not taken."""


class MemoryLog:
    """The updates made so far, from before an interruption too; several threads may share it.

    Raises:
        ValueError: a line of the file that is no update.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.updates: dict[tuple[str, int], list[LoggedUpdate]] = {}
        keep_whole_lines(path)
        for number, line in enumerate(whole_lines(path), 1):
            try:
                self.remember(LoggedUpdate(**json.loads(line)))
            except (json.JSONDecodeError, TypeError):
                raise ValueError(f"{path} line {number} is no update of this version; remove the file") from None

    def of_context(self, context_id: str, sample: int) -> list[LoggedUpdate]:
        """Those of the newest memory of a context, in order."""
        return self.updates.get((context_id, sample), [])

    def add(self, updates: Iterable[LoggedUpdate]) -> None:
        """Appends them to the file and keeps them in mind."""
        with self.lock, self.path.open("a", encoding="utf-8") as file:
            for update in updates:
                self.remember(update)
                file.write(json.dumps(dataclasses.asdict(update), ensure_ascii=False) + "\n")

    def remember(self, update: LoggedUpdate) -> None:
        key = (update.context_id, update.sample)
        if update.turn == 0:
            self.updates[key] = []
        self.updates.setdefault(key, []).append(update)
