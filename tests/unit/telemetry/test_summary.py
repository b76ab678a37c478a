"""summary.json, from the metrics a run has written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rft.telemetry.names import LOGPROB_GAP
from rft.telemetry.run_log import append_json
from rft.telemetry.summary import write_summary


def summary(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    for row in rows:
        append_json(folder / "metrics.jsonl", row)
    write_summary(
        folder, num_questions=9, num_steps=2, wall_seconds=1.26, save_seconds=None, engine="vllm 0.31.0", stopped=None
    )
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def step(number: int, gap: float) -> dict[str, Any]:
    return {"step": number, LOGPROB_GAP: gap, "engine/prompt_tokens": 100.0, "engine/prefill_tokens": 25.0}


def test_a_run_in_a_few_numbers(tmp_path: Path):
    evals = [{"step": 0, "eval/accuracy": 0.25}, {"step": 2, "eval/accuracy": 0.5}]
    found = summary(tmp_path, [evals[0], step(1, 1e-6), step(2, 3e-6), evals[1]])
    assert found == {
        "accuracy_before": 0.25, "accuracy_after": 0.5, "num_questions": 9, "num_steps": 2, "wall_seconds": 1.3,
        "save_seconds": None,
        "engine": "vllm 0.31.0", "stopped": None, "max_logprob_gap": 3e-6, "prefix_cache_hit_rate": 0.75,
    }  # fmt: skip


def test_an_evaluation_that_came_later_is_not_the_one_before(tmp_path: Path):
    found = summary(tmp_path, [step(1, 0.0), {"step": 1, "eval/accuracy": 0.5}])
    assert (found["accuracy_before"], found["accuracy_after"]) == (None, 0.5)


def test_memories_add_what_they_keep(tmp_path: Path):
    evals = [
        {"step": number, "eval/accuracy": 0.5, "eval/memory_tokens_mean": 7.0 + number, "eval/retention": number / 4}
        for number in (0, 2)
    ]
    found = summary(tmp_path, evals)
    assert (found["memory_tokens_mean"], found["retention_before"], found["retention_after"]) == (9.0, 0.0, 0.5)


def test_a_replay_has_no_engine_counters(tmp_path: Path):
    found = summary(tmp_path, [{"step": 1, LOGPROB_GAP: 2e-3}])
    assert (found["max_logprob_gap"], found["prefix_cache_hit_rate"], found["accuracy_after"]) == (2e-3, None, None)
