"""A run that takes seconds: a tiny model that guesses letters, a few personas, and DeepSpeed settings that shard it."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from tests.e2e.guesser import make_guesser
from tests.e2e.runs import ROOT
from tests.unit.data.builder import write_dataset

SHARD_ALL = {
    "stage3_param_persistence_threshold": 0,
    "stage3_max_live_parameters": 0,
    "stage3_max_reuse_distance": 0,
    "stage3_prefetch_bucket_size": 0,
}
"""ZeRO-3 would else leave every parameter of a tiny model whole on every rank."""


def write_small_run(folder: Path) -> None:
    """Writes model, data, `run.yaml` (`train.deepspeed` set) and the json it names to `folder`."""
    make_guesser(folder / "model")
    write_dataset(folder / "data", {"train": range(1, 9), "val": (9, 10), "benchmark": (11,)}, questions_per_persona=4)
    settings = json.loads((ROOT / "configs/deepspeed/zero3.json").read_text())
    settings["zero_optimization"] |= SHARD_ALL
    (folder / "shard_all.json").write_text(json.dumps(settings))
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
        "train": {"learning_rate": 1e-3, "max_logprob_gap": 1e-5, "deepspeed": str(folder / "shard_all.json")},
        "eval": {"num_questions": 4, "at_start": False},
        "checkpoint": {"save_steps": 3},
        "log": {"report_to": "none"},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
