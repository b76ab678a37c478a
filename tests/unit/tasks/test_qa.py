"""A plain question: the context and the query as they are, and a reward function that must be named."""

from __future__ import annotations

from pathlib import Path

import pytest

from rft.config import Config, DataConfig, RewardConfig
from rft.records import Message
from rft.tasks.qa import QaTask
from tests.unit.data.builder import TEMPLATES, make_tokenizer
from tests.unit.tasks.builder import MemoryDataset, make_question

TOKENIZER = make_tokenizer(TEMPLATES["chatml"])


def first_problem(**settings: object) -> str | None:
    config = Config(task="qa", **settings)
    return next((message for broken, message in QaTask.problems(config, 1) if broken), None)


def test_the_prompt_is_the_context_then_the_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "own_reward_q.py").write_text("def one(completions, **kwargs):\n    return [1.0] * len(completions)\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = Config(
        task="qa",
        task_options={"system_prompt": "Be brief."},
        data=DataConfig(cache_dir=str(tmp_path), max_prompt_length=999),
        reward=RewardConfig(function="own_reward_q:one"),
    )
    contexts = {"h": [Message(role="user", content="A river, a lake.")], "empty": []}
    questions = [make_question(0, options=1), make_question(1, context_id="empty", options=1)]
    split = QaTask(config, TOKENIZER, MemoryDataset(contexts, questions, config.data)).load_split("val")
    texts = [TOKENIZER.decode(split.prompt(index, split.eval_order(index)).token_ids) for index in range(2)]
    system = "<|im_start|>system\nBe brief.<|im_end|>\n"
    asked = "<|im_start|>user\nQuestion {}?<|im_end|>\n<|im_start|>assistant\n"
    context = "<|im_start|>user\nA river, a lake.<|im_end|>\n"
    assert texts == [system + context + asked.format(0), system + asked.format(1)]


def test_it_needs_a_reward_function():
    assert first_problem() == "task qa has no reward of its own; set reward.function to package.module:name"
    assert first_problem(reward=RewardConfig(function=["task", "a:b"])) is not None
    assert first_problem(reward=RewardConfig(function="a:b")) is None


def test_its_one_option_is_text():
    reward = RewardConfig(function="a:b")
    assert "unknown config key 'task_options.prompt'" in str(first_problem(reward=reward, task_options={"prompt": ""}))
    assert "must be text" in str(first_problem(reward=reward, task_options={"system_prompt": 3}))
