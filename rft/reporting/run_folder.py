"""What a run folder says, read into one record; files that are not there leave their part empty."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rft.eval.results import Results, read_results
from rft.jsonl import whole_lines
from rft.telemetry.names import LOGPROB_GAP

Row = dict[str, Any]

FIRST_BYTES, LAST_BYTES = 4 * 2**20, 16 * 2**20
"""Read of rollouts.jsonl, from its beginning and from its end: a page is written at every checkpoint, and a run that
has logged for days must not wait for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Best and worst rollout of one group: an answer, or a memory's updates and answers (rollouts.jsonl).

    Example:
        Group(step=12, best={...}, worst={...})
    """

    step: int
    best: Row
    worst: Row | None
    """None where all siblings did equally well, so that one was kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """One run.

    Example:
        RunFolder(name="demo", path=Path("checkpoints/demo"), steps=[{...}], evaluations=[{...}], groups=[Group(...)],
                  summary={...}, config="output_dir: ...", provenance={...}, last_eval={...}, results=[Results(...)])
    """

    name: str
    path: Path
    steps: list[Row]
    """Rows of metrics.jsonl that belong to optimizer steps."""
    evaluations: list[Row]
    """Rows of metrics.jsonl with a policy evaluation."""
    groups: list[Group]
    """All of them, or the first and the last ones of a large file."""
    all_groups: bool
    """Whether none is left out."""
    summary: Row
    config: str
    provenance: Row
    last_eval: Row
    """eval.json of the newest checkpoint."""
    results: list[Results]
    """Comparisons (rft/evaluate.py), by data set."""


def read_run(path: Path) -> RunFolder:
    """Reads a run folder.

    Raises:
        ValueError: the folder holds neither metrics nor results.
    """
    metrics = read_lines(path / "metrics.jsonl")
    results = [read_results(file) for file in sorted(path.glob("evaluation/*/results.json"))]
    if not metrics and not results:
        raise ValueError(f"{path} has no metrics.jsonl and no evaluation/*/results.json; name a run folder")
    groups, all_groups = read_groups(path / "rollouts.jsonl")
    return RunFolder(
        name=path.resolve().name,
        path=path,
        steps=[row for row in metrics if LOGPROB_GAP in row],
        evaluations=[row for row in metrics if "eval/accuracy" in row],
        groups=groups,
        all_groups=all_groups,
        summary=read_json(path / "summary.json"),
        config=read_text(path / "config.yaml"),
        provenance=read_json(path / "provenance.json"),
        last_eval=newest_eval(path),
        results=results,
    )


def read_groups(path: Path) -> tuple[list[Group], bool]:
    """The groups of rollouts.jsonl, and whether all of them; of a large file the first and the last ones.

    Raises:
        ValueError: rows of an earlier version.
    """
    if not path.exists():
        return [], True
    first, last = ends_of(path)
    rows = [json.loads(line) for line in first]
    if rows and "context_id" not in rows[0]:
        raise ValueError(f"{path} was written by an earlier version; move it elsewhere to have a page without rollouts")
    if last is None:
        return groups_of(rows), True
    # The bytes may begin and end within a group.
    return [*groups_of(rows)[:-1], *groups_of(map(json.loads, last))[1:]], False


def ends_of(path: Path) -> tuple[list[bytes], list[bytes] | None]:
    """The whole lines of a file, or those at its beginning and at its end; a last one that was cut short is left
    out."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= FIRST_BYTES + LAST_BYTES:
            return file.read(size).split(b"\n")[:-1], None
        first = file.read(FIRST_BYTES).split(b"\n")[:-1]
        file.seek(size - LAST_BYTES)
        return first, file.read(LAST_BYTES).split(b"\n")[1:-1]


def groups_of(rows: Iterable[Row]) -> list[Group]:
    """Rows that follow each other and are of one step and of one question, or of one context's memory."""
    groups = []
    for (step, _), members in groupby(rows, key=lambda row: (row["step"], first_answer(row)["question_id"])):
        best, *rest = members
        groups.append(Group(step=step, best=best, worst=rest[0] if rest else None))
    return groups


def first_answer(rollout: Row) -> Row:
    """The row itself, or the first of the answers that were given from its memory: equal questions for siblings."""
    answers: list[Row] = rollout.get("answers", [rollout])
    return answers[0]


def newest_eval(path: Path) -> Row:
    checkpoints = [found for found in path.glob("checkpoint-*/eval.json") if found.parent.name[11:].isdigit()]
    newest = max(checkpoints, key=lambda found: int(found.parent.name[11:]), default=None)
    return read_json(newest) if newest else {}


def read_lines(path: Path) -> list[Row]:
    """Rows of a jsonl file; a last line that a crash cut short is left out."""
    return [json.loads(line) for line in whole_lines(path)]


def read_json(path: Path) -> Row:
    text = read_text(path)
    found: Row = json.loads(text) if text else {}
    return found


def read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
