"""The whole loop, for real: accelerate, vLLM, DeepSpeed; a tiny model that starts by guessing letters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.curves_page import undescribed
from tests.e2e.guesser import make_guesser
from tests.e2e.runs import launch, rows, steps
from tests.unit.data.builder import write_dataset

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model, data and a config; each test trains into a folder of its own."""
    folder = tmp_path_factory.mktemp("train")
    make_guesser(folder / "model")
    write_dataset(folder / "data", {"train": range(1, 9), "val": (9, 10), "benchmark": (11,)}, questions_per_persona=4)
    config = {
        "model": {"model_name_or_path": str(folder / "model")},
        "data": {
            "source": str(folder / "data"),
            "train_split": "paper",
            "max_prompt_length": 1536,
            "cache_dir": str(folder / "cache"),
            "questions_per_context": 2,
        },
        "rollout": {"questions_per_batch": 8, "num_generations": 8, "max_completion_length": 16},
        "train": {"learning_rate": 1e-3, "per_device_train_batch_size": 16, "max_logprob_gap": 1e-5},
        "eval": {"num_questions": 6, "at_start": False},
        "checkpoint": {"save_steps": 3},
        "log": {"report_to": "none", "rollouts_per_step": 8},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def straight(folder: Path) -> Path:
    """A run of six steps, from its beginning to its end."""
    output = folder / "straight"
    options = ("train.max_steps=6", "data.permute_options=true", "log.save_samples=true")
    launch(folder, f"output_dir={output}", *options, accelerate=("cpu.yaml",))
    return output


def test_resumed_is_uninterrupted_bit_for_bit_across_an_epoch(folder: Path, straight: Path):
    """Eight training personas x 4 questions are 4 batches an epoch: step 5 is in the second."""
    halved, permuted = folder / "halved", "data.permute_options=true"
    launch(folder, f"output_dir={halved}", "train.max_steps=3", permuted)
    launch(folder, f"output_dir={halved}", "train.max_steps=6", permuted)
    left, right = (load_file(run / "checkpoint-6" / "model.safetensors") for run in (straight, halved))
    start = load_file(folder / "model" / "model.safetensors")
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name
    assert any(not torch.equal(left[name], start[name]) for name in left if name in start), "nothing was learned"
    assert rows(straight / "rollouts.jsonl") == rows(halved / "rollouts.jsonl")
    assert [row["step"] for row in steps(halved)] == [1, 2, 3, 4, 5, 6]
    assert [row["reward"] for row in steps(straight)] == [row["reward"] for row in steps(halved)]
    assert any(row["grad_norm"] > 0 for row in steps(straight)[3:])


def test_saved_samples_give_the_same_weights_without_an_engine(folder: Path, straight: Path):
    replayed = folder / "replayed"
    launch(folder, f"output_dir={replayed}", f"train.replay={straight / 'samples'}")
    left, right = (load_file(run / "checkpoint-6" / "model.safetensors") for run in (straight, replayed))
    for name in left:
        assert torch.equal(left[name], right[name]), name
    again, before = (rows(run / "metrics.jsonl") for run in (replayed, straight))
    losses = [[row["loss"] for row in run if "loss" in row] for run in (again, before)]
    assert losses[0] == losses[1] and len(losses[0]) == 6
    assert not any("reward" in row or "eval/accuracy" in row for row in again)
    assert json.loads((replayed / "summary.json").read_text())["engine"] == "replay"


def test_what_a_run_leaves_behind(straight: Path):
    assert undescribed(name for row in rows(straight / "metrics.jsonl") for name in row if name != "step") == []
    assert (straight / "checkpoint-6").is_dir()
    loaded = AutoModelForCausalLM.from_pretrained(straight / "checkpoint-6")
    assert loaded.config.tie_word_embeddings
    assert AutoTokenizer.from_pretrained(straight / "checkpoint-6").chat_template
    assert (straight / "best").is_symlink()
    summary = json.loads((straight / "summary.json").read_text())
    assert summary["engine"].startswith("vllm ")
    assert summary["num_steps"] == 6
    assert 0 < summary["max_logprob_gap"] <= 1e-5
    assert summary["prefix_cache_hit_rate"] > 0.6
    evaluation = json.loads((straight / "checkpoint-6" / "eval.json").read_text())
    assert evaluation["overall"]["n"] == 6
    assert sum(group["n"] for group in evaluation["groups"]["who"].values()) == 6
    assert len(rows(straight / "checkpoint-6" / "predictions.jsonl")) == 6
    assert all(row["prompt_tail"].strip() for row in rows(straight / "rollouts.jsonl"))
    page = (straight / "report.html").read_text()
    assert "6</b>" in page and page.count("<polyline") >= 8 and "max_steps: 6" in page
    assert yaml.safe_load((straight / "config.yaml").read_text())["train"]["max_steps"] == 6
    assert json.loads((straight / "provenance.json").read_text())["packages"]["vllm"]


@pytest.mark.slow
def test_two_ranks_under_zero3_train_and_agree_with_their_engines(folder: Path, straight: Path):
    output = folder / "zero3"
    launch(
        folder, f"output_dir={output}", "train.max_steps=2", "checkpoint.save_steps=2", "data.permute_options=true",
        accelerate=("zero3.yaml", "--num_processes", "2"),
    )  # fmt: skip
    trained = steps(output)
    assert [row["step"] for row in trained] == [1, 2]
    assert all(row["sampling/sampling_logp_difference/mean"] <= 1e-5 for row in trained)
    one_rank = steps(straight)[0]
    assert trained[0]["reward"] == one_rank["reward"]
    assert trained[0]["loss"] == pytest.approx(one_rank["loss"], abs=1e-6)
    assert trained[0]["grad_norm"] == pytest.approx(one_rank["grad_norm"], rel=1e-4)
    weights = load_file(output / "checkpoint-2" / "model.safetensors")
    assert AutoModelForCausalLM.from_pretrained(output / "checkpoint-2").num_parameters() > 0
    assert all(weight.isfinite().all() for weight in weights.values())


def test_the_reward_rises(folder: Path):
    """One batch of questions again and again: a guesser starts at chance and learns which letters are right."""
    output = folder / "rises"
    few = write_dataset(folder / "few", {"train": (1, 2), "val": (9,), "benchmark": (11,)}, questions_per_persona=4)
    launch(
        folder, f"output_dir={output}", f"data.source={few}", "train.max_steps=40", "train.learning_rate=3e-3",
        "eval.num_questions=4", "checkpoint.save_steps=40",
    )  # fmt: skip
    rewards = [row["reward"] for row in steps(output)]
    assert 0.1 <= sum(rewards[:4]) / 4 <= 0.4, rewards
    assert sum(rewards[-4:]) / 4 >= sum(rewards[:4]) / 4 + 0.15, rewards


@pytest.mark.slow
def test_an_engine_that_is_not_the_trainer_stops_the_run(folder: Path):
    with pytest.raises(AssertionError, match="the engine does not hold the trainer's weights"):
        launch(folder, f"output_dir={folder / 'gap'}", "train.max_steps=1", "train.max_logprob_gap=1e-12")
    assert not list((folder / "gap").glob("checkpoint-*"))
