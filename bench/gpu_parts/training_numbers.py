"""What a cold start and a run of GRPO say of themselves, in the few numbers that a report needs."""

from __future__ import annotations

import ast
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rft.checkpoint.folder import complete_steps
from rft.telemetry.names import LOGPROB_GAP

POINTS = 20
"""Of the reward curve."""


def printed_metrics(lines: Sequence[str]) -> list[dict[str, Any]]:
    """What transformers' trainer prints of itself: a dict on a line."""
    return [ast.literal_eval(line.strip()) for line in lines if line.strip().startswith("{'")]


def in_numbers(output: Path) -> dict[str, Any]:
    """A run of GRPO in short, from its own metrics."""
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [row for row in rows if LOGPROB_GAP in row]
    evaluations = [row for row in rows if "eval/accuracy" in row]
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    return {
        "steps": complete_steps(output)[-1],
        "stopped": summary["stopped"],
        "seconds_of_all_starts": summary["wall_seconds"],
        "seconds_per_step": statistics.median(row["step_time"] for row in steps),
        "phases": {name: statistics.median(row[f"time/{name}_s"] for row in steps) for name in ("rollout", "update")},
        "grad_norm": statistics.median(row["grad_norm"] for row in steps),
        "rewards": curve([row["reward"] for row in steps]),
        "validation": [
            [row["step"], *(row[f"eval/{name}"] for name in ("accuracy", "accuracy_low", "accuracy_high"))]
            for row in evaluations
        ],
        "completion_tokens": [steps[0].get("completions/mean_length"), steps[-1].get("completions/mean_length")],
        "max_logprob_gap": summary["max_logprob_gap"],
        "prefix_cache_hit_rate": summary["prefix_cache_hit_rate"],
        "peak_memory_gib": max(row["peak_memory_gib"] for row in steps),
    }


def curve(values: Sequence[float]) -> list[float]:
    """Means of consecutive, equally long parts, at most POINTS of them; the last may be shorter."""
    size = -(-len(values) // POINTS)
    return [round(statistics.fmean(values[i : i + size]), 4) for i in range(0, len(values), size)]
