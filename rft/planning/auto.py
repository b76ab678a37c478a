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
from dataclasses import replace

from transformers import PretrainedConfig

from rft.config import Config
from rft.parallel import ParallelMode
from rft.planning.cards import Card
from rft.planning.memory import holdings, instants_between, instants_of_engine, plan_memory
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


def resolved(config: Config, shape: PretrainedConfig, mode: ParallelMode, card: Card | None) -> Config:
    """The config without `auto` values; itself where it has none.

    Args:
        card: that each rank has for itself; None is a CPU.
    """
    config = with_utilization(config, shape, mode, card)
    if config.train.max_tokens_per_microbatch != "auto":
        return config
    if card is None or not config.train.shared_prefix:
        return with_limit(config, max(USUAL_TOKENS, longest_path(config)))
    return with_limit(config, fitting_limit(config, shape, mode, card))


def with_limit(config: Config, tokens: int) -> Config:
    return replace(config, train=replace(config.train, max_tokens_per_microbatch=tokens))


def with_utilization(config: Config, shape: PretrainedConfig, mode: ParallelMode, card: Card | None) -> Config:
    if config.rollout.vllm_gpu_memory_utilization != "auto":
        return config

    def at(share: float) -> Config:
        return replace(config, rollout=replace(config.rollout, vllm_gpu_memory_utilization=share))

    if card is None or config.train.replay is not None or not config.rollout.vllm_enable_sleep_mode:
        return at(USUAL_UTILIZATION)
    held = holdings(at(HIGHEST_UTILIZATION), shape, mode, capacity=card.memory, on_cuda=True)
    moments = [*instants_of_engine(config, held, mode), *instants_between(config, held, on_cuda=True)]
    assert held.engine is not None
    beside = max(instant.total.high - held.engine.total for instant in moments if "KV cache" in instant.parts)
    share = math.floor((card.memory - beside) / card.memory / UTILIZATION_STEP + 1e-9) * UTILIZATION_STEP
    # Where nothing is left the plan says that it does not fit.
    return at(round(min(HIGHEST_UTILIZATION, max(UTILIZATION_STEP, share)), 2))


# ------------------------------------------------------------------------------------------------------- micro-batches


def fitting_limit(config: Config, shape: PretrainedConfig, mode: ParallelMode, card: Card) -> int:
    """The largest natural size that surely fits; the smallest one where none does.

    Memory grows by the same amount with every token, so two sizes tell which one will fit; that one is then planned.
    """
    sizes = natural_sizes(config, mode.num_ranks)

    def needed(tokens: int) -> float:
        plan = plan_memory(with_limit(config, tokens), shape, mode, capacity=card.memory, on_cuda=True)
        return max(instant.total.high for instant in plan.instants if "activations" in instant.parts)

    if needed(sizes[0]) <= card.memory:
        return sizes[0]
    smallest, first = sizes[-1], sizes[0]
    low, high = needed(smallest), needed(first)
    slope = (high - low) / max(1, first - smallest)
    for tokens in sizes[1:-1]:
        if low + slope * (tokens - smallest) <= card.memory and needed(tokens) <= card.memory:
            return tokens
    return smallest


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
