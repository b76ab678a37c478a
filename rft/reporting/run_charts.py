"""The charts of one run, or of several side by side: which metrics are drawn, and how."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rft.eval.results import SystemResult
from rft.reporting.charts import Bar, Series, column_chart, interval_chart, line_chart
from rft.reporting.run_folder import RunFolder
from rft.telemetry.names import LOGPROB_GAP

MAX_BARS = 200
"""Of a chart by category; a tag with more values is left to eval.json."""

PHASE = re.compile(r"time/(.+)_s")
"""The metric with a phase's seconds."""


def series_of(runs: Sequence[RunFolder], key: str, *, evaluations: bool = False) -> list[Series]:
    """One line per run; several keys of one run are drawn apart."""
    found = []
    for colour, run in enumerate(runs):
        rows = [row for row in (run.evaluations if evaluations else run.steps) if row.get(key) is not None]
        band = [
            (row["step"], row[f"{key}_low"], row[f"{key}_high"])
            for row in rows
            if row.get(f"{key}_low") is not None and row.get(f"{key}_high") is not None
        ]
        points = [(row["step"], row[key]) for row in rows]
        found.append(Series(label=run.name, points=points, band=band, colour=colour))
    return found


LEARNING = (
    ("Accuracy on held-out questions, 95% interval", "eval/accuracy"),
    ("Mean reward of the rollouts", "reward"),
    ("Evidence still in the memory", "eval/retention"),
    ("Groups without a difference in reward", "frac_reward_zero_std"),
    ("Replies with an answer that could be read", "parse_rate"),
    ("Memory updates not taken", "memory/failure_rate"),
)
"""Title and metric of each chart; all are shares."""

HEALTH = (
    ("Entropy of the sampled tokens", "entropy"),
    ("Gradient norm before clipping", "grad_norm"),
    ("Tokens per completion", "completions/mean_length"),
    ("Gap between engine and trainer log-probs", LOGPROB_GAP),
    ("Share of completions cut at their limit", "completions/clipped_ratio"),
    ("Tokens of a memory", "memory/tokens_mean"),
)

COSTS = (
    ("Tokens per second, prompt and completion", "tokens_per_second"),
    ("Tokens per second in the update", "update/tokens_per_second"),
    ("Share of prompt tokens from the prefix cache", "engine/prefix_cache_hit_rate"),
    ("Tokens computed in the update / tokens of its paths", "update/unique_token_ratio"),
    ("Peak memory, GiB", "peak_memory_gib"),
)


def learning_charts(runs: Sequence[RunFolder]) -> list[Any]:
    charts = [
        line_chart(title, series_of(runs, key, evaluations=key.startswith("eval/")), percent=True)
        for title, key in LEARNING
    ]
    return [chart for chart in charts if chart]


def health_charts(runs: Sequence[RunFolder]) -> list[Any]:
    charts = [line_chart(title, series_of(runs, key), zero=True) for title, key in HEALTH]
    return [chart for chart in charts if chart]


def cost_charts(runs: Sequence[RunFolder]) -> list[Any]:
    charts = []
    for run in runs:
        steps = [row["step"] for row in run.steps]
        charts.append(column_chart(f"Seconds per step by phase: {run.name}", steps, seconds_by_phase(run)))
    charts += [line_chart(title, series_of(runs, key), zero=True) for title, key in COSTS]
    return [chart for chart in charts if chart]


def seconds_by_phase(run: RunFolder) -> dict[str, list[float]]:
    """Seconds of each step by phase, phases in the order in which they come; an evaluation and a checkpoint are added
    to the step that they follow."""
    place = {row["step"]: index for index, row in enumerate(run.steps)}
    seconds: dict[str, list[float]] = {}
    for row in (*run.steps, *run.evaluations):
        for key, value in row.items():
            phase = PHASE.fullmatch(key)
            if phase and value and row["step"] in place:
                seconds.setdefault(phase.group(1), [0.0] * len(place))[place[row["step"]]] += value
    return seconds


def category_charts(run: RunFolder) -> list[Any]:
    """Accuracy by category at the newest checkpoint; the note says what it was before training."""
    before = run.evaluations[0] if run.evaluations and run.evaluations[0]["step"] == 0 else {}
    charts = []
    for breakdown, members in run.last_eval.get("groups", {}).items():
        bars = []
        for value, accuracy in members.items():
            earlier = before.get(f"eval/{breakdown}/{value}")
            note = f"{accuracy['n']} questions" + (f", before training {earlier:.1%}" if earlier is not None else "")
            label = f"{value or '(none)'} ({accuracy['n']})"
            bars.append(
                Bar(label=label, value=accuracy["accuracy"], low=accuracy["low"], high=accuracy["high"], note=note)
            )
        if 1 < len(bars) <= MAX_BARS:
            charts.append(interval_chart(f"Accuracy by {breakdown}", bars, chance=run.last_eval.get("chance")))
    return charts


def systems_chart(systems: Sequence[SystemResult]) -> Any:
    """Every system of every model; controls have a colour of their own."""
    # All are asked the same questions, but some may be shown no options.
    chance = next((row.result.chance for row in systems if row.result.chance is not None), None)
    return interval_chart(
        "Accuracy of each system" + ("; the line is chance" if chance is not None else ""),
        [
            Bar(
                label=f"{row.system}, {row.model}" if row.model != "rules" else row.system,
                value=row.result.overall.accuracy,
                low=row.result.overall.low,
                high=row.result.overall.high,
                note=f"{row.result.overall.n} questions",
                colour=1 if row.is_control else 0,
            )
            for row in systems
        ],
        chance=chance,
    )
