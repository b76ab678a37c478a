"""The numbers of a step, against hand-made rollouts."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from accelerate import Accelerator

from rft.grpo.metrics import (
    SLEEPING_GIB,
    AnswerOutcome,
    engine_metrics,
    peak_memory_gib,
    restart_peak_memory,
    rollout_metrics,
)
from rft.records import Score
from rft.rollout.engine import EngineCounters


def outcome(
    group: str, reward: float | None, *, letter: str | None = "a", tokens: int = 10, truncated: bool = False
) -> AnswerOutcome:
    score = Score(reward=reward, parsed=letter, failure=None if letter else "no_box")
    return AnswerOutcome(group=group, score=score, num_tokens=tokens, truncated=truncated)


def test_rewards_groups_and_failures():
    metrics = rollout_metrics(
        [
            outcome("x", 1.0, tokens=4),
            outcome("x", 0.0, letter="b", tokens=8),
            outcome("y", 0.0, letter=None, tokens=20, truncated=True),
            outcome("y", 0.0, letter=None, tokens=8),
        ]
    )
    assert metrics["reward"] == 0.25
    assert metrics["reward_std"] == pytest.approx((0.5**0.5 + 0.0) / 2)
    assert metrics["frac_reward_zero_std"] == 0.5
    assert metrics["completions/mean_length"] == 10
    assert (metrics["completions/min_length"], metrics["completions/max_length"]) == (4, 20)
    assert metrics["completions/clipped_ratio"] == 0.25
    assert metrics["parse_rate"] == 0.5
    assert metrics["failures/no_box"] == 0.5


def test_answers_without_a_reward_are_in_no_mean_and_are_counted():
    metrics = rollout_metrics([outcome("x", 1.0), outcome("x", None), outcome("x", 0.0), outcome("y", None)])
    assert (metrics["reward"], metrics["frac_reward_zero_std"]) == (0.5, 0.0)
    assert metrics["reward/left_out_ratio"] == 0.5
    nothing = rollout_metrics([outcome("x", None), outcome("x", None)])
    assert math.isnan(nothing["reward"]) and nothing["reward/left_out_ratio"] == 1.0


def test_no_parse_rate_where_nobody_reads_an_answer():
    free = AnswerOutcome(group="x", score=Score(reward=0.3), num_tokens=3, truncated=False)
    assert "parse_rate" not in rollout_metrics([free, free])


def test_what_an_engine_did_and_can_hold():
    used = EngineCounters(prompt_tokens=100, cached_prompt_tokens=75, generated_tokens=9, preemptions=2)
    engine: Any = SimpleNamespace(kv_cache_tokens=4096, sleeping_bytes=lambda: 3 * 2**30)
    metrics = engine_metrics(Accelerator(cpu=True), engine, used)
    assert metrics["engine/prefix_cache_hit_rate"] == 0.75
    assert metrics["engine/prefill_tokens"] == 25
    assert metrics["engine/preemptions"] == 2
    assert (metrics["engine/kv_cache_tokens"], metrics[SLEEPING_GIB]) == (4096, 3)


def test_the_peak_of_a_cpu_is_that_of_the_whole_process():
    accelerator = Accelerator(cpu=True)
    before = peak_memory_gib(accelerator)
    below_the_peak = int(before * 2**30) - psutil.Process().memory_info().rss
    filled = np.ones(below_the_peak // 8 + 2**25)
    high = peak_memory_gib(accelerator)
    assert high >= before + 0.2
    del filled
    restart_peak_memory()
    assert peak_memory_gib(accelerator) == high
