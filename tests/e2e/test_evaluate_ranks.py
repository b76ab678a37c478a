"""A comparison on two real processes: the answers, the table and the cost of one, and nothing is asked twice."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rft.eval.answer_folder import part_folder
from rft.eval.results import read_results
from rft.synthetic.generator import write_dataset
from tests.e2e.runs import ROOT, rows, run
from tests.unit.chat.endpoint_server import chat, serving

TWO = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ONE = (sys.executable,)
SYSTEMS = "system=full_history,memory,no_history,longest_option"
NAMES = ("full_history", "memory", "no_history")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    write_dataset(
        folder / "data", num_personas=12, questions_per_persona=5, history_tokens=300, seed=5, style="brief",
        decoys=0.3, num_val_personas=7, num_benchmark_personas=1,
    )  # fmt: skip
    config = {
        "base": str(ROOT / "configs" / "demo.yaml"),
        "model": {"model_name_or_path": str(ROOT / "checkpoints" / "demo_memory_sft")},
        "data": {"source": str(folder / "data"), "cache_dir": str(folder / "cache")},
        "compare": {"batch_size": 10},
        "rollout": {"vllm_kv_cache_gb": 0.1},
        "memory": {"chunk_tokens": 90, "max_memory_tokens": 60, "max_update_length": 60},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    return folder


def evaluate(folder: Path, launcher: tuple[str, ...], out: str, *overrides: str) -> str:
    return run([*launcher, "rft/evaluate.py", str(folder / "run.yaml"), f"output_dir={folder / out}", *overrides])


def results_folder(folder: Path, out: str) -> Path:
    return folder / out / "evaluation" / "personamem_v2-32k-val"


def answers(folder: Path, out: str, system: str, name: str = "predictions") -> list[dict[str, Any]]:
    return rows(results_folder(folder, out) / "demo_memory_sft" / system / f"{name}.jsonl")


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, str]:
    """What one process and two print; their answers stay in folder/one and folder/two."""
    return {out: evaluate(folder, launcher, out, SYSTEMS) for out, launcher in (("one", ONE), ("two", TWO))}


def test_two_processes_say_what_one_says(folder: Path, told: dict[str, str]) -> None:
    tables = {out: text.partition("\n\n")[0] for out, text in told.items()}
    assert tables["two"] == tables["one"] and "longest_option" in tables["one"]
    one, two = (read_results(results_folder(folder, out) / "results.json") for out in ("one", "two"))
    for ours, theirs in zip(two.systems, one.systems, strict=True):
        assert (ours.system, ours.result) == (theirs.system, theirs.result)
        assert ours.cost.completion_tokens_mean == theirs.cost.completion_tokens_mean
    for name in NAMES:
        assert answers(folder, "two", name) == answers(folder, "one", name), name
        counters = [
            json.loads((results_folder(folder, out) / "demo_memory_sft" / name / "counters.json").read_text())
            for out in ("one", "two")
        ]
        assert counters[0]["generated_tokens"] == counters[1]["generated_tokens"]
        assert not list((results_folder(folder, "two") / "demo_memory_sft" / name).glob("rank-*"))
    updates = [sorted(map(json.dumps, answers(folder, out, "memory", "memories"))) for out in ("one", "two")]
    assert updates[0] == updates[1]


@pytest.mark.slow
@pytest.mark.usefixtures("told")
def test_what_ranks_left_behind_is_not_asked_again(folder: Path) -> None:
    """As if it had been stopped: a part of the answers stands in the folders of ranks."""
    system = results_folder(folder, "two") / "demo_memory_sft" / "full_history"
    lines = (system / "predictions.jsonl").read_text().splitlines(keepends=True)
    (system / "predictions.jsonl").write_text("".join(lines[:10]))
    for rank, part in enumerate((lines[10:17], lines[17:])):
        # A reply that no engine gives shows that it was kept.
        text = "".join(line.replace('"finish_reason": "stop"', '"finish_reason": "length"') for line in part)
        (part_folder(system, rank, 2) / "predictions.jsonl").write_text(text)
    evaluate(folder, TWO, "two", "system=full_history")
    again = answers(folder, "two", "full_history")
    assert [row["question_id"] for row in again] == [
        row["question_id"] for row in answers(folder, "one", "full_history")
    ]
    assert {row["finish_reason"] for row in again[10:]} == {"length"}


@pytest.mark.slow
def test_a_mistake_of_one_rank_ends_all_with_one_line(folder: Path) -> None:
    with pytest.raises(AssertionError) as failed:
        evaluate(folder, TWO, "long", "system=full_history", "data.max_prompt_length=460")
    told = [line for line in str(failed.value).splitlines() if line.startswith("error: ")]
    assert len(told) == 1 and "data.length_policy" in told[0]


@pytest.mark.slow
def test_an_endpoint_is_asked_by_one_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server:
        server.answers = [chat("\\boxed{a}")]
        endpoint = (f"compare.endpoint.base_url={server.url}", "compare.endpoint.model=m", "compare.label=m")
        evaluate(folder, TWO, "endpoint", "system=no_history,longest_option", *endpoint)
        assert len(server.asked) == 35
    assert len(rows(results_folder(folder, "endpoint") / "m" / "no_history" / "predictions.jsonl")) == 35
