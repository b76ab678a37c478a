"""A row of rft/evaluate.py's results.json, as measurements keep it."""

from __future__ import annotations

from typing import Any

from rft.eval.results import SystemResult


def in_short(row: SystemResult) -> dict[str, Any]:
    overall, difference = row.result.overall, row.difference
    return {
        "system": row.system,
        "num_questions": overall.n,
        "accuracy": overall.accuracy,
        "interval": [overall.low, overall.high],
        "baseline": row.baseline,
        "difference": None if difference is None else [difference.mean, difference.low, difference.high],
        "prompt_tokens": row.cost.prompt_tokens_mean,
    }
