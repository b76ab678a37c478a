"""Which settings would make a run fit, found by trying them, and what each costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from transformers import PretrainedConfig

from rft.config import Config
from rft.parallel import parallel_mode
from rft.planning.auto import with_utilization
from rft.planning.cards import GIB
from rft.planning.planner import CannotPlan, Machine, RunPlan, may_fit, plan_run

ZERO3 = "configs/deepspeed/zero3.json"

MOST_TOGETHER = 3
"""Settings that are changed at the same time."""

ENOUGH = 3
"""Ways out that are looked for."""

MOST_PLANS = 16
"""Combinations that are planned in full: each takes seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Example: Change(key="train.tiled_mlp", value=True, cost="no extra work where layers are checkpointed")"""

    key: str
    value: Any
    cost: str
    """What it costs besides memory, for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WayOut:
    """Example: WayOut(changes=(Change(...),), plan=RunPlan(...))"""

    changes: tuple[Change, ...]
    plan: RunPlan
    """With the changes; it fits."""

    def settings(self) -> str:
        """As overrides of a command line, `auto` by what it came to."""
        return " ".join(f"{change.key}={shown(setting(self.plan.config, change.key))}" for change in self.changes)


def ways_out(config: Config, machine: Machine, shape: PretrainedConfig, environment: Mapping[str, str]) -> list[WayOut]:
    """The smallest sets of changes that make a run fit, those that cost least first.

    Args:
        config: may still have `auto` values.
        environment: what a launcher has set.
    """
    found: list[WayOut] = []
    planned = 0
    for changes in candidates(config, machine):
        if len(found) == ENOUGH or planned == MOST_PLANS:
            break
        if any(set(way.changes) <= set(changes) for way in found):
            continue
        tried = config
        for change in changes:
            tried = with_setting(tried, change.key, change.value)
        if tried.train.activation_offloading and not tried.train.gradient_checkpointing:
            continue
        mode = parallel_mode(tried, machine.num_ranks, environment)
        if not may_fit(with_utilization(tried, shape, mode, machine.card), machine, shape, mode):
            continue
        planned += 1
        try:
            plan = plan_run(tried, machine, shape, mode)
        except CannotPlan:  # some settings may be more than a model can be described with
            continue
        if plan.memory.fits:
            found.append(WayOut(changes=changes, plan=plan))
    return found


def candidates(config: Config, machine: Machine) -> Iterator[tuple[Change, ...]]:
    """One change, then two together, then three; of equally many, first those that stand first in `changes`."""
    single = changes(config, machine)
    for number in range(1, MOST_TOGETHER + 1):
        yield from combinations(single, number)


def changes(config: Config, machine: Machine) -> list[Change]:
    """What may help this config, the cheapest first; the last two train something else."""
    train, rollout = config.train, config.rollout
    possible = [
        (
            machine.num_ranks > 1 and train.deepspeed != ZERO3,
            Change(key="train.deepspeed", value=ZERO3, cost="weights are gathered from the other GPUs in every pass"),
        ),
        (
            rollout.vllm_gpu_memory_utilization != "auto",
            Change(
                key="rollout.vllm_gpu_memory_utilization",
                value="auto",
                cost="a KV cache of another size; where it is smaller, fewer completions are generated at once",
            ),
        ),
        (
            not train.gradient_checkpointing,
            Change(
                key="train.gradient_checkpointing", value=True, cost="the layers' forward pass is computed once more"
            ),
        ),
        (
            not train.tiled_mlp,
            Change(key="train.tiled_mlp", value=True, cost="smaller matrix products; no other work with checkpointing"),
        ),
        (
            not train.activation_offloading,
            Change(
                key="train.activation_offloading",
                value=True,
                cost="pinned host memory, and copies to it beside the computation",
            ),
        ),
        (
            train.shared_prefix and train.max_tokens_per_microbatch != "auto",
            Change(
                key="train.max_tokens_per_microbatch",
                value="auto",
                cost="groups that are cut compute their prompt once per part",
            ),
        ),
        (
            config.model.lora.r == 0,
            Change(key="model.lora.r", value=32, cost="adapters are trained in place of all weights"),
        ),
        (
            rollout.num_generations >= 4,
            Change(
                key="rollout.num_generations",
                value=rollout.num_generations // 2,
                cost="groups of half the size: another training",
            ),
        ),
    ]
    return [change for helps, change in possible if helps]


def describe(way: WayOut, before: RunPlan) -> str:
    """A way out as one line: the settings, what is then needed, and what it costs."""
    plan, peak = way.plan, way.plan.memory.peak
    costs = [change.cost for change in way.changes]
    if plan.memory.update.pinned:
        costs.append(f"{plan.memory.update.pinned / GIB:.0f} GiB of host memory per GPU")
    if plan.time is not None and before.time is not None:
        costs.append(f"{plan.time.batch_seconds:.0f} s a rollout batch in place of {before.time.batch_seconds:.0f}")
    needed = f"{peak.total.expected / GIB:.1f} GiB at the {peak.name}"
    return f"{way.settings()} ({needed}; {'; '.join(costs)})"


# ---------------------------------------------------------------------------------------------------------- the config


def setting(config: Any, dotted: str) -> Any:
    """The value of a key such as `train.tiled_mlp`."""
    for name in dotted.split("."):
        config = getattr(config, name)
    return config


def with_setting(config: Any, dotted: str, value: Any) -> Any:
    """The config with another value of one key."""
    name, _, rest = dotted.partition(".")
    changed = with_setting(getattr(config, name), rest, value) if rest else value
    return dataclasses.replace(config, **{name: changed})


def shown(value: Any) -> str:
    """As yaml has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
