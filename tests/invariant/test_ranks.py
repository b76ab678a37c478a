"""The optimizer step on two ranks (plain, ZeRO-2, ZeRO-3), on packs of unequal number, is that of one rank, densely."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from tests.invariant.one_step import LEARNING_RATE
from tests.tiny import gradient_difference, tiny_qwen3

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-5

LAUNCHERS = {
    "one rank": (sys.executable, "-m"),
    "plain": (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"),
    **{
        name: (
            sys.executable, "-m", "accelerate.commands.launch", "--config_file", f"configs/accelerate/{name}.yaml",
            "--num_processes", "2", "--module",
        )
        for name in ("zero2", "zero3")
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    tiny_qwen3(tied=True).save_pretrained(folder / "model")
    return folder


def launch(launcher: str, module: str, *arguments: str) -> None:
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    if launcher.startswith("zero"):
        environment.pop("ACCELERATE_USE_CPU")
    finished = subprocess.run(
        (*LAUNCHERS[launcher], module, *arguments),
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-6000:]


def step(
    folder: Path, launcher: str, shared_prefix: bool, max_tokens: int
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The gradients that moved the weights, and the step's metrics."""
    out = folder / f"{launcher}-{shared_prefix}-{max_tokens}"
    if not out.exists():
        arguments = (str(folder / "model"), str(out), str(shared_prefix).lower(), str(max_tokens))
        launch(launcher, "tests.invariant.one_step", *arguments)
    before, after = load_file(folder / "model" / "model.safetensors"), load_file(out / "weights.safetensors")
    moved = {name: (before[name] - after[name]) / LEARNING_RATE for name in before}
    return moved, json.loads((out / "metrics.json").read_text())


@pytest.mark.parametrize("max_tokens", [60, 10_000], ids=["an odd number of packs", "one pack would do"])
@pytest.mark.parametrize("launcher", ["plain", "zero2", "zero3"])
def test_two_ranks_on_a_forest_equal_one_rank_densely(folder: Path, launcher: str, max_tokens: int) -> None:
    dense, dense_metrics = step(folder, "one rank", shared_prefix=False, max_tokens=max_tokens)
    forest, metrics = step(folder, launcher, shared_prefix=True, max_tokens=max_tokens)
    assert gradient_difference(forest, dense) <= TOLERANCE
    shared = dense_metrics.keys() - {"update/num_tokens", "update/unique_token_ratio"}
    for name in shared:
        assert metrics[name] == pytest.approx(dense_metrics[name], rel=1e-4, abs=1e-6), name
    assert metrics["update/num_tokens"] < dense_metrics["update/num_tokens"]


@pytest.mark.parametrize("launcher", ["plain", "zero2", "zero3"])
def test_steps_with_nothing_to_learn_move_nothing_on_any_rank(folder: Path, launcher: str) -> None:
    """A real step, one without an advantage, one without a sample, a real one: the two between change not one bit."""
    out = folder / f"idle-{launcher}"
    launch(launcher, "tests.invariant.idle_step", str(folder / "model"), str(out))
    facts = [json.loads((out / f"{rank}.json").read_text()) for rank in range(2)]
    for found in facts:
        assert found["moved"] == [False, False, True]
        assert found["num_moments"] >= 2, "there is a momentum that could have moved the weights"
        assert found["skipped"] == [0.0, 1.0, 1.0, 0.0]
        assert found["learning_rates"] == pytest.approx([1e-2, 0.9e-2, 0.8e-2, 0.7e-2])
        assert found["losses"][1:3] == [0.0, 0.0] and found["gap"] > 0 and found["finite"] and found["names"] == 1
    assert facts[0]["losses"] == facts[1]["losses"]
