"""From attempts to scores: by the task's own scorer, or by reward functions of the user's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rft.config import RewardConfig
from rft.records import Attempt, Score
from rft.reward.functions import RewardFunctions

Scorer = Callable[[Sequence[Attempt]], list[Score]]
"""One score per attempt, in their order."""


def make_scorer(config: RewardConfig, own: Scorer) -> Scorer:
    """The functions that `reward.function` names, else `own`, the task's.

    Raises:
        ValueError: a function that cannot be found, or another number of weights than of functions.
    """
    return own if config.function is None else RewardFunctions(config, own)
