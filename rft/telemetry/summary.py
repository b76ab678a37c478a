"""summary.json: a run in about ten numbers, read back from its own metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rft.jsonl import whole_lines
from rft.telemetry.names import LOGPROB_GAP


def write_summary(
    output_dir: Path,
    *,
    num_questions: int,
    num_steps: int,
    wall_seconds: float,
    save_seconds: float | None,
    engine: str,
    stopped: str | None,
) -> None:
    """Writes OUTPUT_DIR/summary.json from OUTPUT_DIR/metrics.jsonl, so that a resumed run counts as one.

    Args:
        num_questions: those that each evaluation asks.
        num_steps: optimizer steps taken.
        wall_seconds: of all starts.
        save_seconds: of the last checkpoint; None where this start saved none.
        engine: its library and version.
        stopped: name of the signal that ended the run; None where it came to its end.
    """
    rows = [json.loads(line) for line in whole_lines(output_dir / "metrics.jsonl")]
    known = {
        "num_questions": num_questions,
        "num_steps": num_steps,
        "wall_seconds": round(wall_seconds, 1),
        "save_seconds": None if save_seconds is None else round(save_seconds, 2),
        "engine": engine,
        "stopped": stopped,
    }
    text = json.dumps(accuracies(rows) | known | totals(rows) | memory_numbers(rows), indent=2)
    (output_dir / "summary.json").write_text(text + "\n", encoding="utf-8")


def accuracies(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the first and the last evaluation; None where there was none."""
    before, after = first_and_last(rows)
    return {"accuracy_before": before.get("eval/accuracy"), "accuracy_after": after.get("eval/accuracy")}


def memory_numbers(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the memories cost and keep, where answers came from memories."""
    before, after = first_and_last(rows)
    if "eval/memory_tokens_mean" not in after:
        return {}
    return {
        "memory_tokens_mean": after["eval/memory_tokens_mean"],
        "input_tokens_ratio": after.get("eval/input_tokens_ratio"),
        "retention_before": before.get("eval/retention"),
        "retention_after": after.get("eval/retention"),
    }


def first_and_last(rows: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The evaluation before the first step and the newest one; empty where there was none."""
    evals = [row for row in rows if "eval/accuracy" in row]
    before = evals[0] if evals and evals[0]["step"] == 0 else {}
    return before, evals[-1] if evals else {}


def totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    steps = [row for row in rows if LOGPROB_GAP in row]
    prompt_tokens = sum(row.get("engine/prompt_tokens", 0.0) for row in steps)
    computed = sum(row.get("engine/prefill_tokens", 0.0) for row in steps)
    return {
        "max_logprob_gap": max((row[LOGPROB_GAP] for row in steps if row[LOGPROB_GAP] is not None), default=None),
        "prefix_cache_hit_rate": (prompt_tokens - computed) / prompt_tokens if prompt_tokens else None,
    }
