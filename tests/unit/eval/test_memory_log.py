"""memories.jsonl: what was written is read back, after a crash too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rft.eval.memory_log import LoggedUpdate, MemoryLog


def update(context_id: str, turn: int, memory: str, sample: int = 0) -> LoggedUpdate:
    return LoggedUpdate(
        context_id=context_id, question_id=None, sample=sample, turn=turn, memory=memory, failure=None
    )  # fmt: skip


def test_updates_are_read_back_by_context_and_sample(tmp_path: Path):
    log = MemoryLog(tmp_path / "memories.jsonl")
    first = [update("a", 0, "- jazz"), update("a", 1, "- jazz\n- tea\u2028"), update("a", 0, "other", sample=1)]
    log.add(first)
    with log.path.open("a") as file:
        file.write('{"context_id": "a", "tu')  # a crash in the middle of a line
    again = MemoryLog(log.path)
    again.add([update("b", 0, "")])
    assert again.of_context("a", 0) == first[:2] == MemoryLog(log.path).of_context("a", 0)
    assert again.of_context("a", 1) == first[2:] and again.of_context("c", 0) == []
    assert len(log.path.read_text(encoding="utf-8").split("\n")) == 5


def test_a_memory_that_is_begun_again_replaces_the_one_before(tmp_path: Path):
    log = MemoryLog(tmp_path / "memories.jsonl")
    log.add([update("a", 0, "old"), update("a", 1, "old too")])
    log.add([update("a", 0, "new")])
    assert [one.memory for one in MemoryLog(log.path).of_context("a", 0)] == ["new"]


@pytest.mark.parametrize("line", [json.dumps({"history_id": "a", "turn": 0, "memory": "", "failure": None}), "{", "7"])
def test_a_line_of_another_version_is_named(tmp_path: Path, line: str):
    path = tmp_path / "memories.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=r"memories\.jsonl line 1 is no update of this version; remove the file"):
        MemoryLog(path)
