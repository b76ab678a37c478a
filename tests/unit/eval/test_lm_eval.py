"""The file for the lm-evaluation-harness asks what we ask, token for token."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import yaml
from transformers import PreTrainedTokenizerFast

from rft.config import Config, DataConfig
from rft.data.benchmarks import load_benchmark
from rft.data.prepare import prepare
from rft.eval.lm_eval import export

TASK = Path(__file__).parents[3] / "configs" / "lm_eval" / "personamem.yaml"


def test_its_prompts_are_ours(
    dataset: Path, tmp_path: Path, tokenizers: Callable[[str], PreTrainedTokenizerFast]
) -> None:
    tokenizer = tokenizers("chatml")
    data = DataConfig(source=str(dataset), train_split="paper", cache_dir=str(tmp_path / "cache"))
    benchmark = load_benchmark("personamem_v2", data, "val")
    export(tmp_path / "out.jsonl", benchmark, benchmark.questions, tokenizer, "drop")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    split = prepare(Config(data=data), tokenizer, "val")
    assert len(rows) == len(split) == 18
    for index, row in enumerate(rows):
        prompt = split.prompt(index, split.eval_order(index))
        assert tokenizer(row["prompt"], add_special_tokens=False)["input_ids"] == list(prompt.token_ids)
        assert (row["question_id"], row["gold"]) == (prompt.question_id, prompt.gold)


def test_the_task_reads_the_columns_and_the_last_box() -> None:
    task = yaml.safe_load(TASK.read_text(encoding="utf-8"))
    assert (task["doc_to_text"], task["doc_to_target"]) == ("{{prompt}}", "{{gold}}")
    step = task["filter_list"][0]["filter"][0]
    found = re.findall(step["regex_pattern"], r"Not \boxed{a}. <think></think> \boxed{(C)}")
    assert (found, found[step["group_select"]].lower()) == (["a", "C"], "c")
