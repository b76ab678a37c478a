"""The memory, for real: a tiny model writes memories with vLLM, is trained, resumed, and used by hand."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoTokenizer

from rft import memory_cli
from rft.data.chat_template import ChatTemplate
from rft.data.chunks import cut_chunks
from rft.records import Message
from tests.curves_page import undescribed
from tests.e2e.guesser import make_guesser
from tests.e2e.runs import as_killed_after, launch, rows, run, steps
from tests.unit.data.builder import make_history, make_row, write_dataset, write_history

ROOT = Path(__file__).parents[2]
CHUNK_TOKENS = 120
LIMITS = {"chunk_tokens": CHUNK_TOKENS, "max_memory_tokens": 40, "max_update_length": 40}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A guesser of letters, which are valid memories too; histories of two lengths; each test trains by itself."""
    folder = tmp_path_factory.mktemp("memory")
    make_guesser(folder / "model")
    write_dataset(folder / "data", {"train": range(1, 9), "val": (9, 10), "benchmark": (11,)}, questions_per_persona=4)
    for persona in range(1, 12, 2):
        evidence = {"role": "user", "content": "I hum jazz."}
        history = make_history(persona, num_messages=24)
        history["chat_history"].insert(3, evidence)
        history["metadata"]["total_messages"] += 1
        write_history(folder / "data", persona, history)
    config = {
        "task": "memory",
        "model": {"model_name_or_path": str(folder / "model")},
        "data": {
            "source": str(folder / "data"),
            "train_split": "paper",
            "max_prompt_length": 1536,
            "cache_dir": str(folder / "cache"),
            "questions_per_context": 2,
        },
        "memory": LIMITS,
        "rollout": {"questions_per_batch": 4, "num_generations": 4, "max_completion_length": 16},
        "train": {"learning_rate": 1e-3, "max_tokens_per_microbatch": 4096, "max_logprob_gap": 1e-5},
        "eval": {"num_questions": 0, "at_start": False},
        "checkpoint": {"save_steps": 2},
        "log": {"report_to": "none"},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def straight(folder: Path) -> Path:
    """A run of four steps, from its beginning to its end."""
    launch(folder, f"output_dir={folder / 'straight'}", "train.max_steps=4")
    return folder / "straight"


def test_a_resumed_memory_training_is_uninterrupted_bit_for_bit(folder: Path, straight: Path):
    halved = folder / "halved"
    as_killed_after(2, straight, halved)
    launch(folder, f"output_dir={halved}", "train.max_steps=4")
    left, right = (load_file(run / "checkpoint-4" / "model.safetensors") for run in (straight, halved))
    start = load_file(folder / "model" / "model.safetensors")
    for name in left:
        assert torch.equal(left[name], right[name]), name
    assert any(not torch.equal(left[name], start[name]) for name in left if name in start), "nothing was learned"
    assert rows(straight / "rollouts.jsonl") == rows(halved / "rollouts.jsonl")
    assert [row["step"] for row in steps(halved)] == [1, 2, 3, 4]


def test_what_a_memory_run_tells(folder: Path, straight: Path):
    trained = steps(straight)
    assert undescribed(name for row in rows(straight / "metrics.jsonl") for name in row if name != "step") == []
    assert all(row["sampling/sampling_logp_difference/mean"] <= 1e-5 for row in trained)
    assert all(row["memory/tokens_max"] <= 40 for row in trained)
    assert all(row["update/unique_token_ratio"] < 0.6 for row in trained)
    histories = rows(straight / "rollouts.jsonl")
    turns = {len(row["updates"]) for row in histories}
    assert len(turns) > 1, "histories of two lengths need different numbers of updates"
    assert all(len(row["answers"]) == 2 for row in histories)
    summary = json.loads((straight / "summary.json").read_text())
    assert 0 < summary["memory_tokens_mean"] <= 40
    # The evidence stands in the histories of odd personas, and a letter is no memory of it.
    assert summary["retention_after"] == 0
    assert summary["input_tokens_ratio"] > 0
    evaluation = json.loads((straight / "checkpoint-4" / "eval.json").read_text())
    assert evaluation["memory"]["num_memories"] == 2
    assert evaluation["overall"]["n"] == 8
    assert 0 < evaluation["memory"]["num_measured"] <= 4
    predictions = rows(straight / "checkpoint-4" / "predictions.jsonl")
    assert any(row["memory"]["memory"] for row in predictions)
    assert {row["cluster"] for row in predictions if row["memory"]["retention"]} == {"9"}


def test_two_ranks_under_zero3_with_different_turns_equal_one(folder: Path, straight: Path):
    output = folder / "zero3"
    launch(folder, f"output_dir={output}", "train.max_steps=2", accelerate=("zero3.yaml", "--num_processes", "2"))
    for ours, theirs in zip(steps(output), steps(straight)[:2], strict=True):
        assert ours["reward"] == theirs["reward"]
        assert ours["memory/updates_per_rollout"] == theirs["memory/updates_per_rollout"]
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)
    assert any(row["memory/updates_per_rollout"] % 1 for row in steps(output)), "the ranks had equally many turns"


