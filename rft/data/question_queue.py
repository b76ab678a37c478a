"""Which questions wait to be asked, where a batch asks as many as it needs (rollout.select=adaptive).

With uniform selection a batch is a pure function of its index (data/sampler.py). Here the number of questions that a
batch consumes depends on what the policy answered, so the queue is a state: a checkpoint keeps it.

Each question is asked at most once per epoch, whatever it taught: one whose answers are noise, and so are always mixed,
cannot come back before all others were asked.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from rft.data.sampler import Unit, draw_units


class QuestionQueue:
    """The questions of the present epoch that wait, as visits: several questions of one context, next to each other.

    Args:
        context_ids: `context_ids[i]` is the context of question i.
        seed: decides the order of contexts, and of the questions of one.
    """

    def __init__(self, context_ids: Sequence[str], seed: int) -> None:
        self.context_ids = context_ids
        self.seed = seed
        self.epoch = 0
        self.visits = self._visits_of(0)

    def __len__(self) -> int:
        """Questions that wait in this epoch."""
        return sum(map(len, self.visits))

    def _visits_of(self, epoch: int) -> list[Unit]:
        rng = random.Random(f"{self.seed}/{epoch}")
        return draw_units(self.context_ids, len(self.context_ids), rng)

    def begin_batch(self, num_questions: int) -> None:
        """Goes on to the next epoch where fewer than `num_questions` wait. Those come first in it, as part of it."""
        if len(self) >= num_questions:
            return
        left = {question for visit in self.visits for question in visit}
        self.epoch += 1
        fresh = self._visits_of(self.epoch)
        self.visits = [*parts(fresh, lambda q: q in left), *parts(fresh, lambda q: q not in left)]

    def end_batch(self, asked: Collection[int], first_next: Collection[int]) -> None:
        """Takes out what a batch consumed. What is left of the visits it opened goes to the end, so that the next batch
        has other contexts.

        Args:
            asked: questions that were asked; they are done for this epoch.
            first_next: those of them that had no place in the batch although they would have taught something: they
                wait again, before all others.
        """
        again, done = set(first_next), set(asked)
        opened = [visit for visit in self.visits if not done.isdisjoint(visit)]
        untouched = [visit for visit in self.visits if done.isdisjoint(visit)]
        self.visits = [
            *parts(opened, lambda q: q in again),
            *untouched,
            *parts(opened, lambda q: q not in done),
        ]

    def state(self) -> dict[str, Any]:
        """For a checkpoint: plain values."""
        return {"epoch": self.epoch, "visits": self.visits}

    def load(self, state: dict[str, Any]) -> None:
        self.epoch, self.visits = state["epoch"], [list(visit) for visit in state["visits"]]


def parts(visits: Sequence[Unit], wanted: Callable[[int], bool]) -> list[Unit]:
    """The wanted questions of each visit that has some, in order."""
    chosen = ([question for question in visit if wanted(question)] for visit in visits)
    return [visit for visit in chosen if visit]


def candidates(
    visits: Sequence[Unit], num_open: int, value: Callable[[int], float], exploring_share: float, rng: random.Random
) -> Iterator[int]:
    """Questions in the order in which one batch should ask them.

    The first `num_open` visits take turns, a question each, so that a batch has many contexts; when they are used up
    the next visits follow, as many at a time. Within a visit the most valuable question is next, or with probability
    `exploring_share` the one whose turn it is.

    Args:
        value: of a question; the first one wins among equals.
        rng: of this batch.
    """
    for start in range(0, len(visits), num_open):
        left = [list(visit) for visit in visits[start : start + num_open]]
        while left:
            for visit in left:
                explores = rng.random() < exploring_share
                yield visit.pop(0 if explores else max(range(len(visit)), key=lambda at: (value(visit[at]), -at)))
            left = [visit for visit in left if visit]
