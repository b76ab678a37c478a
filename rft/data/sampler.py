"""Which questions make up which batch: a pure function of (seed, epoch), so a batch index is all the state there is.

Questions of one context stand next to each other, because whoever reads the context once (prefix cache, forest)
can then answer all of them. Such a run of questions is called a unit.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby


class BatchSampler:
    """Endless batches of question indices. Resuming is asking for the next index.

    `context_ids[i]` is the context of question i. Every epoch has the same number of batches.
    """

    def __init__(
        self, context_ids: Sequence[str], questions_per_batch: int, questions_per_context: int, seed: int
    ) -> None:
        check_sizes(len(context_ids), questions_per_batch, questions_per_context)
        self.batches_per_epoch = len(context_ids) // questions_per_batch
        # Consecutive indices ask for the same epoch, so one is enough.
        self._epoch = lru_cache(maxsize=1)(
            lambda epoch: epoch_batches(context_ids, questions_per_batch, questions_per_context, seed, epoch)
        )

    def batch(self, index: int) -> tuple[int, list[int]]:
        """The epoch (from 0) and the question indices of batch `index` (from 0, counted over all epochs)."""
        epoch, position = divmod(index, self.batches_per_epoch)
        return epoch, list(self._epoch(epoch)[position])


def epoch_batches(
    context_ids: Sequence[str], questions_per_batch: int, questions_per_context: int, seed: int, epoch: int
) -> list[list[int]]:
    """All batches of one epoch; every question at most once, the last incomplete batch left out.

    Raises:
        ValueError: fewer questions than one batch, or a size below 1.
    """
    check_sizes(len(context_ids), questions_per_batch, questions_per_context)
    rng = random.Random(f"{seed}/{epoch}")
    units = draw_units(context_ids, questions_per_context, rng)
    return pack(units, questions_per_batch)


def check_sizes(num_questions: int, questions_per_batch: int, questions_per_context: int) -> None:
    if questions_per_batch < 1 or questions_per_context < 1:
        raise ValueError("rollout.questions_per_batch and data.questions_per_context must be at least 1")
    if num_questions < questions_per_batch:
        raise ValueError(
            f"{num_questions} questions are fewer than one batch of {questions_per_batch}; "
            "lower rollout.questions_per_batch or add data"
        )


def draw_units(context_ids: Sequence[str], questions_per_context: int, rng: random.Random) -> list[list[int]]:
    """Every context's questions in random order, cut into units, the units in random order."""
    by_context: dict[str, list[int]] = {}
    for index, context_id in enumerate(context_ids):
        by_context.setdefault(context_id, []).append(index)
    units: list[list[int]] = []
    for questions in by_context.values():
        rng.shuffle(questions)
        units += [questions[i : i + questions_per_context] for i in range(0, len(questions), questions_per_context)]
    rng.shuffle(units)
    return units


def pack(units: list[list[int]], questions_per_batch: int) -> list[list[int]]:
    """Fills batches with whole units, in order; a unit is split only where no other one fills the gap."""
    batches: list[list[int]] = []
    batch: list[int] = []
    waiting = list(reversed(units))
    while waiting:
        room = questions_per_batch - len(batch)
        at = next((i for i in range(len(waiting) - 1, -1, -1) if len(waiting[i]) <= room), None)
        if at is None:
            first = waiting.pop()
            batch += first[:room]
            waiting.append(first[room:])
        else:
            batch += waiting.pop(at)
        if len(batch) == questions_per_batch:
            batches.append(batch)
            batch = []
    return batches


def shard(batch: Sequence[int], context_ids: Sequence[str], rank: int, world: int) -> list[int]:
    """The questions of one batch that rank `rank` of `world` works on: as many as every other rank, in batch order.

    Units go whole to the rank with the most room, largest first, which also spreads the contexts evenly; one is
    split only when no rank has room for all of it. Every rank computes the same assignment.

    Raises:
        ValueError: the batch cannot be shared equally.
    """
    if len(batch) % world:
        raise ValueError(
            f"a batch of {len(batch)} questions cannot be shared equally by {world} ranks; "
            "set rollout.questions_per_batch to a multiple of the number of processes"
        )
    runs = [list(positions) for _, positions in groupby(range(len(batch)), key=lambda i: context_ids[batch[i]])]
    room = [len(batch) // world] * world
    shares: list[list[int]] = [[] for _ in range(world)]
    for run in sorted(runs, key=len, reverse=True):
        while run:
            roomiest = max(range(world), key=lambda r: room[r])
            size = min(len(run), room[roomiest])
            shares[roomiest] += run[:size]
            room[roomiest] -= size
            run = run[size:]
    return [batch[position] for position in sorted(shares[rank])]