@pytest.mark.slow
def test_early_answers_and_the_reference_credit_train_too(folder: Path):
    output = folder / "variants"
    launch(
        folder, f"output_dir={output}", "train.max_steps=2", "memory.answer_at_evidence=true",
        "memory.credit=broadcast", "data.questions_per_context=1", "memory.query_aware=true",
    )  # fmt: skip
    assert all(row["grad_norm"] > 0 for row in steps(output))


# ------------------------------------------------------------------------------------------------------ by hand


def memory_command(folder: Path, command: str, *arguments: str) -> str:
    limits = ("--chunk-tokens", str(CHUNK_TOKENS), "--max-memory-tokens", "40", "--max-answer-length", "16")
    model = ("--model", str(folder / "model"))
    return run([sys.executable, "rft/memory_cli.py", command, *arguments, *model, *limits])


@pytest.mark.slow
def test_a_memory_built_in_two_sittings_is_that_of_one(folder: Path):
    path = folder / "data" / make_row(1, 0)["chat_history_32k_link"]
    messages = [Message(**message) for message in json.loads(path.read_text())["chat_history"]]
    chunks = cut_chunks(messages, ChatTemplate(AutoTokenizer.from_pretrained(folder / "model")), CHUNK_TOKENS)
    assert len(chunks) >= 4
    border = next(chunk.last + 1 for chunk, then in pairwise(chunks) if then.first == chunk.last + 1)
    stored = [{"role": message.role, "content": message.content} for message in messages]
    (folder / "first.json").write_text(json.dumps(stored[:border]))
    (folder / "second.json").write_text(json.dumps(stored[border:]))
    told = memory_command(folder, "build", str(path), str(folder / "whole.md"))
    assert f"after {len(chunks)} updates" in told
    memory_command(folder, "build", str(folder / "first.json"), str(folder / "parts.md"))
    memory_command(folder, "update", str(folder / "second.json"), str(folder / "parts.md"))
    whole = (folder / "whole.md").read_text()
    assert whole.strip()
    assert (folder / "parts.md").read_text() == whole


@pytest.mark.slow
def test_asking_a_memory(folder: Path):
    (folder / "mine.md").write_text("Likes jazz.\n")
    said = memory_command(folder, "ask", str(folder / "mine.md"), "What next?", "--options", "Jazz.", "Tea.")
    assert said.strip().endswith("}")  # a guess at a boxed letter


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("build", "{folder}/mine.md", "{folder}/new.md"), "is not JSON"),
        (("build", "{folder}/absent.json", "{folder}/new.md"), "No such file"),
        (("build", "{folder}/first.json", "{folder}/mine.md"), "exists"),
        (("ask", "{folder}/absent.md", "What next?"), "No such file"),
    ],
)
def test_a_mistake_at_the_command_line_costs_one_line(folder: Path, arguments: tuple[str, ...], message: str, capsys):
    (folder / "mine.md").write_text("Likes jazz.\n")
    (folder / "first.json").write_text("[]")
    status = memory_cli.main([argument.format(folder=folder) for argument in arguments] + ["--model", "none"])
    printed = capsys.readouterr()
    assert status == 2
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert message in printed.err
    assert not (folder / "new.md").exists()
