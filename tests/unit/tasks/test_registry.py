"""Which task a config means, and how long its prompts and replies can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from rft.config import Config, DataConfig, MemoryConfig, RolloutConfig
from rft.tasks.memory import MemoryTask
from rft.tasks.registry import TASKS, engine_window, longest_completion, longest_path, task_class


@pytest.mark.parametrize("name", TASKS)
def test_a_name_is_a_class_that_describes_its_batches(name: str):
    config = Config(task=name)
    assert task_class(config) is TASKS[name]
    assert "rollout batch" in task_class(config).describe_batch(config, 2)


def test_a_task_of_one_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "own_task_a.py").write_text("from rft.tasks.mcq import McqTask\n\nclass Mine(McqTask): ...\n\nx = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert task_class(Config(task="own_task_a:Mine")).__name__ == "Mine"
    with pytest.raises(ValueError, match=r"task: own_task_a:x is no subclass of rft\.tasks\.task\.Task"):
        task_class(Config(task="own_task_a:x"))


def test_the_longest_reply_of_a_memory_may_be_an_update():
    data, rollout = DataConfig(max_prompt_length=100), RolloutConfig(max_completion_length=10)
    config = Config(task="memory", data=data, rollout=rollout, memory=MemoryConfig(max_update_length=30))
    assert MemoryTask.longest_completion(config) == (30, "memory.max_update_length")
    assert (longest_completion(config), longest_path(config), engine_window(config)) == (30, 130, 130)
    config = Config(task="mcq", data=data, rollout=rollout)
    assert (longest_completion(config), longest_path(config)) == (10, 110)
    config.rollout.vllm_max_model_length = 500
    assert engine_window(config) == 500
