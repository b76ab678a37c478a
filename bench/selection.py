"""The demo with uniform and with adaptive selection (rollout.select), beside each other.

    python bench/selection.py [SEED ...]

For each seed the arms run one after another: 16 questions per batch as they come; 8 whose pilot differs, which is what
differed among 16; and, for the first seed, 16 whose pilot differs. Writes bench/results/selection.json: groups without
a difference, seconds of training (evaluations left out) until the held-out accuracy reaches 0.80, final accuracy, and
accuracy by kind of question. Needs two cores and nothing else running.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from demo import RESULTS, accuracy_by_tag, run

from rft.rollout.adaptive import kept_share
from rft.telemetry.provenance import provenance

TARGET = 0.80
ARMS = {
    "uniform, 16 questions": (),
    "adaptive, 8 questions": ("rollout.select=adaptive", "rollout.questions_per_batch=8"),
}
LARGE = {"adaptive, 16 questions": ("rollout.select=adaptive",)}
EVERY = 10
"""Steps between two evaluations."""


def main(seeds: Sequence[int]) -> None:
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for seed in seeds:
        for name, overrides in (ARMS | LARGE if seed == seeds[0] else ARMS).items():
            folder = f"select-{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            _, rows = run(folder, f"train.seed={seed}", f"checkpoint.save_steps={EVERY}", *overrides)
            runs.setdefault(name, {})[str(seed)] = rows
            write(runs)
    print(json.dumps(report_of(runs)["arms"], indent=2))


def write(runs: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "selection.json").write_text(json.dumps(report_of(runs), indent=2) + "\n", encoding="utf-8")


def report_of(runs: dict[str, dict[str, list[dict[str, Any]]]]) -> dict[str, Any]:
    arms = {name: {seed: summary(rows) for seed, rows in found.items()} for name, found in runs.items()}
    return {
        "command": "python bench/selection.py",
        "provenance": provenance(),
        "target_accuracy": TARGET,
        "arms": arms,
        "seconds_to_target_over_uniform": {
            name: statistics.fmean(ratios)
            for name, found in arms.items()
            if (ratios := ratios_to_uniform(found, arms["uniform, 16 questions"]))
        },
        "accuracy_by_tag": {name: accuracy_by_tag(list(found.values())) for name, found in runs.items()},
        "kept_share": {
            str(p): {str(share): kept_share(p, 16, 4, share) for share in (0.0, 0.1, 0.3)}
            for p in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
        },
    }


def ratios_to_uniform(arm: dict[str, dict[str, Any]], uniform: dict[str, dict[str, Any]]) -> list[float]:
    """Of the seconds to the target, seed by seed; none where one of them did not reach it."""
    pairs = [(found["seconds_to_target"], uniform[seed]["seconds_to_target"]) for seed, found in arm.items()]
    return [mine / theirs for mine, theirs in pairs if mine is not None and theirs is not None]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One run in numbers."""
    steps = [row for row in rows if "reward" in row]
    evals = [row for row in rows if "eval/accuracy" in row]
    seconds = {0: 0.0}
    for row in steps:
        seconds[row["step"]] = seconds[row["step"] - 1] + row["step_time"]
    reached = next((row["step"] for row in evals if row["eval/accuracy"] >= TARGET), None)
    return {
        "frac_reward_zero_std": statistics.fmean(row["frac_reward_zero_std"] for row in steps),
        "mean_step_seconds": statistics.fmean(row["step_time"] for row in steps),
        "mean_rollout_seconds": statistics.fmean(row["time/rollout_s"] for row in steps),
        **{
            name: statistics.fmean(row[name] for row in steps)
            for name in ("select/candidates", "select/mixed_ratio", "select/filled", "select/rounds")
            if name in steps[0]
        },
        "steps_to_target": reached,
        "seconds_to_target": None if reached is None else seconds[reached],
        "seconds": seconds[steps[-1]["step"]],
        "accuracy_before": evals[0]["eval/accuracy"],
        "accuracy_after": evals[-1]["eval/accuracy"],
        "curve": [[row["step"], seconds[row["step"]], row["eval/accuracy"]] for row in evals],
    }


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]] or [0, 1, 2])
