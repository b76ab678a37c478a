"""The file for the lm-evaluation-harness asks what we ask, token for token."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from rft.config import DataConfig
from rft.data.formats import open_dataset
from rft.data.prepare import prepare
from rft.data.prompts import McqWording, gold_letter
from rft.eval.lm_eval import write_lm_eval_questions
from tests.unit.data.builder import TEMPLATES, make_tokenizer, write_dataset
from tests.unit.eval.builder import UsersDataset, make_question

TASK = Path(__file__).parents[3] / "configs" / "lm_eval" / "personamem.yaml"


def test_its_prompts_are_ours(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(TEMPLATES["chatml"])
    source = write_dataset(tmp_path / "data", {"train": (1,), "val": (2, 3, 4), "benchmark": (5,)}, 6)
    data = DataConfig(source=str(source), train_split="paper", cache_dir=str(tmp_path / "cache"))
    opened = open_dataset(data)
    questions = opened.split("val").questions
    write_lm_eval_questions(tmp_path / "out.jsonl", data, opened, questions, tokenizer)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    split = prepare(data, opened, tokenizer, McqWording(), "val")
    assert len(rows) == len(split) == 18
    for index, row in enumerate(rows):
        prompt = split.prompt(index, split.eval_order(index))
        assert tokenizer(row["prompt"], add_special_tokens=False)["input_ids"] == list(prompt.token_ids)
        assert (row["question_id"], row["gold"]) == (prompt.question_id, gold_letter(prompt.option_order))
        assert row["tags"]["who"] == "self"


def test_questions_without_options_are_refused(tmp_path: Path) -> None:
    questions = [make_question(0, incorrect_answers=())]
    tokenizer = make_tokenizer(TEMPLATES["chatml"])
    with pytest.raises(ValueError, match="val/0 has no options"):
        write_lm_eval_questions(tmp_path / "out.jsonl", DataConfig(), UsersDataset(questions), questions, tokenizer)


def test_the_task_reads_the_columns_and_the_last_box() -> None:
    task = yaml.safe_load(TASK.read_text(encoding="utf-8"))
    assert (task["doc_to_text"], task["doc_to_target"]) == ("{{prompt}}", "{{gold}}")
    step = task["filter_list"][0]["filter"][0]
    found = re.findall(step["regex_pattern"], r"Not \boxed{a}. <think></think> \boxed{(C)}")
    assert (found, found[step["group_select"]].lower()) == (["a", "C"], "c")
