"""The demo with three seeds, its controls, and its first steps with and without shared prefixes.

Writes bench/results/demo.json and demo.png (the README's plot), and prints a table.

    python bench/demo.py [SEED ...]
"""

from __future__ import annotations

import json
import operator
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from compared import in_short

from rft.eval.results import read_results
from rft.telemetry.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"

CONTROLS = ("system=default,truncated_history,bm25,persona_card", "compare.max_context_tokens=320")


def main(seeds: list[int]) -> None:
    runs = {seed: run(f"seed{seed}", f"train.seed={seed}") for seed in seeds}
    RESULTS.mkdir(exist_ok=True)
    summaries = {str(seed): summary for seed, (summary, _) in runs.items()}
    update = compare_updates()
    report = {
        "command": "python bench/demo.py",
        "provenance": provenance(),
        "seeds": summaries,
        "accuracy_by_tag": accuracy_by_tag([rows for _, rows in runs.values()]),
        "controls": compare_systems("demo", f"checkpoints/demo-seed{seeds[0]}", CONTROLS),
        "update": update,
    }
    (RESULTS / "demo.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    plot({seed: rows for seed, (_, rows) in runs.items()}, RESULTS / "demo.png")
    print("seed  before  after  questions  steps  seconds  max gap   cache hits")
    for seed, (s, _) in runs.items():
        print(
            f"{seed:4d}  {s['accuracy_before']:.3f}   {s['accuracy_after']:.3f}  {s['num_questions']:9d}  "
            f"{s['num_steps']:5d}  {s['wall_seconds']:7.0f}  {s['max_logprob_gap']:.1e}  "
            f"{s['prefix_cache_hit_rate']:.3f}"
        )
    print(
        f"update: {update['seconds_plain']:.2f} s plain, {update['seconds_shared']:.2f} s with shared prefixes; "
        f"equal rewards in {update['num_steps_with_equal_reward']} of {update['num_steps']} steps"
    )


def accuracy_by_tag(runs: list[list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Accuracy by kind of question in the first and the last evaluation, mean of the seeds."""
    evals = [[row for row in rows if "eval/accuracy" in row] for rows in runs]
    names = [name for name in evals[0][0] if name.startswith("eval/") and name.count("/") == 2]
    return {
        name.removeprefix("eval/"): {
            "before": statistics.fmean(found[0][name] for found in evals),
            "after": statistics.fmean(found[-1][name] for found in evals),
        }
        for name in names
    }


def compare_systems(config: str, folder: str, overrides: tuple[str, ...]) -> list[dict[str, Any]]:
    """The trained model beside its controls, on the same questions; each row of results.json in short."""
    evaluation = ROOT / folder / "evaluation"
    shutil.rmtree(evaluation, ignore_errors=True)
    command = [
        sys.executable, str(ROOT / "rft" / "evaluate.py"), f"configs/{config}.yaml", f"output_dir={folder}",
        f"model.model_name_or_path={folder}/best", f"compare.label={config}", *overrides,
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"ACCELERATE_USE_CPU": "true"})
    (file,) = evaluation.glob("*/results.json")
    return [in_short(row) for row in read_results(file).systems]


def compare_updates(num_steps: int = 10) -> dict[str, float]:
    """The same first steps with shared prefixes and without: mean seconds of an update, and whether rewards agree."""
    short = (f"train.max_steps={num_steps}", "eval.at_start=false", "eval.num_questions=4")
    seconds: dict[str, float] = {}
    rewards: dict[str, list[float]] = {}
    norms: dict[str, list[float]] = {}
    for shared_prefix in ("true", "false"):
        plain = "train.per_device_train_batch_size=16"
        _, rows = run(f"shared-{shared_prefix}", *short, plain, f"train.shared_prefix={shared_prefix}")
        steps = [row["time/update_s"] for row in rows if "time/update_s" in row]
        seconds[shared_prefix] = statistics.fmean(steps[1:])  # the first one warms up
        rewards[shared_prefix] = [row["reward"] for row in rows if "reward" in row]
        norms[shared_prefix] = [row["grad_norm"] for row in rows if "reward" in row]
    return {
        "num_steps": num_steps,
        "num_steps_with_equal_reward": sum(map(operator.eq, rewards["true"], rewards["false"])),
        "largest_difference_of_grad_norm": max(
            abs(a - b) / max(a, b, 1e-12) for a, b in zip(norms["true"], norms["false"], strict=True)
        ),
        "seconds_shared": seconds["true"],
        "seconds_plain": seconds["false"],
        "speedup": seconds["false"] / seconds["true"],
    }


def run(name: str, *overrides: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One demo run; its summary and its metrics rows."""
    folder = ROOT / "checkpoints" / f"demo-{name}"
    command = [str(ROOT / "launch" / "demo.sh"), *overrides, f"output_dir={folder.relative_to(ROOT)}"]
    subprocess.run(command, cwd=ROOT, check=True)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return json.loads((folder / "summary.json").read_text(encoding="utf-8")), rows


def plot(runs: dict[int, list[dict[str, Any]]], path: Path) -> None:
    """Training reward by step, and held-out accuracy with its interval where it was measured."""
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for color, (seed, rows) in zip(("#0072b2", "#d55e00", "#009e73"), runs.items(), strict=False):
        rewards = [(row["step"], row["reward"]) for row in rows if "reward" in row]
        axes.plot(*zip(*rewards, strict=True), color=color, alpha=0.45, linewidth=1)
        evals = [row for row in rows if "eval/accuracy" in row]
        accuracy = [row["eval/accuracy"] for row in evals]
        bars = [
            [a - row["eval/accuracy_low"] for a, row in zip(accuracy, evals, strict=True)],
            [row["eval/accuracy_high"] - a for a, row in zip(accuracy, evals, strict=True)],
        ]
        axes.errorbar(
            [row["step"] for row in evals], accuracy, yerr=bars,
            color=color, marker="o", capsize=3, linewidth=2, label=f"seed {seed}",
        )  # fmt: skip
    axes.axhline(0.25, color="gray", linestyle=":", linewidth=1)
    axes.text(0, 0.255, "chance", color="gray", fontsize=8)
    axes.set(xlabel="optimizer step", ylabel="accuracy", ylim=(0, 1.02))
    axes.set_title("Held-out accuracy (points, 95% interval) and training reward (thin)", fontsize=10)
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]] or [0, 1, 2])
