"""Group-relative advantages: what a reply was worth, compared with its siblings."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

STD_EPSILON = 1e-4
"""Added to the standard deviation, as trl does."""


def group_advantages(rewards: Sequence[float], scale: bool) -> list[float]:
    """Advantages of one group of siblings, in the order of `rewards`.

    `scale=False`: A_i = r_i - mean(r), Dr. GRPO (arXiv 2503.20783, section 3.2).
    `scale=True`: A_i = (r_i - mean(r)) / (std(r) + 1e-4), GRPO (arXiv 2402.03300, section 4.1.2), with the
    unbiased standard deviation, as trl's `scale_rewards="group"`.

    Equal rewards, a single one included, give zeros.
    """
    mean = statistics.fmean(rewards)
    advantages = [reward - mean for reward in rewards]
    if not scale or len(rewards) == 1:
        return advantages
    std = statistics.stdev(rewards)
    return [advantage / (std + STD_EPSILON) for advantage in advantages]
