"""Running the project's own commands, and reading what a run leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run(command: Sequence[str], **environment: str) -> str:
    """Runs a command from the root; its standard output."""
    known = {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1"}
    finished = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | known | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-6000:]
    return finished.stdout


def launch(folder: Path, *overrides: str, accelerate: tuple[str, ...] = ()) -> str:
    """Runs rft/train.py with `folder`/run.yaml on the CPU; its standard output.

    Args:
        accelerate: a file of configs/accelerate/ and options, for a start by `accelerate launch`. A single process
            needs none, and takes the same steps without (test_train.py).
    """
    command = ["rft/train.py", str(folder / "run.yaml"), *overrides]
    if not accelerate:
        return run([sys.executable, *command], ACCELERATE_USE_CPU="true")
    config_file, *options = accelerate
    launcher = ["-m", "accelerate.commands.launch", "--config_file", f"configs/accelerate/{config_file}", *options]
    return run([sys.executable, *launcher, *command])


def as_killed_after(step: int, output: Path, copy: Path) -> None:
    """A copy of a run as a kill leaves it that comes after checkpoint `step`: log rows of later steps are there."""
    shutil.copytree(output, copy, symlinks=True)
    for later in copy.glob("checkpoint-*"):
        if int(later.name.rpartition("-")[2]) > step:
            shutil.rmtree(later)
    if not (copy / "best").exists():
        (copy / "best").unlink(missing_ok=True)
    for name in ("summary.json", "report.html"):
        (copy / name).unlink(missing_ok=True)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def steps(output: Path) -> list[dict[str, Any]]:
    """Metrics of optimizer steps."""
    return [row for row in rows(output / "metrics.jsonl") if "reward" in row]
