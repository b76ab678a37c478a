"""The two settings that may say `auto`: what the planner chooses for them before a run starts.

`rollout.vllm_gpu_memory_utilization`: as much of the card as the trainer surely leaves free while the engine works. A
larger KV cache holds more completions at once.

`train.max_tokens_per_microbatch`: the largest of a few natural sizes that surely fits. Natural are whole groups with
the longest replies, because a group that is cut computes its prompt once per part: a limit just under two groups holds
one, and makes twice the passes. With that of all of a rank's groups there is one micro-batch per step; below a single
group there are its halves, quarters and so on.

Without a GPU there is nothing to fit into, and both get their usual value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from transformers import PretrainedConfig

from rft.config import Config
from rft.parallel import ParallelMode
from rft.planning.amount import total
from rft.planning.cards import Card
from rft.planning.memory import MemoryPlan, awake, holdings, instants_between, instants_of_engine, plan_memory
from rft.planning.workload import Family, families
from rft.tasks.registry import longest_path

USUAL_TOKENS = 65_536
"""train.max_tokens_per_microbatch without a GPU."""

USUAL_UTILIZATION = 0.5
"""rollout.vllm_gpu_memory_utilization where the engine stays awake beside the trainer, and without a GPU."""

HIGHEST_UTILIZATION = 0.9
"""vLLM's own default."""

UTILIZATION_STEP = 0.05

MOST_GROUPS = 16
"""Of a micro-batch."""

ROUND_TO = 256
"""Tokens."""


def has_auto(config: Config) -> bool:
    return "auto" in (config.train.max_tokens_per_microbatch, config.rollout.vllm_gpu_memory_utilization)


def without_gpu(config: Config) -> Config:
    """The config with the usual values in place of `auto`."""
    rollout, train = config.rollout, config.train
    if rollout.vllm_gpu_memory_utilization == "auto":
        config = replace(config, rollout=replace(rollout, vllm_gpu_memory_utilization=USUAL_UTILIZATION))
    if train.max_tokens_per_microbatch == "auto":
        config = with_limit(config, max(USUAL_TOKENS, longest_path(config)))
    return config


def for_card(config: Config, shape: PretrainedConfig, mode: ParallelMode, card: Card) -> tuple[Config, MemoryPlan]:
    """The config without `auto` values, and its memory, where each rank has a card for itself."""
    config = with_utilization(config, shape, mode, card)
    if config.train.max_tokens_per_microbatch == "auto" and config.train.shared_prefix:
        return with_fitting_limit(config, shape, mode, card)
    config = without_gpu(config)  # without shared prefixes the limit is not used
    return config, plan_memory(config, shape, mode, capacity=card.memory, on_cuda=True)


def with_limit(config: Config, tokens: int) -> Config:
    return replace(config, train=replace(config.train, max_tokens_per_microbatch=tokens))


def with_utilization(config: Config, shape: PretrainedConfig, mode: ParallelMode, card: Card) -> Config:
    """The config with a number for the engine's share of the card."""
    if config.rollout.vllm_gpu_memory_utilization != "auto":
        return config

    def at(share: float) -> Config:
        return replace(config, rollout=replace(config.rollout, vllm_gpu_memory_utilization=share))

    has_engine = config.train.replay is None and config.rollout.engine == "local"
    if not has_engine or not config.rollout.vllm_enable_sleep_mode:
        return at(USUAL_UTILIZATION)
    held = holdings(at(HIGHEST_UTILIZATION), shape, mode, capacity=card.memory, on_cuda=True)
    moments = [*instants_of_engine(config, held, mode), *instants_between(config, held, on_cuda=True)]
    at_work = [instant.parts for instant in moments if "engine workspace" in instant.parts]
    beside = max(total(size for part, size in parts.items() if part not in awake(held)).high for parts in at_work)
    share = math.floor((card.memory - beside) / card.memory / UTILIZATION_STEP + 1e-9) * UTILIZATION_STEP
    # Where nothing is left the plan says that it does not fit.
    return at(round(min(HIGHEST_UTILIZATION, max(UTILIZATION_STEP, share)), 2))


# ------------------------------------------------------------------------------------------------------- micro-batches


def with_fitting_limit(
    config: Config, shape: PretrainedConfig, mode: ParallelMode, card: Card
) -> tuple[Config, MemoryPlan]:
    """The config with the largest natural size that surely fits, the smallest where none does, and its memory.

    Memory grows with every token, mostly by the same amount: the largest and the smallest size tell where to look.
    """
    sizes = natural_sizes(config, mode.num_ranks)
    last = len(sizes) - 1

    @cache
    def planned(place: int) -> MemoryPlan:
        return plan_memory(with_limit(config, sizes[place]), shape, mode, capacity=card.memory, on_cuda=True)

    def fits(place: int) -> bool:
        return passes_fit(planned(place))

    place = 0
    if last > 0 and not fits(0):
        ends = {sizes[0]: needed_by_passes(planned(0)), sizes[last]: needed_by_passes(planned(last))}
        place = next((i for i in range(1, last) if between(ends, sizes[i]) <= card.memory), last)
        while place < last and not fits(place):
            place += 1
        while place > 1 and fits(place - 1):
            place -= 1
    return with_limit(config, sizes[place]), planned(place)


def passes_fit(plan: MemoryPlan) -> bool:
    """Whether the instants that depend on the size of a micro-batch surely fit."""
    return needed_by_passes(plan) <= plan.capacity


def needed_by_passes(plan: MemoryPlan) -> float:
    return max(instant.total.high for instant in plan.instants if "activations" in instant.parts)


def between(ends: Mapping[int, float], tokens: int) -> float:
    """Bytes with a limit of `tokens`, on the line through those of two other limits."""
    low, high = min(ends), max(ends)
    return ends[low] + (ends[high] - ends[low]) * (tokens - low) / (high - low)


def natural_sizes(config: Config, num_ranks: int) -> list[int]:
    """Limits at which micro-batches hold whole groups or equal parts of one, the largest first."""
    family = max(families(config, longest=True), key=lambda kind: kind.unique_tokens)
    groups = math.ceil(family.count * family.groups / config.train.steps_per_generation / num_ranks)
    whole = [tokens_of_groups(family, number) for number in range(min(groups, MOST_GROUPS), 0, -1)]
    parts, siblings = [], family.siblings
    while siblings > 1:
        siblings = math.ceil(siblings / 2)
        parts.append(family.shared + family.question + siblings * (family.own + family.completion))
    sizes = [max(size, longest_path(config)) for size in (*whole, *parts)]
    return sorted({math.ceil(size / ROUND_TO) * ROUND_TO for size in sizes}, reverse=True)


def tokens_of_groups(family: Family, number: int) -> int:
    """Unique tokens of `number` groups with the longest replies, those of one family together."""
    return math.ceil(number / family.groups) * family.shared + number * family.unique_of_group
