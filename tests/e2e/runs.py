"""Running the project's own commands, and reading what a run leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run(command: Sequence[str]) -> str:
    """Runs a command from the root; its standard output."""
    environment = os.environ | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1"}
    finished = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=400
    )
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-6000:]
    return finished.stdout


def launch(folder: Path, *overrides: str, accelerate: tuple[str, ...] = ("cpu.yaml",)) -> str:
    """Runs rft/train.py with `folder`/run.yaml under `accelerate launch`; its standard output."""
    config_file, *options = accelerate
    return run([
        sys.executable, "-m", "accelerate.commands.launch",
        "--config_file", f"configs/accelerate/{config_file}", *options,
        "rft/train.py", str(folder / "run.yaml"), *overrides,
    ])  # fmt: skip


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def steps(output: Path) -> list[dict[str, Any]]:
    """Metrics of optimizer steps."""
    return [row for row in rows(output / "metrics.jsonl") if "reward" in row]
