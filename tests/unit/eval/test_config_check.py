"""What the config alone shows to be impossible costs one line."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rft.config import MemoryConfig, RewardConfig
from rft.eval.config import CompareConfig as Compare
from rft.eval.config import ComparisonConfig, EndpointConfig, JudgeConfig
from rft.eval.config_check import check_comparison

ENDPOINT = EndpointConfig(model="m", base_url="http://localhost/v1")
KEY_FOR_A_NAME = EndpointConfig(model="m", api_key_env="sk-a-key")
EXACT = "tests.unit.eval.builder:exact"
JUDGE = JudgeConfig(endpoint=ENDPOINT)


def config(**changes: Any) -> ComparisonConfig:
    return ComparisonConfig(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"system": "all"},
        {"task": "memory", "system": "memory"},
        {"task": "qa", "reward": RewardConfig(function=EXACT)},
        {"compare": Compare(protocol="final_answer")},
        {"compare": Compare(protocol="leaderboard")},
        {"compare": Compare(protocol="leaderboard", answers="open", judge=JUDGE)},
        {"compare": Compare(protocol="leaderboard", endpoint=ENDPOINT, temperature=None)},
        {"task": "memory", "system": "memory", "compare": Compare(protocol="leaderboard")},
        {"compare": Compare(answers="open", judge=JUDGE)},
        {"task": "memory", "compare": Compare(answers="open", judge=JUDGE)},
        {"compare": Compare(endpoint=ENDPOINT, temperature=None)},
        {"compare": Compare(num_samples=3, temperature=0.7)},
    ],
)
def test_what_can_work_is_let_through(changes: dict[str, Any]):
    check_comparison(config(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"system": "no_histroy"}, "unknown system 'no_histroy'"),
        ({"task": "mqc"}, "task: unknown 'mqc'"),
        ({"task": "qa"}, "task qa has no reward of its own; set reward.function"),
        (
            {"task": "qa", "reward": RewardConfig(function=EXACT), "task_options": {"promt": "Answer."}},
            "task_options.promt",
        ),
        ({"task": "qa", "reward": RewardConfig(function=[EXACT, "task"])}, "task qa has no reward of its own"),
        (
            {"task": "qa", "reward": RewardConfig(function="a.b:c"), "compare": Compare(answers="open", judge=JUDGE)},
            "compare.answers=open hides the options of multiple choice, and task qa",
        ),
        (
            {"task": "qa", "reward": RewardConfig(function="a.b:c"), "compare": Compare(protocol="final_answer")},
            "compare.protocol=final_answer is another wording of multiple choice, and task qa",
        ),
        (
            {"task": "qa", "reward": RewardConfig(function="a.b:c"), "compare": Compare(protocol="leaderboard")},
            "compare.protocol=leaderboard asks for a letter or an open answer, and task qa",
        ),
        (
            {"compare": Compare(protocol="leaderboard", temperature=0.7)},
            "compare.protocol=leaderboard is greedy; set compare.temperature=0",
        ),
        (
            {
                "compare": Compare(
                    protocol="leaderboard", answers="open", judge=JudgeConfig(endpoint=ENDPOINT, repeats=2)
                )
            },
            "compare.protocol=leaderboard has each answer judged once; set compare.judge.repeats=1",
        ),
        ({"reward": RewardConfig(function="tests.unit.eval.builder:absent")}, "has no absent"),
        ({"compare": Compare(answers="open")}, "compare.answers=open needs a judge; set compare.judge.endpoint.model"),
        ({"compare": Compare(num_samples=2)}, "raise one of them"),
        ({"compare": Compare(temperature=None)}, "compare.temperature: null leaves it to an endpoint"),
        ({"compare": Compare(endpoint=EndpointConfig(model="m"))}, "set OPENAI_API_KEY, or compare.endpoint.base_url"),
        (
            {"compare": Compare(answers="open", judge=JudgeConfig(endpoint=EndpointConfig(model="m")))},
            "set OPENAI_API_KEY, or compare.judge.endpoint.base_url",
        ),
        (
            {"compare": Compare(endpoint=EndpointConfig(base_url="http://127.0.0.1:9/v1", model="m", api_key_env="K"))},
            "compare.endpoint.api_key_env: K is not set; set it, or write null for an endpoint that needs no key",
        ),
        (
            {"compare": Compare(endpoint=EndpointConfig(model="m", api_key_env=None))},
            "set OPENAI_API_KEY, or compare.endpoint.base_url",
        ),
        (
            {
                "compare": Compare(
                    answers="open", judge=JudgeConfig(endpoint=EndpointConfig(model="m", api_key_env="k"))
                )
            },
            "compare.judge.endpoint.api_key_env names an environment variable",
        ),
        (
            {"system": "memory", "memory": MemoryConfig(query_aware=True), "compare": Compare(endpoint=ENDPOINT)},
            "system memory behind an endpoint is query-blind",
        ),
        ({"compare": Compare(retrieval_window=2, retrieval_overlap=2)}, "compare.retrieval_overlap = 2 must be below"),
        ({"compare": Compare(label="a/b")}, "compare.label names a folder, and 'a/b' will not do"),
        ({"compare": Compare(label="rules")}, "and 'rules' will not do"),
    ],
)
def test_what_cannot_work_is_one_line(changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ValueError, match=re.escape(message)) as told:
        check_comparison(config(**changes))
    assert "\n" not in str(told.value)
