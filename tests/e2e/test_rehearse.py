"""`make rehearse` in small: the real recipe on two ranks under ZeRO-3 that shards, stopped and continued."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.e2e.runs import run


@pytest.mark.slow
def test_the_recipe_in_small(tmp_path: Path):
    run([sys.executable, "bench/rehearse.py", "--short", "--folder", str(tmp_path)])
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert report["recipe"] == "configs/qwen3_4b.yaml"
    assert report["steps"] == [2, 4], "a batch of two optimizer steps, and after a new start the next one"
    assert report["checkpoints"] == ["checkpoint-2", "checkpoint-4"]
    assert all(gap <= 1e-5 for gap in report["logprob_gap"].values())
    for parameters in report["parameters"]:
        assert parameters["held"] == 0 and 2 * parameters["shard"] == parameters["all"] > 151_936 * 64
    for seconds in report["host_seconds"]:
        assert {"hashing", "gather", "samples", "packing", "forest", "loss tensors"} <= seconds.keys()
        assert all(0 < value < 30 for value in seconds.values())
    tokens = report["tokens"]
    assert 2_000 < report["prompt_tokens"]["min"] < report["prompt_tokens"]["max"] < 3_500
    assert tokens["prompts"] > 32 * report["prompt_tokens"]["min"]
    assert tokens["computed by the engine"] < 0.2 * tokens["prompts"]
    assert tokens["computed per optimizer step"] < 0.2 * tokens["prompts"]
    assert all(0 < peak < 16 for peak in report["peak_memory_gib"])
