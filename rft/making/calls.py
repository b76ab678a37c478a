"""Every request that was made and what came of it: one JSON lines file per stage, so that nothing is asked twice.

A row is written when its reply has come, and forced to the disk. A run that is killed loses the requests that were on
their way; a last line that was cut short is left out and its request made again.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from rft.chat.failures import PASSING_FAILURES
from rft.config_parser import differing_keys
from rft.jsonl import keep_whole_lines, whole_lines

PASSING = frozenset(map(str, PASSING_FAILURES))

SENTENCES = "seed_sentences"
"""The setting that holds one sentence per persona."""

STAGES = ("personas", "preferences", "conflicts", "conversations", "questions", "options", "checks")
"""In order; each uses what those before it made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRow:
    """One request.

    Example:
        CallRow(id="p3/s7/question", attempt=0, parents=("p3/s7/conversation",), model="gpt-5-mini", seed=813,
                prompt_version="9f86d081", request="2c26b46b", prompt_tokens=412, completion_tokens=230,
                failure=None, detail="", value={"query": "..."}, text="")
    """

    id: str
    """What is made: the same in every run."""
    attempt: int
    parents: tuple[str, ...]
    """Ids of what it was made from."""
    model: str
    seed: int
    """The request's field of that name."""
    prompt_version: str
    """Hash of the prompt before its fields were filled in, and of the reply's schema."""
    request: str
    """Hash of all that was sent."""
    prompt_tokens: int
    completion_tokens: int
    failure: str | None
    """Why there is no value: a reason of rft/chat/failures.py, or `not_json`, `wrong_form`, `cut_off`, or one of the
    stage's own."""
    detail: str
    value: dict[str, Any] | None
    text: str
    """The reply as it came, where there is no value."""

    @property
    def may_pass(self) -> bool:
        """The endpoint gave no answer, and may give one later."""
        return self.failure in PASSING


class Calls:
    """The rows of a folder, by id and attempt; several threads may add some.

    Raises:
        ValueError: a file that holds something else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.Lock()
        self.rows: dict[str, list[CallRow]] = {stage: [] for stage in STAGES}
        self.found: dict[tuple[str, str, int], list[CallRow]] = {}
        self.parents: set[str] = set()
        """Requests that others were made from."""
        self.broken: OSError | None = None
        folder.mkdir(parents=True, exist_ok=True)
        for stage in STAGES:
            keep_whole_lines(self.path(stage))
            for number, line in enumerate(whole_lines(self.path(stage)), 1):
                self._keep(stage, read_row(self.path(stage), number, line))

    def path(self, stage: str) -> Path:
        return self.folder / f"{stage}.jsonl"

    def of(self, stage: str, item: str, attempt: int) -> list[CallRow]:
        """The rows of one attempt: several where the endpoint gave no answer at first."""
        with self.lock:
            return list(self.found.get((stage, item, attempt), ()))

    def add(self, stage: str, row: CallRow) -> None:
        """
        Raises:
            OSError: the row is not whole on the disk; nothing more is written, so that it stays the last one.
        """
        line = json.dumps(dataclasses.asdict(row), ensure_ascii=False) + "\n"
        with self.lock:
            if self.broken is not None:
                raise self.broken
            try:
                with self.path(stage).open("a", encoding="utf-8") as file:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                self.broken = OSError(error.errno, error.strerror, str(self.path(stage)))
                raise self.broken from None
            self._keep(stage, row)

    def _keep(self, stage: str, row: CallRow) -> None:
        self.rows[stage].append(row)
        self.parents.update(row.parents)
        self.found.setdefault((stage, row.id, row.attempt), []).append(row)


def read_row(path: Path, number: int, line: str) -> CallRow:
    try:
        found = json.loads(line)
        return CallRow(**found | {"parents": tuple(found["parents"])})
    except (ValueError, TypeError, KeyError):
        raise ValueError(
            f"{path} line {number} is no row of this version; delete that line, and its request is made again, or "
            "choose another output_dir"
        ) from None


# ----------------------------------------------------------------------------------------------------- a changed config


def settle_changes(folder: Path, settings: dict[str, dict[str, Any]], on_change: str) -> list[str]:
    """Before `Calls` are read: compares the settings of each stage with those that the folder was made with, and
    returns the stages that begin anew.

    A changed stage takes those after it along, since they were made from it.

    Args:
        settings: by stage, what its requests depend on.
        on_change: `refuse` or `restart`.

    Raises:
        ValueError: something changed, and `refuse`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "settings.json"
    before = read_settings(file) if file.exists() else settings
    changed = {stage: differing_keys(*comparable(before.get(stage, {}), settings[stage])) for stage in STAGES}
    first = next((place for place, stage in enumerate(STAGES) if changed[stage]), len(STAGES))
    anew = [stage for stage in STAGES[first:] if (folder / f"{stage}.jsonl").exists()]
    if anew and on_change == "refuse":
        keys = sorted({key for found in changed.values() for key in found})
        raise ValueError(
            f"{folder.parent} was made with other settings ({', '.join(keys)}), on which {', '.join(anew)} depend; "
            "choose another output_dir, or set on_change=restart to make these stages anew"
        )
    for stage in anew:
        os.replace(folder / f"{stage}.jsonl", free_name(folder / f"{stage}.jsonl.before"))
    temporary = folder / ".settings.json.tmp"
    temporary.write_text(json.dumps(settings, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, file)
    return anew


def comparable(before: dict[str, Any], now: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the sentences only those that both have: more personas change nothing."""
    common = min(len(one.get(SENTENCES, ())) for one in (before, now))
    first, second = (one | {SENTENCES: one.get(SENTENCES, [])[:common]} for one in (before, now))
    return first, second


def read_settings(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise ValueError(
            f"{file} is damaged; delete it if the config is the one that the folder was made with, or choose another "
            "output_dir"
        ) from None


def free_name(path: Path) -> Path:
    """The path, or with the first number behind it with which it names nothing yet."""
    names = (path.with_name(f"{path.name}{number or ''}") for number in count())
    return next(name for name in names if not name.exists())
