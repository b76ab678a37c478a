"""A run of two ranks under a launcher: one killed, one stopped, the launcher gone; and a short soak of kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.e2e.runs import ROOT
from tests.e2e.small_run import write_small_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STALL_S = 60
ENDLESS = ("train.max_steps=3000", "train.deepspeed=null", f"train.stall_timeout_s={STALL_S}")
BOUND_S = 60
"""For the end of all ranks, once the stall time is over."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    write_small_run(folder)
    return folder


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.1)


def start(folder: Path, name: str, *command: str, num_ranks: int) -> tuple[subprocess.Popen[bytes], dict[int, int]]:
    """Starts a launcher, waits for a checkpoint; the launcher, and rank -> process."""
    output = folder / name
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "NUM_GPUS": str(num_ranks)}
    with (folder / f"{name}.log").open("w") as log:
        launcher = subprocess.Popen(
            [*command, str(folder / "run.yaml"), f"output_dir={output}", *ENDLESS],
            cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    wait_until(lambda: (output / "checkpoint-3").exists() or launcher.poll() is not None)
    reports = [json.loads((output / ".ranks" / f"{rank}.json").read_text()) for rank in range(num_ranks)]
    return launcher, {report["rank"]: report["pid"] for report in reports}


def test_one_rank_killed(folder: Path):
    launcher, ranks = start(folder, "killed", "launch/one_node.sh", num_ranks=2)
    os.kill(ranks[1], signal.SIGKILL)
    assert launcher.wait(timeout=BOUND_S) == 70
    said = (folder / "killed.log").read_text()
    assert "rank 0 ends: rank 1 " in said and "was killed in " in said
    assert "is whole, and the same command continues from it" in said
    assert "Traceback" not in said


def test_one_rank_stopped_for_longer_than_the_stall_time(folder: Path):
    launcher, ranks = start(folder, "stopped", "launch/one_node.sh", num_ranks=2)
    os.kill(ranks[1], signal.SIGSTOP)
    assert launcher.wait(timeout=STALL_S + BOUND_S) == 75
    said = (folder / "stopped.log").read_text()
    assert "rank 0: nothing has moved on any rank for 6" in said
    assert "torch.distributed" in said
    assert f"rank 1 (process {ranks[1]} on " in said and "it is stopped" in said
    assert not psutil.pid_exists(ranks[1])
    assert "rft/grpo" in (folder / "stopped" / "stalled-rank-0.txt").read_text()


def test_sigterm_to_accelerate_launch_with_one_process(folder: Path):
    """The launcher is gone at once; the trainer ends at a checkpoint."""
    accelerate = (sys.executable, "-m", "accelerate.commands.launch", "--config_file", "configs/accelerate/cpu.yaml")
    launcher, ranks = start(folder, "single", *accelerate, "rft/train.py", num_ranks=1)
    launcher.send_signal(signal.SIGTERM)
    launcher.wait(timeout=BOUND_S)
    wait_until(lambda: not psutil.pid_exists(ranks[0]))
    assert json.loads((folder / "single" / "summary.json").read_text())["stopped"] == "SIGTERM"


def test_ten_kills_leave_no_trace(tmp_path: Path):
    soaked = subprocess.run(
        [
            sys.executable, "bench/kill_soak.py", "--kills", "10", "--seed", "7", "--only", "mcq-1",
            "--folder", str(tmp_path),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert soaked.returncode == 0, soaked.stdout[-4000:] + soaked.stderr[-2000:]
    report = json.loads(soaked.stdout[soaked.stdout.index("\n{") :])
    assert (report["kills"], report["resumes_exact"], report["faults"]) == (10, 10, [])
