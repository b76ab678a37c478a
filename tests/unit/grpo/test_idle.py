"""Skipped steps in a row: counted over batches, and at some point the end of the run."""

from __future__ import annotations

import pytest

from rft.grpo.idle import check_idle, idle_steps_after

SKIPPED, TAKEN = {"update/skipped": 1.0}, {"update/skipped": 0.0}


def test_the_count_goes_on_over_batches_and_a_taken_step_ends_it() -> None:
    assert idle_steps_after(0, [TAKEN, TAKEN]) == 0
    assert idle_steps_after(3, [SKIPPED, SKIPPED]) == 5
    assert idle_steps_after(3, [SKIPPED, TAKEN, SKIPPED]) == 1
    assert idle_steps_after(3, [SKIPPED, TAKEN]) == 0
    assert idle_steps_after(3, []) == 3


def test_the_run_stops_at_the_bound_and_says_why() -> None:
    check_idle(19, 20)
    check_idle(0, 1, mean_reward=1.0)
    with pytest.raises(
        RuntimeError, match="20 steps in a row had nothing to learn from.*train.max_idle_steps"
    ) as caught:
        check_idle(20, 20)
    assert "\n" not in str(caught.value) and "mean reward" not in str(caught.value)
    with pytest.raises(RuntimeError, match=r"mean reward of the last batch: 0\.000"):
        check_idle(21, 20, mean_reward=0.0)
