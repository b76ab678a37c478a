"""Which samples share a micro-batch, and which rank takes it: the same answer on every rank, no communication.

A forest computes a token once however many samples share it, so what fills a micro-batch is its *unique* tokens. Groups
stay whole and in order, which keeps the questions of one context together. The loss is normalised over the whole step:
packing changes speed and memory, never the result.

Words: a path is the prompt and completion of one sample. A group is the samples with one `Sample.group`, such as the 16
completions of one question. A pack is the samples of one micro-batch: one group or several.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from rft.config import TrainConfig
from rft.grpo.forest import Ints, build_forest, common_prefix_length
from rft.grpo.samples import token_paths
from rft.records import Sample

Pack = list[int]
"""Indices of the samples of one micro-batch."""


def packs_of_rank(config: TrainConfig, samples: Sequence[Sample], rank: int, num_ranks: int) -> list[tuple[Pack, int]]:
    """The micro-batches of one rank, each with its weight in the sums, 1 or 0; none when there are no samples.

    In every forward and backward pass all ranks exchange weights or gradients, so every rank has to make equally many
    passes. A rank with fewer packs repeats one of them, and the repetition counts with weight 0.
    """
    if not samples:
        return []
    every = pack_micro_batches(config, samples, num_ranks)
    mine = every[rank]
    spare = mine[0] if mine else next(packs[0] for packs in every if packs)
    missing = max(len(packs) for packs in every) - len(mine)
    return [(pack, 1) for pack in mine] + [(spare, 0)] * missing


def pack_micro_batches(config: TrainConfig, samples: Sequence[Sample], num_ranks: int) -> list[list[Pack]]:
    """For each rank its micro-batches, in order. A rank has none when there are fewer packs than ranks."""
    if not samples:
        return [[] for _ in range(num_ranks)]
    if config.shared_prefix:
        assert config.max_tokens_per_microbatch != "auto", "the planner has put a number in its place"
        return forest_packs(samples, config.max_tokens_per_microbatch, num_ranks)
    size = config.per_device_train_batch_size
    packs = [list(range(start, min(start + size, len(samples)))) for start in range(0, len(samples), size)]
    return deal_packs_to_ranks(packs, [len(pack) for pack in packs], num_ranks)


def forest_packs(samples: Sequence[Sample], max_tokens: int, num_ranks: int) -> list[list[Pack]]:
    """Packs of at most `max_tokens` unique tokens, of about equal size, as many for every rank if possible.

    Where one sample alone is longer than `max_tokens`, its length is the limit instead.
    """
    groups = [part for group in consecutive_groups(samples) for part in split_to_fit(samples, group, max_tokens)]
    # From here on groups are numbered 0 .. number of groups - 1, and two tables say all that packing needs to know:
    own = [group_unique_tokens(samples, group) for group in groups]  # [groups]: unique tokens of each group alone
    # [g][h]: tokens that g and h share
    shared = shared_prefix_lengths(token_paths([samples[group[0]] for group in groups]))

    # With the whole budget the fewest packs come out. That number, rounded up to a multiple of the ranks, is how many
    # packs we want: more would cost an extra pass, fewer would leave a rank without work in the last pass.
    fewest = len(fill_packs_in_order(own, shared, max_tokens))
    wanted = math.ceil(fewest / num_ranks) * num_ranks
    # Greedy filling with the whole budget leaves a small last pack. So we look for the smallest budget that still needs
    # no more than `wanted` packs, by halving the range [low, high] in which it lies. Example: 10 groups of 10 tokens, a
    # budget of 60 and 2 ranks: 60 would give packs of 60 and 40 tokens; 50 gives 50 and 50, and 49 would give three.
    low, high = max(own), max_tokens
    while low < high:
        middle = (low + high) // 2
        if len(fill_packs_in_order(own, shared, middle)) <= wanted:
            high = middle
        else:
            low = middle + 1
    # One sample longer than `max_tokens` makes low > high. Memory must hold that sample anyway, so its length is taken.
    packs = fill_packs_in_order(own, shared, max(low, high))
    costs = [pack_unique_tokens(own, shared, pack) for pack in packs]
    packs_of_samples = [[index for group in pack for index in groups[group]] for pack in packs]
    return deal_packs_to_ranks(packs_of_samples, costs, num_ranks)


def consecutive_groups(samples: Sequence[Sample]) -> list[Pack]:
    """Indices of consecutive samples of one group, one list per group."""
    return [list(indices) for _, indices in groupby(range(len(samples)), key=lambda index: samples[index].group)]


def split_to_fit(samples: Sequence[Sample], group: Pack, max_tokens: int) -> list[Pack]:
    """The group whole where it fits into a micro-batch; else its halves, and the halves of a half that does not fit."""
    if len(group) == 1 or group_unique_tokens(samples, group) <= max_tokens:
        return [group]
    half = len(group) // 2
    return [part for side in (group[:half], group[half:]) for part in split_to_fit(samples, side, max_tokens)]


def group_unique_tokens(samples: Sequence[Sample], group: Pack) -> int:
    """Unique tokens of the paths of one group: counted exactly."""
    prompt_ids = samples[group[0]].prompt_ids
    if all(samples[index].prompt_ids is prompt_ids for index in group):
        # Siblings of a question hold one and the same tuple: its tokens count once, and need not be looked at.
        return len(prompt_ids) + build_forest([samples[index].completion_ids for index in group]).num_tokens
    return build_forest(token_paths([samples[index] for index in group])).num_tokens


def shared_prefix_lengths(first_paths: Sequence[Ints]) -> list[list[int]]:
    """`[g][h]` for h < g: how many leading tokens groups g and h share, measured on the first path of each.

    The first path stands for its group because the prompt, which all paths of a group begin with, is what groups share.
    """
    return [[common_prefix_length(path, earlier) for earlier in first_paths[:g]] for g, path in enumerate(first_paths)]


def fill_packs_in_order(own: Sequence[int], shared: Sequence[Sequence[int]], max_tokens: int) -> list[list[int]]:
    """Puts groups 0, 1, 2, ... into packs: into the current pack while they fit, then into a new one.

    A group adds to a pack its own tokens less the longest prefix that it shares with a group already in that pack.

    Args:
        own: unique tokens of each group.
        shared: `shared_prefix_lengths`.

    Returns:
        For each pack the numbers of its groups.
    """
    packs: list[list[int]] = []
    used = 0  # unique tokens of the current pack, packs[-1]
    for group, tokens in enumerate(own):
        added = tokens - max((shared[group][earlier] for earlier in packs[-1]), default=0) if packs else tokens
        if packs and used + added <= max_tokens:
            packs[-1].append(group)
            used += added
        else:
            packs.append([group])
            used = tokens
    return packs


def pack_unique_tokens(own: Sequence[int], shared: Sequence[Sequence[int]], pack: Sequence[int]) -> int:
    """Unique tokens of the groups of one pack together.

    It is more than the exact count where groups share more than their first paths tell.
    """
    return sum(
        own[group] - max((shared[group][earlier] for earlier in pack[:place]), default=0)
        for place, group in enumerate(pack)
    )


def deal_packs_to_ranks(packs: Sequence[Pack], costs: Sequence[int], num_ranks: int) -> list[list[Pack]]:
    """Packs to ranks, the most expensive first, each to the rank with the least to do; every rank keeps their order.

    No rank gets more than ceil(packs / ranks): a rank with one more would make all others wait for its last pass.
    """
    most = math.ceil(len(packs) / num_ranks)
    taken: list[list[int]] = [[] for _ in range(num_ranks)]  # for each rank, positions in `packs`
    for pack in sorted(range(len(packs)), key=lambda index: -costs[index]):
        free = [rank for rank in range(num_ranks) if len(taken[rank]) < most]
        taken[min(free, key=lambda rank: sum(costs[other] for other in taken[rank]))].append(pack)
    return [[list(packs[pack]) for pack in sorted(mine)] for mine in taken]
