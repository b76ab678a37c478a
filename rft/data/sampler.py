"""Which questions make up which batch, and which rank works on which of them.

With uniform selection a batch is a pure function of (seed, epoch), so its index is all the state there is; adaptive
selection draws its units here, too, and keeps a queue of them (question_queue.py).

Questions of one context stand together in units of up to `data.questions_per_context`, because whoever reads the
context once (prefix cache, cascade attention, forest) can then answer all of them. A rank is given whole units.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TypeVar

Unit = list[int]
"""Indices of questions of one context that stay together."""

T = TypeVar("T")


class BatchSampler:
    """Endless batches of units of question indices. Resuming is asking for the next index.

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

    def batch(self, index: int) -> tuple[int, list[Unit]]:
        """The epoch (from 0) and the units of batch `index` (from 0, counted over all epochs), in their order."""
        epoch, position = divmod(index, self.batches_per_epoch)
        return epoch, [list(unit) for unit in self._epoch(epoch)[position]]


def epoch_batches(
    context_ids: Sequence[str], questions_per_batch: int, questions_per_context: int, seed: int, epoch: int
) -> list[list[Unit]]:
    """All batches of one epoch; every question at most once, an incomplete last batch left out.

    Where units of full size fill a batch exactly, a batch is made of places of that size, one after another. A place
    holds one full unit, or smaller ones (what is left of a context) that fill it. Places of the second kind are in as
    few batches as possible: the rank that is given one reads more contexts, and the others wait for it.

    Raises:
        ValueError: fewer questions than one batch, or a size below 1.
    """
    check_sizes(len(context_ids), questions_per_batch, questions_per_context)
    rng = random.Random(f"{seed}/{epoch}")
    units = draw_units(context_ids, questions_per_context, rng)
    if questions_per_batch % questions_per_context:
        return pack(units, questions_per_batch)
    places_per_batch = questions_per_batch // questions_per_context
    whole = [[unit] for unit in units if len(unit) == questions_per_context]
    small = [unit for unit in units if len(unit) < questions_per_context]
    batches = list(full_chunks(whole, places_per_batch))
    mixed = whole[len(batches) * places_per_batch :] + pack(sorted(small, key=len, reverse=True), questions_per_context)
    rng.shuffle(mixed)
    for batch in full_chunks(mixed, places_per_batch):
        batches.insert(rng.randint(0, len(batches)), batch)
    return [[unit for place in batch for unit in place] for batch in batches]


def check_sizes(num_questions: int, questions_per_batch: int, questions_per_context: int) -> None:
    if questions_per_batch < 1 or questions_per_context < 1:
        raise ValueError("rollout.questions_per_batch and data.questions_per_context must be at least 1")
    if num_questions < questions_per_batch:
        raise ValueError(
            f"{num_questions} questions are fewer than one batch of {questions_per_batch}; "
            "lower rollout.questions_per_batch or add data"
        )


def draw_units(context_ids: Sequence[str], questions_per_context: int, rng: random.Random) -> list[Unit]:
    """Every context's questions in random order, cut into units, the units in random order."""
    by_context: dict[str, list[int]] = {}
    for index, context_id in enumerate(context_ids):
        by_context.setdefault(context_id, []).append(index)
    units: list[Unit] = []
    for questions in by_context.values():
        rng.shuffle(questions)
        units += [questions[i : i + questions_per_context] for i in range(0, len(questions), questions_per_context)]
    rng.shuffle(units)
    return units


def full_chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """Consecutive parts of `size` items; what is left at the end is left out."""
    return (list(items[start : start + size]) for start in range(0, len(items) - size + 1, size))


def pack(units: Sequence[Unit], capacity: int) -> list[list[Unit]]:
    """Fills parts of `capacity` questions with whole units, in order; one is split only where no other fills the gap.

    An incomplete last part is left out.
    """
    waiting: dict[int, deque[tuple[int, Unit]]] = {}  # by size, each with its number in the order
    for number, unit in enumerate(units):
        waiting.setdefault(len(unit), deque()).append((number, unit))
    parts: list[list[Unit]] = []
    part: list[Unit] = []
    room = capacity
    while any(waiting.values()):
        heads = [(found[0][0], size) for size, found in waiting.items() if found]
        fitting = [head for head in heads if head[1] <= room]
        _, size = min(fitting or heads)
        number, unit = waiting[size].popleft()
        part.append(unit[:room])
        if unit[room:]:
            waiting.setdefault(len(unit[room:]), deque()).appendleft((number, unit[room:]))
        room -= len(part[-1])
        if room == 0:
            parts.append(part)
            part, room = [], capacity
    return parts


# ------------------------------------------------------------------------------------------------- units to ranks


def deal_units(units: Sequence[Unit], rank: int, world: int) -> list[Unit]:
    """The units of one batch that rank `rank` of `world` works on: as many questions as every other rank, in order.

    Two dealings are tried: consecutive parts, which split nothing where a rank's share is made of whole places
    (`epoch_batches`), and the largest units first, each to the rank with the most room. The one that splits fewer units
    is taken, then the one whose busiest rank has fewer. Every rank computes the same.

    Raises:
        ValueError: the batch cannot be shared equally.
    """
    num_questions = sum(map(len, units))
    if num_questions % world:
        raise ValueError(
            f"a batch of {num_questions} questions cannot be shared equally by {world} ranks; "
            "set rollout.questions_per_batch to a multiple of the number of processes"
        )
    order = list(range(len(units)))
    largest_first = sorted(order, key=lambda position: -len(units[position]))
    dealings = [
        deal(units, order, num_questions // world, world, choose=lambda room: next(r for r in range(world) if room[r])),
        deal(units, largest_first, num_questions // world, world, choose=lambda room: room.index(max(room))),
    ]
    dealt = min(dealings, key=lambda shares: (sum(map(len, shares)), max(map(len, shares))))
    return [unit for _, unit in sorted(dealt[rank], key=lambda pair: pair[0])]


def deal(
    units: Sequence[Unit], order: Sequence[int], share: int, world: int, choose: Callable[[list[int]], int]
) -> list[list[tuple[int, Unit]]]:
    """By rank, `share` questions: each unit's position in the batch, and the part of it that the rank is given.

    Args:
        order: positions of units, in which they are dealt.
        choose: from the room that each rank has left to the rank that is given the next unit.
    """
    room = [share] * world
    shares: list[list[tuple[int, Unit]]] = [[] for _ in range(world)]
    for position in order:
        left = units[position]
        while left:
            rank = choose(room)
            part, left = left[: room[rank]], left[room[rank] :]
            shares[rank].append((position, part))
            room[rank] -= len(part)
    return shares
