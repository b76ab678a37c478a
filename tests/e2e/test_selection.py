"""Adaptive selection and the curriculum in whole runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.curves_page import undescribed
from tests.e2e.runs import as_killed_after, launch, rows, steps
from tests.e2e.small_run import write_small_run

ADAPTIVE = ("rollout.select=adaptive", "rollout.questions_per_batch=4", "rollout.pilot_generations=3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("selection")
    write_small_run(folder)
    config = yaml.safe_load((folder / "run.yaml").read_text())
    config["train"]["deepspeed"] = None
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def straight(folder: Path) -> Path:
    """A run of six steps in one process, from its beginning to its end."""
    launch(folder, f"output_dir={folder / 'straight'}", "train.max_steps=6", *ADAPTIVE)
    return folder / "straight"


def test_a_resumed_run_chooses_the_same_questions_and_ends_with_the_same_weights(folder: Path, straight: Path):
    halved = folder / "halved"
    as_killed_after(3, straight, halved)
    launch(folder, f"output_dir={halved}", "train.max_steps=6", *ADAPTIVE)
    left, right = (load_file(run / "checkpoint-6" / "model.safetensors") for run in (straight, halved))
    for name in left:
        assert torch.equal(left[name], right[name]), name
    states = [json.loads((run / "checkpoint-6" / "selection.json").read_text()) for run in (straight, halved)]
    assert states[0] == states[1]
    found = steps(straight)
    assert [row["reward"] for row in found] == [row["reward"] for row in steps(halved)]
    assert all(row["select/candidates"] >= 4 for row in found)
    assert sum(row["frac_reward_zero_std"] for row in found) / 6 < 0.5
    assert undescribed(name for row in rows(straight / "metrics.jsonl") for name in row if name != "step") == []


@pytest.mark.slow
def test_two_ranks_choose_what_one_does(folder: Path, straight: Path):
    output = folder / "two"
    launch(
        folder, f"output_dir={output}", "train.max_steps=2", "checkpoint.save_steps=2", *ADAPTIVE,
        accelerate=("cpu.yaml", "--num_processes", "2"),
    )  # fmt: skip
    one, two = steps(straight)[:2], steps(output)
    for name in ("select/candidates", "select/mixed_ratio", "select/pilot_reward", "select/left_over"):
        assert two[0][name] == pytest.approx(one[0][name]), name
    assert [row["reward"] for row in two] == [row["reward"] for row in one]


def test_windows_grow_with_the_curriculum(folder: Path):
    output = folder / "grows"
    launch(
        folder, f"output_dir={output}", "train.max_steps=4", "checkpoint.save_steps=4",
        "data.length_policy=truncate_oldest",
        "data.curriculum=[{max_prompt_length: 500, until_step: 1}, {max_prompt_length: 600, until_step: 3}]",
    )  # fmt: skip
    found = steps(output)
    assert [row["curriculum/stage"] for row in found] == [0, 1, 1, 2]
    longest = [row["engine/prompt_tokens"] / 64 for row in found]
    assert longest[0] <= 500 and max(longest[1:3]) <= 600
    assert longest[0] < longest[1] < longest[3]
