"""The examples, from their own configs: two steps of real GRPO each, on a few rows of our own making."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.chain import make_chain_model
from tests.e2e.runs import ROOT, launch, rows, run, steps

SMALL: dict[str, Any] = {
    "rollout": {"questions_per_batch": 8, "num_generations": 8, "max_completion_length": 8},
    "train": {
        "learning_rate": 1e-3,
        "max_steps": 2,
        "gradient_checkpointing": False,
        "max_logprob_gap": 1e-5,
        "deepspeed": None,
    },
    "eval": {"num_questions": 4},
    "checkpoint": {"save_steps": 2},
    "log": {"report_to": "none"},
}


def train(folder: Path, example: str, **sections: dict[str, Any]) -> Path:
    """Trains by the example's own config, laid over with `SMALL` and `sections`; the run's folder."""
    over = {section: {**SMALL.get(section, {}), **sections.get(section, {})} for section in {*SMALL, *sections}}
    over["model"] = {"model_name_or_path": str(folder / "model")}
    config = {"base": str(ROOT / "examples" / example / "config.yaml"), "output_dir": str(folder / "run"), **over}
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    launch(folder)
    return folder / "run"


def write_rows(path: Path, items: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(item) + "\n" for item in items))


def check_run(output: Path, reward: str) -> None:
    """Rewards are neither all right nor all wrong, the policy learned from them, and it was evaluated twice."""
    trained = steps(output)
    assert [row["step"] for row in trained] == [1, 2]
    for row in trained:
        assert 0 < row["reward"] < 1
        assert row[f"rewards/{reward}/mean"] == row["reward"]
        assert row["reward/left_out_ratio"] == 0
        assert row["grad_norm"] > 0
    evals = [row for row in rows(output / "metrics.jsonl") if "eval/accuracy" in row]
    assert [row["step"] for row in evals] == [0, 2]
    assert all(0 <= row["eval/accuracy"] <= 1 for row in evals)
    assert json.loads((output / "checkpoint-2" / "eval.json").read_text())["overall"]["n"] == 4


def test_gsm8k(tmp_path: Path) -> None:
    sums = [(first, second) for first in range(1, 5) for second in range(1, 5)]
    items = [
        {
            "question": f"Ann has {first} pens and buys {second}. How many pens has she?",
            "answer": f"{first} and {second} make {first + second}.\n#### {first + second}",
        }
        for first, second in sums
    ]
    write_rows(tmp_path / "data" / "train.jsonl", items)
    write_rows(tmp_path / "data" / "test.jsonl", items[:6])
    digits = [str(digit) for digit in range(2, 9)]
    make_chain_model(
        tmp_path / "model",
        [text for item in items for text in item.values()],
        {"\n": ["\\boxed"], "\\boxed": ["{"], "{": digits, **{digit: ["}"] for digit in digits}},
    )
    output = train(
        tmp_path, "gsm8k", data={"source": str(tmp_path / "data"), "revision": None, "cache_dir": str(tmp_path / "c")}
    )
    check_run(output, "numeric_answer")


def test_long_document_qa(tmp_path: Path) -> None:
    towns = ("Oslo", "Rome", "Lima", "Bern")
    paragraphs = [
        (title, f"{person} was born in {town}. " + "Nothing else is known of that year. " * 3, person, town)
        for title in ("North", "South", "West")
        for person, town in zip(("Ann", "Bob", "Eve", "Kim"), towns, strict=True)
    ]
    items = [
        {
            "title": title,
            "context": text,
            "question": f"Where was {person} born?",
            "answers": {"text": [town], "answer_start": [text.index(town)]},
        }
        for title, text, person, town in paragraphs
    ]
    write_rows(tmp_path / "squad" / "train.jsonl", items[:8])
    write_rows(tmp_path / "squad" / "validation.jsonl", items[8:])
    script = "examples/long_document_qa/make_data.py"
    run([sys.executable, script, str(tmp_path / "data"), "--source", str(tmp_path / "squad")])
    assert [len(rows(tmp_path / "data" / f"{name}.jsonl")) for name in ("contexts", "questions")] == [3, 12]
    make_chain_model(tmp_path / "model", [text for _, text, *_ in paragraphs], {"\n": towns})
    output = train(
        tmp_path,
        "long_document_qa",
        data={
            "source": str(tmp_path / "data"),
            "questions_per_context": 4,
            "max_prompt_length": 512,
            "cache_dir": str(tmp_path / "cache"),
        },
    )
    check_run(output, "exact_match")
    # Two texts for 8 questions x 8 completions: the engine computes each text once.
    assert json.loads((output / "summary.json").read_text())["prefix_cache_hit_rate"] > 0.8
