"""Every launcher gives the ranks that the config asks for, or that the launcher was told to give."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ZERO3 = "train.deepspeed=configs/deepspeed/zero3.json"
ACCELERATE = (sys.executable, "-m", "accelerate.commands.launch")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def facts(folder: Path, launcher: tuple[str, ...], *overrides: str, **environment: str) -> list[dict[str, Any]]:
    """What each rank found (rank_facts.py)."""
    finished = subprocess.run(
        (*launcher, "-m", "tests.unit.rank_facts", str(folder), "train.ddp_timeout=777", *overrides),
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment, capture_output=True, text=True, check=False,
        timeout=240,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-6000:]
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("[0-9]*.json"))]
    assert all(rank["ranks"] == list(range(len(found))) for rank in found)
    assert all(set(rank["timeouts"]) <= {777.0} for rank in found), "every group, DeepSpeed's own among them"
    return found


@pytest.mark.parametrize(
    ("launcher", "num_ranks"),
    [
        ((sys.executable,), 1),
        pytest.param(TORCHRUN, 2, marks=pytest.mark.slow),
        # On a machine with two GPUs `accelerate launch` sets --multi_gpu by itself.
        ((*ACCELERATE, "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"), 2),
    ],
    ids=["python", "torchrun", "accelerate launch"],
)
def test_zero3_from_the_config_under_any_launcher(tmp_path: Path, launcher: tuple[str, ...], num_ranks: int):
    found = facts(tmp_path, launcher, ZERO3)
    assert len(found) == num_ranks
    for rank in found:
        assert (rank["kind"], rank["type"]) == ("zero3", "DistributedType.DEEPSPEED")
        assert rank["partitioned"] == [True, True] and rank["held"] == 0, "no rank ever holds the whole model"
        assert len(rank["timeouts"]) >= 2


@pytest.mark.slow
def test_the_cpu_of_the_launcher_does_not_switch_deepspeed_off(tmp_path: Path):
    (rank,) = facts(tmp_path, (*ACCELERATE, "--config_file", "configs/accelerate/cpu.yaml"), ZERO3)
    assert rank["type"] == "DistributedType.DEEPSPEED"


def test_without_deepspeed_each_rank_holds_the_whole_model(tmp_path: Path):
    found = facts(tmp_path, TORCHRUN)
    assert [rank["kind"] for rank in found] == ["ddp", "ddp"]
    assert all(rank["partitioned"] == [False, False] and rank["held"] > 0 for rank in found)
    assert all(rank["timeouts"] for rank in found)


@pytest.mark.slow
def test_the_launchers_own_deepspeed_wins(tmp_path: Path):
    launcher = (*ACCELERATE, "--config_file", "configs/accelerate/zero2.yaml", "--num_processes", "2")
    found = facts(tmp_path, (*launcher, "--main_process_port", "0"), ZERO3)
    assert [rank["kind"] for rank in found] == ["zero2", "zero2"]
    assert all(rank["partitioned"] == [False, False] for rank in found)
    assert "from the launcher (configs/deepspeed/zero2.json); train.deepspeed = " in found[0]["said"]
