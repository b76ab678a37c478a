from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trl.trainer.utils import nanstd

from rft.grpo.advantage import group_advantages

rewards_of_a_group = st.lists(st.floats(-10, 10), min_size=1, max_size=16)


def test_mean_is_taken_off() -> None:
    assert group_advantages([1.0, 0.0, 0.0, 1.0], scale=False) == [0.5, -0.5, -0.5, 0.5]


def test_scaled_by_the_unbiased_standard_deviation() -> None:
    std = (4 * 0.25 / 3) ** 0.5
    expected = 0.5 / (std + 1e-4)
    assert group_advantages([1.0, 0.0, 0.0, 1.0], scale=True) == pytest.approx(
        [expected, -expected, -expected, expected]
    )


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("rewards", [[1.0], [0.0], [1.0, 1.0, 1.0], [0.0] * 8, [0.1] * 3, [0.7] * 6, [-0.2] * 3])
def test_equal_rewards_teach_nothing(rewards: list[float], scale: bool) -> None:
    """Exactly zero, also where the mean of equal numbers is not that number in floating point."""
    assert group_advantages(rewards, scale) == [0.0] * len(rewards)


@given(st.lists(st.none() | st.floats(-10, 10), max_size=16), st.booleans())
def test_a_sibling_without_reward_is_as_if_it_were_not_there(rewards: list[float | None], scale: bool) -> None:
    advantages = group_advantages(rewards, scale)
    assert [advantage is None for advantage in advantages] == [reward is None for reward in rewards]
    others = group_advantages([reward for reward in rewards if reward is not None], scale)
    assert [advantage for advantage in advantages if advantage is not None] == others


@given(rewards_of_a_group, st.booleans())
def test_they_sum_to_zero_and_keep_the_order_of_rewards(rewards: list[float], scale: bool) -> None:
    advantages = group_advantages(rewards, scale)
    assert sum(advantages) == pytest.approx(0, abs=1e-6)
    ordered = [advantage for _, advantage in sorted(zip(rewards, advantages, strict=True))]
    assert ordered == sorted(ordered)


@given(rewards_of_a_group.filter(lambda rewards: len(rewards) > 1))
def test_scaling_is_trl_s(rewards: list[float]) -> None:
    values = torch.tensor(rewards, dtype=torch.float64)
    expected = (values - values.mean()) / (nanstd(values) + 1e-4)
    assert group_advantages(rewards, scale=True) == pytest.approx(expected.tolist(), rel=1e-6, abs=1e-6)
