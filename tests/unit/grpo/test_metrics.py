"""The numbers of a step, against hand-made rollouts."""

import pytest
from accelerate import Accelerator

from rft.grpo.metrics import Clock, Outcome, engine_metrics, rollout_metrics
from rft.rollout.engine import EngineCounters


def outcome(
    group: str, reward: float, *, letter: str | None = "a", tokens: int = 10, truncated: bool = False
) -> Outcome:
    return Outcome(
        group=group,
        reward=reward,
        letter=letter,
        failure=None if letter else "no_box",
        num_tokens=tokens,
        truncated=truncated,
    )


def test_rewards_groups_failures_and_letters():
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
    assert (metrics["letters/a"], metrics["letters/b"]) == (0.25, 0.25)


def test_cache_hits_are_shares_of_prompt_tokens():
    used = EngineCounters(prompt_tokens=100, cached_prompt_tokens=75, generated_tokens=9)
    metrics = engine_metrics(Accelerator(cpu=True), used)
    assert metrics["engine/prefix_cache_hit_rate"] == 0.75
    assert metrics["engine/prefill_tokens"] == 25


def test_a_clock_adds_up_phases_and_starts_anew():
    clock = Clock()
    for _ in range(2):
        with clock.phase("rollout"):
            pass
    read = clock.read()
    assert 0 <= read["time/rollout_s"] <= read["step_time"]
    assert "time/rollout_s" not in clock.read()
