"""Part `learning` of bench/gpu.py at toy size: the commands that a GPU will run, and what a second call keeps."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.e2e.guesser import teach_to_guess
from tests.e2e.runs import ROOT
from tests.unit.data.builder import TEMPLATES, make_tokenizer

STEPS = [
    "model", "data", "cold start", "evaluation cold_start", "grpo", "evaluation grpo_2", "change",
    "evaluation untrained",
]  # fmt: skip
SYSTEMS = {
    "full_history", "evidence_only", "no_history", "options_only", "other_history", "longest_option",
    "shortest_option", "majority_letter",
}  # fmt: skip


def make_model(folder: Path) -> Path:
    """A Llama with SmolLM2-135M's heads, 9 for queries and 3 for keys, and a tied head, that answers by guessing."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer(TEMPLATES["chatml"])
    settings = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=72, intermediate_size=96, num_hidden_layers=2, num_attention_heads=9,
        num_key_value_heads=3, head_dim=32, max_position_embeddings=8192, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, initializer_range=0.05,
    )  # fmt: skip
    model = LlamaForCausalLM(settings)
    teach_to_guess(model, tokenizer, random.Random(0))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def measure(out: Path, model: Path) -> list[dict[str, Any]]:
    """The lines of the part but its last, which has its time."""
    finished = subprocess.run(
        [sys.executable, "bench/gpu.py", "--toy", "--parts", "learning", "--out", str(out), "--model", str(model)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=590,
    )  # fmt: skip
    log = (out / "learning.log").read_text()
    assert finished.returncode == 0, finished.stdout + finished.stderr + log[-6000:]
    *lines, last, _ = [json.loads(line) for line in (out / "gpu.jsonl").read_text().splitlines()]
    assert last["wall_seconds"] > 0 and "error" not in last
    return lines


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("learning")


@pytest.fixture(scope="module")
def lines(place: Path) -> dict[str, dict[str, Any]]:
    found = measure(place, make_model(place / "tiny"))
    assert [line["step"] for line in found] == STEPS
    return {line["step"]: line for line in found}


@pytest.mark.slow
def test_the_model_and_its_data_are_described(lines: dict[str, dict[str, Any]]) -> None:
    assert (lines["model"]["type"], lines["model"]["heads"], lines["model"]["layers"]) == ("llama", [9, 3], 2)
    assert lines["model"]["parameters"] == 176_256  # a tied head counts once
    assert {name: found["fit"] for name, found in lines["data"]["audit"].items()} == {
        "cold_start_data": True,
        "data": True,
    }


@pytest.mark.slow
def test_the_cold_start_and_grpo_take_their_steps(lines: dict[str, dict[str, Any]]) -> None:
    assert len(lines["cold start"]["losses"]) == 2 and lines["cold start"]["training_seconds"] > 0
    grpo = lines["grpo"]
    assert (grpo["steps"], grpo["stopped"], len(grpo["rewards"])) == (2, None, 2)
    assert [step for step, *_ in grpo["validation"]] == [0, 2]
    assert 0 < grpo["max_logprob_gap"] <= 1e-4 and grpo["seconds_per_step"] > 0
    assert 0 < sum(grpo["rewards"]) < 2 and grpo["grad_norm"] > 0, "some siblings are right, and some are not"


@pytest.mark.slow
def test_every_system_is_asked_before_and_after(lines: dict[str, dict[str, Any]]) -> None:
    for step in ("evaluation cold_start", "evaluation grpo_2"):
        rows = {row["system"]: row for row in lines[step]["systems"]}
        assert rows.keys() == SYSTEMS
        assert all(row["num_questions"] == 4 and len(row["interval"]) == 2 for row in rows.values())
        assert rows["full_history"]["prompt_tokens"] > rows["evidence_only"]["prompt_tokens"]
    change = lines["change"]
    assert change["n"] == 4 and change["difference"][1] <= change["difference"][0] <= change["difference"][2]
    untrained = {row["system"] for row in lines["evaluation untrained"]["systems"]}
    assert {"full_history", "evidence_only"} <= untrained and "no_history" not in untrained


@pytest.mark.slow
def test_the_same_command_keeps_what_is_finished(place: Path, lines: dict[str, dict[str, Any]]) -> None:
    again = {line["step"]: line for line in measure(place, place / "tiny")}
    assert again.keys() == lines.keys()
    assert all(again[step] == lines[step] | {"at": again[step]["at"]} for step in lines)
