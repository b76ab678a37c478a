"""The whole loop on this machine: some steps of the demo, from its shipped model, with checkpoint and evaluation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from gpu_parts.common import Report, Sizes, timed
from rft.synthetic.generator import write_dataset
from rft.telemetry.names import LOGPROB_GAP

ROOT = Path(__file__).resolve().parents[2]
KEYS = ("reward", "loss", "grad_norm", LOGPROB_GAP, "step_time", "peak_memory_gib", "engine/preemptions")


def run(report: Report, sizes: Sizes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dataset(
            folder / "data", num_personas=8 if report.toy else 80, questions_per_persona=5, history_tokens=300, seed=0,
            style="brief", decoys=0.3, num_val_personas=2 if report.toy else 20, num_benchmark_personas=1,
        )  # fmt: skip
        seconds, finished = timed(lambda: train(folder, overrides(folder, toy=report.toy)))
        if finished.returncode != 0:
            print(finished.stdout[-4000:], finished.stderr[-12000:], sep="\n")
            raise SystemExit(f"exit status {finished.returncode}: {finished.stderr.strip()[-400:]}")
        rows = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
        summary: dict[str, Any] = json.loads((folder / "run" / "summary.json").read_text())
        steps = [row for row in rows if LOGPROB_GAP in row]
        report.write(
            seconds=seconds,
            steps=len(steps),
            accuracy_before=summary["accuracy_before"],
            accuracy_after=summary["accuracy_after"],
            max_logprob_gap=summary["max_logprob_gap"],
            first_step={key: steps[0].get(key) for key in KEYS},
            last_step={key: steps[-1].get(key) for key in KEYS},
            engine=next((line.strip() for line in finished.stdout.splitlines() if "KV cache of" in line), None),
        )


def overrides(folder: Path, *, toy: bool) -> list[str]:
    found = [
        f"output_dir={folder / 'run'}",
        f"data.source={folder / 'data'}",
        f"data.cache_dir={folder / 'cache'}",
        "log.report_to=none",
    ]
    if torch.cuda.is_available():
        # Measured, and no reason to stop: on a GPU nobody knows yet how far rounding takes so small a model.
        found += ["model.dtype=bfloat16", "train.max_logprob_gap=1.0"]
    if toy:
        small = ["rollout.questions_per_batch=4", "rollout.num_generations=4", "eval.num_questions=4"]
        return [*found, *small, "train.max_steps=1", "checkpoint.save_steps=1", "rollout.vllm_kv_cache_gb=0.1"]
    return [*found, "train.max_steps=20", "checkpoint.save_steps=20"]


def train(folder: Path, settings: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "rft/train.py", "configs/demo.yaml", *settings],
        cwd=ROOT, env=os.environ.copy(), capture_output=True, text=True, check=False,
    )  # fmt: skip
