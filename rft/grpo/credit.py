"""Who gets the credit: from the rewards of a group of rollouts to one advantage per turn.

A group is G rollouts (siblings) of the same Q questions. Rollout g answers question q with reward r[g, q]. Where it
wrote a memory, it did so in K turns before all answers.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
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

    answers: tuple[float, ...]
    """One per question."""
    early: tuple[tuple[int, float], ...]
    """(update, reward) of answers from the memory as it stood after that update, counted from 0."""
    num_updates: int
    failed: tuple[int, ...] = ()
    """Updates that could not be used, counted from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """The advantages of one rollout's turns.

    Example:
        Credit(updates=(0.25, 0.25, 0.25), answers=(0.5, 0.0), early=(0.5,))
    """

    updates: tuple[float, ...]
    answers: tuple[float, ...]
    early: tuple[float, ...]


def assign_credit(group: Sequence[Returns], rule: CreditRule, *, scale: bool) -> list[Credit]:
    """The advantages of every turn of a group of siblings, in their order.

    With A(x_1 .. x_G) the group-relative advantage (advantage.py), and R[g] = mean over q of r[g, q]:

    `shared`: answers to one question are compared with each other, A(r[1, q] .. r[G, q]). A memory serves all
    questions, so update k of rollout g has A(R_k[1] .. R_k[G]), where R_k[g] is the mean of all rewards that the update
    could influence: those of every final answer, and of the early answers given after it. An update that could not be
    used has R_k[g] = 0: it leaves the memory before it, which is often better than a careless rewriting, and a policy
    that is paid for that learns to write nothing of use.

    `broadcast`: every turn, answers included, has A(R[1] .. R[G]): the final reward to all turns (MemAgent, arXiv
    2507.02259, section 3.2), here that of all questions. Early answers are compared with each other.

    With one question and no early answer the two are the same.
    """
    first = group[0]
    assert all(
        (len(r.answers), r.num_updates, [k for k, _ in r.early])
        == (len(first.answers), first.num_updates, [k for k, _ in first.early])
        for r in group
    ), "siblings have the same turns"
    early = by_turn([[reward for _, reward in r.early] for r in group], scale)
    if rule == "broadcast":
        returns = group_advantages([statistics.fmean(r.answers) for r in group], scale)
        answers = [(own,) * len(first.answers) for own in returns]
        updates = [(own,) * first.num_updates for own in returns]
    else:
        answers = by_turn([r.answers for r in group], scale)
        updates = by_turn([[influenced(r, k) for k in range(r.num_updates)] for r in group], scale)
    return [
        Credit(updates=own_updates, answers=own_answers, early=own_early)
        for own_updates, own_answers, own_early in zip(updates, answers, early, strict=True)
    ]


def influenced(returns: Returns, update: int) -> float:
    """The mean reward of the answers given after `update`; 0 for one that could not be used."""
    if update in returns.failed:
        return 0.0
    return statistics.fmean([*returns.answers, *(reward for after, reward in returns.early if after >= update)])


def by_turn(rewards: Sequence[Sequence[float]], scale: bool) -> list[tuple[float, ...]]:
    """Advantages of `rewards` [G][turns], each turn among the siblings."""
    columns = [group_advantages(column, scale) for column in zip(*rewards, strict=True)]
    return [tuple(column[g] for column in columns) for g in range(len(rewards))]
