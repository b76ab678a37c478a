"""Group-relative advantages: what a reply was worth, compared with its siblings."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

STD_EPSILON = 1e-4
"""Added to the standard deviation, as trl does."""


def group_advantages(rewards: Sequence[float | None], scale: bool) -> list[float | None]:
    """Advantages of one group of siblings, in the order of `rewards`.

    `scale=False`: A_i = r_i - mean(r), Dr. GRPO (arXiv 2503.20783, section 3.2).
    `scale=True`: A_i = (r_i - mean(r)) / (std(r) + 1e-4), GRPO (arXiv 2402.03300, section 4.1.2), with the
    unbiased standard deviation, as trl's `scale_rewards="group"`.

    A sibling whose reward is None has the advantage None, and the mean and the deviation are those of the others.
    Equal rewards give zeros, and so does a single reward.
    """
    given = [reward for reward in rewards if reward is not None]
    # Said exactly: the mean of three times 0.1 is not 0.1 in floating point, and the rest would count as a gradient.
    if len(set(given)) <= 1:
        return [None if reward is None else 0.0 for reward in rewards]
    mean = statistics.fmean(given)
    divisor = statistics.stdev(given) + STD_EPSILON if scale else 1.0
    return [None if reward is None else (reward - mean) / divisor for reward in rewards]
