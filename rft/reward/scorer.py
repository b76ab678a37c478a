"""From attempts to scores: by the task's own scorer, or by reward functions of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from rft.config import RewardConfig
from rft.records import Attempt, Question, Score
from rft.reward.functions import RewardFunctions

OwnScore = Callable[[Sequence[Attempt]], list[Score]]
"""A task's own scorer: one score per attempt, in their order."""


class Scorer(Protocol):
    """Scores attempts, for training and evaluation alike."""

    def __call__(self, attempts: Sequence[Attempt]) -> list[Score]:
        """One score per attempt, in their order."""
        ...

    def check_questions(self, questions: Iterable[Question]) -> None:
        """Raises ValueError for questions that cannot be scored, before anything is asked."""
        ...

    def begin_step(self, step: int, max_steps: int, epoch: float) -> None:
        """Tells how far the training is: optimizer steps taken and planned, epochs begun."""
        ...

    def pop_metrics(self) -> dict[str, float]:
        """Numbers of the scorer's own since this was last asked for, of this rank."""
        ...


class TaskScorer:
    """A task's own scorer; see `Scorer`."""

    def __init__(self, own: OwnScore) -> None:
        self.own = own

    def __call__(self, attempts: Sequence[Attempt]) -> list[Score]:
        return self.own(attempts)

    def check_questions(self, questions: Iterable[Question]) -> None:
        """The task checks its own."""

    def begin_step(self, step: int, max_steps: int, epoch: float) -> None:
        """A task's rewards do not depend on it."""

    def pop_metrics(self) -> dict[str, float]:
        return {}


def make_scorer(config: RewardConfig, own: OwnScore) -> Scorer:
    """The functions that `reward.function` names, else the task's own scorer.

    Raises:
        ValueError: a function that cannot be found, or another number of weights than of functions.
    """
    return TaskScorer(own) if config.function is None else RewardFunctions(config, own)
