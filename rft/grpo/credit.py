"""Who gets the credit: from the rewards of a group of rollouts to one advantage per turn.

A group is G rollouts (siblings) of the same Q questions. Rollout g answers question q with reward r[g, q], which may be
None: the reward functions did not judge that answer. Where the rollout wrote a memory, it did so in K turns before all
answers.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rft.grpo.advantage import group_advantages

CreditRule = Literal["shared", "broadcast"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Returns:
    """The rewards of one rollout.

    Example, two questions, three updates, the second question's evidence in the first chunk:
        Returns(answers=(1.0, 0.0), early=((0, 1.0),), num_updates=3)
    """

    answers: tuple[float | None, ...]
    """One per question; None where the answer has no reward."""
    early: tuple[tuple[int, float | None], ...]
    """(update, reward) of answers from the memory as it stood after that update, counted from 0."""
    num_updates: int
    failed: tuple[int, ...] = ()
    """Updates that could not be used, counted from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """The advantages of one rollout's turns; None for a turn that is left out of training.

    Example, the second answer has no reward:
        Credit(updates=(0.25, 0.25, 0.25), answers=(0.5, None), early=(0.5,))
    """

    updates: tuple[float | None, ...]
    answers: tuple[float | None, ...]
    early: tuple[float | None, ...]

    @property
    def num_trained(self) -> int:
        """Turns that have an advantage."""
        return sum(advantage is not None for advantage in (*self.updates, *self.answers, *self.early))


def assign_credit(group: Sequence[Returns], rule: CreditRule, *, scale: bool) -> list[Credit]:
    """The advantages of every turn of a group of siblings, in their order.

    With A(x_1 .. x_G) the group-relative advantage (advantage.py), and R[g] = mean over q of r[g, q]:

    `shared`: answers to one question are compared with each other, A(r[1, q] .. r[G, q]). A memory serves all
    questions, so update k of rollout g has A(R_k[1] .. R_k[G]), where R_k[g] is the mean of all rewards that the update
    could influence: those of every final answer, and of the early answers given after it. An update that could not be
    used has R_k[g] = 0. Such an update leaves the memory as it was before, and the old memory often answers better
    than a careless new one. With the answers' mean as its return, the policy would learn to write updates that cannot
    be used.

    `broadcast`: every turn, answers included, has A(R[1] .. R[G]): the final reward to all turns (MemAgent, arXiv
    2507.02259, section 3.2), here that of all questions. Early answers are compared with each other.

    With one question and no early answer the two are the same.

    Rewards that are None are in no mean and in no comparison. An answer without a reward has no advantage under either
    rule; an update has none where R_k[g] (under `broadcast` R[g]) would be the mean of no reward at all.
    """
    first = group[0]
    assert all(
        (len(r.answers), r.num_updates, [k for k, _ in r.early])
        == (len(first.answers), first.num_updates, [k for k, _ in first.early])
        for r in group
    ), "siblings have the same turns"
    early = advantages_by_turn([[reward for _, reward in r.early] for r in group], scale)
    if rule == "broadcast":
        advantages = group_advantages([mean_reward(r.answers) for r in group], scale)
        answers = [
            tuple(None if reward is None else advantage for reward in r.answers)
            for r, advantage in zip(group, advantages, strict=True)
        ]
        updates = [(advantage,) * first.num_updates for advantage in advantages]
    else:
        answers = advantages_by_turn([r.answers for r in group], scale)
        updates = advantages_by_turn([[update_return(r, k) for k in range(r.num_updates)] for r in group], scale)
    return [
        Credit(updates=own_updates, answers=own_answers, early=own_early)
        for own_updates, own_answers, own_early in zip(updates, answers, early, strict=True)
    ]


def update_return(returns: Returns, update: int) -> float | None:
    """The mean reward of the answers given after `update`, 0 for one that could not be used; None without a reward."""
    mean = mean_reward([*returns.answers, *(reward for after, reward in returns.early if after >= update)])
    return 0.0 if mean is not None and update in returns.failed else mean


def mean_reward(rewards: Iterable[float | None]) -> float | None:
    """The mean of the rewards there are; None where there is none."""
    given = [reward for reward in rewards if reward is not None]
    return statistics.fmean(given) if given else None


def advantages_by_turn(rewards: Sequence[Sequence[float | None]], scale: bool) -> list[tuple[float | None, ...]]:
    """Advantages of `rewards` [G][turns], each turn compared among the siblings: the same shape."""
    columns = [group_advantages(column, scale) for column in zip(*rewards, strict=True)]
    return [tuple(column[g] for column in columns) for g in range(len(rewards))]
