"""Which samples share a micro-batch, and which rank takes it: the same answer on every rank, no communication.

A forest computes a token once however many samples share it, so what fills a micro-batch is its *unique* tokens. Groups
stay whole and in order, which keeps the questions of one history together. The loss is normalised over the whole step:
packing changes speed and memory, never the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from rft.config import TrainConfig
from rft.grpo.forest import Ints, build_forest, common_prefix
from rft.records import Sample

Pack = list[int]
"""Indices of the samples of one micro-batch."""


def micro_batches(config: TrainConfig, samples: Sequence[Sample], num_ranks: int) -> list[list[Pack]]:
    """For each rank its micro-batches, in order. A rank has none when there are fewer packs than ranks."""
    if config.shared_prefix:
        return forest_packs(samples, config.max_tokens_per_microbatch, num_ranks)
    size = config.per_device_train_batch_size
    packs = [list(range(start, min(start + size, len(samples)))) for start in range(0, len(samples), size)]
    return deal(packs, [len(pack) for pack in packs], num_ranks)


def forest_packs(samples: Sequence[Sample], max_tokens: int, num_ranks: int) -> list[list[Pack]]:
    """Packs of at most `max_tokens` unique tokens, of about equal size, as many for every rank if possible."""
    paths = [np.asarray(sample.prompt_ids + sample.completion_ids, dtype=np.int64) for sample in samples]
    groups = [group for whole in whole_groups(samples) for group in split_to_fit(paths, whole, max_tokens)]
    own = [group_tokens(paths, group) for group in groups]
    shared = shared_with_earlier([paths[group[0]] for group in groups])
    packs = fill(own, shared, max_tokens)
    wanted = math.ceil(len(packs) / num_ranks) * num_ranks
    # The smallest budget that needs no more than the wanted number of packs makes the largest pack smallest.
    low, high = max(own), max_tokens
    while low < high:
        middle = (low + high) // 2
        if len(fill(own, shared, middle)) <= wanted:
            high = middle
        else:
            low = middle + 1
    packs = fill(own, shared, max(high, low))
    costs = [pack_tokens(own, shared, pack) for pack in packs]
    return deal([[index for group in pack for index in groups[group]] for pack in packs], costs, num_ranks)


def whole_groups(samples: Sequence[Sample]) -> list[Pack]:
    """Consecutive samples of one group."""
    return [list(indices) for _, indices in groupby(range(len(samples)), key=lambda index: samples[index].group)]


def split_to_fit(paths: Sequence[Ints], group: Pack, max_tokens: int) -> list[Pack]:
    """The group, in halves of halves where it is larger than a micro-batch may be."""
    if len(group) == 1 or group_tokens(paths, group) <= max_tokens:
        return [group]
    half = len(group) // 2
    return [part for side in (group[:half], group[half:]) for part in split_to_fit(paths, side, max_tokens)]


def group_tokens(paths: Sequence[Ints], group: Pack) -> int:
    return build_forest([paths[index] for index in group]).num_tokens


def shared_with_earlier(firsts: Sequence[Ints]) -> list[list[int]]:
    """`[g][h]`, h < g: how many leading tokens groups g and h share, going by the first path of each."""
    return [[common_prefix(path, earlier) for earlier in firsts[:g]] for g, path in enumerate(firsts)]


def fill(own: Sequence[int], shared: Sequence[Sequence[int]], max_tokens: int) -> list[Pack]:
    """Groups in order, a new pack whenever the next group does not fit; the indices are those of groups."""
    packs: list[Pack] = []
    used = 0
    for group, tokens in enumerate(own):
        added = tokens - max((shared[group][earlier] for earlier in packs[-1]), default=0) if packs else tokens
        if packs and used + added <= max_tokens:
            packs[-1].append(group)
            used += added
        else:
            packs.append([group])
            used = tokens
    return packs


def pack_tokens(own: Sequence[int], shared: Sequence[Sequence[int]], pack: Pack) -> int:
    """Unique tokens of several groups together; an upper bound where they share more than their first paths."""
    return sum(
        own[group] - max((shared[group][earlier] for earlier in pack[:place]), default=0)
        for place, group in enumerate(pack)
    )


def deal(packs: Sequence[Pack], costs: Sequence[int], num_ranks: int) -> list[list[Pack]]:
    """Packs to ranks, the most expensive first, each to the rank with the least to do; every rank keeps their order."""
    most = math.ceil(len(packs) / num_ranks)
    taken: list[list[int]] = [[] for _ in range(num_ranks)]
    for pack in sorted(range(len(packs)), key=lambda index: -costs[index]):
        free = [rank for rank in range(num_ranks) if len(taken[rank]) < most]
        taken[min(free, key=lambda rank: sum(costs[other] for other in taken[rank]))].append(pack)
    return [[list(packs[pack]) for pack in sorted(mine)] for mine in taken]
