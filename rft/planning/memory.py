"""Memory of one GPU at every instant that can be the peak, and what it is made of.

A run goes through the same instants for every rollout batch. The engine and the trainer take turns: while one works,
the other keeps only what it must.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from transformers import PretrainedConfig

from rft.config import Config
from rft.parallel import ParallelMode
from rft.planning.amount import Amount, exactly, total
from rft.planning.cards import GIB, MIB
from rft.planning.engine import ASLEEP, EngineMemory, engine_memory
from rft.planning.passes import PassCost, meta_policy, pass_cost
from rft.planning.sharding import Shards, Weights, shards, weights_of
from rft.planning.workload import largest_pack
from rft.tasks.registry import engine_window

RUNTIME = Amount(low=0.8 * GIB, expected=1.3 * GIB, high=2.0 * GIB)
"""CUDA's context and libraries, and NCCL's buffers: outside of what PyTorch allocates. An assumption."""

HOST_RUNTIME = Amount(low=16 * MIB, expected=48 * MIB, high=96 * MIB)
"""On a CPU, what a process holds besides tensors once it trains: Python's objects, gaps in the C heap, libraries. In
bench/plan_check.py it is about 20 MiB in one process, 26 with DeepSpeed, and 47 with DeepSpeed and adapters, since
hooks and small tensors are many then. No part of a plan for a GPU."""

SLACK_SHARE = Amount(low=0.0, expected=0.03, high=0.08)
"""What PyTorch's allocator holds on a GPU beyond what is in use, as a share of what comes and goes; with expandable
segments, which rft/train.py and launch/ switch on. An assumption."""

COMES_AND_GOES = ("activations", "logits", "gathered weights", "exchange", "optimizer's workspace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """A moment of a run and what is in memory then.

    Example:
        Instant(name="update", parts={"weights": exactly(1.0e9), "activations": exactly(2.7e10), ...})
    """

    name: str
    parts: Mapping[str, Amount]
    """Bytes by what they are; only those that are there."""

    @property
    def total(self) -> Amount:
        return total(self.parts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Types:
    """Number types of a run.

    Example, DeepSpeed on a GPU: Types(model=torch.bfloat16, trained=torch.bfloat16, autocast=None)
    """

    model: torch.dtype
    """Of engine and reference model."""
    trained: torch.dtype
    """Of the weights that the trainer holds."""
    autocast: torch.dtype | None
    """In which the trainer computes, where that is another one."""


def types_of(config: Config, mode: ParallelMode, *, on_cuda: bool) -> Types:
    """As rft.models.resolve_dtype and rft.grpo.run.trained_dtype decide."""
    named = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    model = named.get(config.model.dtype, torch.bfloat16 if on_cuda else torch.float32)
    trained = model if mode.uses_deepspeed or config.model.lora.r > 0 else torch.float32
    autocast = torch.bfloat16 if model is torch.bfloat16 and not mode.uses_deepspeed else None
    return Types(model=model, trained=trained, autocast=autocast)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What a rank holds besides what a pass through the model needs: known without computing anything.

    Example: Holdings(types=Types(...), weights=Weights(...), shards=Shards(...), reference=0.0, engine=None)
    """

    types: Types
    weights: Weights
    shards: Shards
    reference: float
    """Bytes of the reference model."""
    engine: EngineMemory | None
    """None where nothing is generated here (train.replay, servers), and on a CPU, whose engine has its own limit."""

    @property
    def engine_starts(self) -> bool:
        """Whether the engine has room for the longest sequence, or there is none."""
        return self.engine is None or self.engine.starts


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """The memory of one rank.

    Example:
        MemoryPlan(instants=(Instant(name="rollout", ...), ...), held=Holdings(...), update=PassCost(...),
                   frozen=PassCost(...), capacity=8.5e10)
    """

    instants: tuple[Instant, ...]
    """Those of one rollout batch, in their order; the first one is before it."""
    held: Holdings
    update: PassCost
    """Of the largest micro-batch."""
    frozen: PassCost
    """Of the same without a gradient."""
    capacity: float
    """Bytes of the card."""

    @property
    def peak(self) -> Instant:
        return max(self.instants, key=lambda instant: instant.total.expected)

    @property
    def fits(self) -> bool:
        """Whether it is expected to."""
        return self.held.engine_starts and self.peak.total.expected <= self.capacity

    @property
    def fits_surely(self) -> bool:
        return self.held.engine_starts and all(instant.total.high <= self.capacity for instant in self.instants)


def plan_memory(
    config: Config, shape: PretrainedConfig, mode: ParallelMode, *, capacity: float, on_cuda: bool
) -> MemoryPlan:
    """The memory of one rank of a run.

    Args:
        config: without `auto` values.
        capacity: bytes of a card; on a CPU of the host.
    """
    held = holdings(config, shape, mode, capacity=capacity, on_cuda=on_cuda)
    samples = largest_pack(config, mode.num_ranks)

    def cost(*, backward: bool) -> PassCost:
        types = held.types
        return pass_cost(
            config, shape, samples, backward=backward, dtype=types.trained, autocast=types.autocast, on_cuda=on_cuda
        )

    update, frozen = cost(backward=True), cost(backward=False)
    found = [*instants_of_engine(config, held, mode)]
    found += instants_of_passes(config, held, update, frozen, on_cuda=on_cuda)
    found += instants_between(config, held, on_cuda=on_cuda)
    return MemoryPlan(instants=tuple(found), held=held, update=update, frozen=frozen, capacity=capacity)


def holdings(
    config: Config, shape: PretrainedConfig, mode: ParallelMode, *, capacity: float, on_cuda: bool
) -> Holdings:
    types = types_of(config, mode, on_cuda=on_cuda)
    weights = weights_of(meta_policy(config, shape, types.trained))
    engine = None
    if on_cuda and config.train.replay is None and config.rollout.engine == "local":
        engine = engine_memory(
            shape,
            config.rollout,
            utilization(config),
            num_weights=base_count(config, weights),
            card_memory=capacity,
            window=engine_window(config),
        )
    return Holdings(
        types=types,
        weights=weights,
        shards=shards(weights, mode.kind, mode.num_ranks, mode.settings, on_cuda=on_cuda),
        reference=reference_bytes(config, mode, weights, types),
        engine=engine,
    )


def utilization(config: Config) -> float:
    """`rollout.vllm_gpu_memory_utilization` of a config in which it is no longer `auto`."""
    found = config.rollout.vllm_gpu_memory_utilization
    assert not isinstance(found, str), "auto is resolved before memory is planned"
    return found


def base_count(config: Config, weights: Weights) -> int:
    """Parameters of the model without adapters."""
    if config.model.lora.r == 0:
        return weights.count
    return sum(parameter.numel for parameter in weights.parameters if not parameter.trained)


def reference_bytes(config: Config, mode: ParallelMode, weights: Weights, types: Types) -> float:
    """The starting weights for the KL term: whole, or sharded with ZeRO-3; none with LoRA, whose base they are."""
    if config.train.beta == 0 or config.model.lora.r > 0:
        return 0.0
    ranks = mode.num_ranks if mode.kind == "zero3" else 1
    return weights.count * types.model.itemsize / ranks


# -------------------------------------------------------------------------------------------------------- the instants


def instants_of_engine(config: Config, held: Holdings, mode: ParallelMode) -> list[Instant]:
    """The engine's start, when the trainer has loaded its weights to the host or sharded them, and its work."""
    if held.engine is None:
        return []
    shard = exactly(held.shards.weights if mode.kind == "zero3" else 0)
    start = {"CUDA and NCCL": RUNTIME, **awake(held), "weights": shard, "reference": exactly(held.reference)}
    return [
        instant("engine start", start, slack=False),
        instant("rollout, evaluation", {"CUDA and NCCL": RUNTIME, **trainer(held), **awake(held)}, slack=False),
    ]


def instants_of_passes(
    config: Config, held: Holdings, update: PassCost, frozen: PassCost, *, on_cuda: bool
) -> list[Instant]:
    """Forward passes without a gradient where the loss needs them, and the update's forward and backward passes."""
    there = {**runtime(on_cuda), **trainer(held), **asleep(config, held), "gathered weights": held.shards.gathered}
    found = []
    if needs_frozen_pass(config):
        found.append(instant("log-probs", {**there, **pass_parts(frozen)}, slack=on_cuda))
    gradients = {"gradients": exactly(held.shards.gradients), "exchange": held.shards.exchange}
    return [*found, instant("update", {**there, **gradients, **pass_parts(update)}, slack=on_cuda)]


def instants_between(config: Config, held: Holdings, *, on_cuda: bool) -> list[Instant]:
    """The optimizer's step, and the moments when whole weights are put together: for the engine, for a checkpoint."""
    there = {**runtime(on_cuda), **trainer(held)}
    gathered = {"gathered weights": exactly(held.shards.gathered_module)}
    step = {"gradients": exactly(held.shards.gradients), "optimizer's workspace": exactly(held.shards.step)}
    found = [instant("optimizer step", {**there, **asleep(config, held), **step}, slack=on_cuda)]
    if held.engine is not None:
        waking = {**asleep(config, held), "engine weights": exactly(held.engine.weights)}
        waking = awake(held) if stays_awake(config) else waking
        found.append(instant("weight sync", {**there, **waking, **gathered}, slack=on_cuda))
    return [*found, instant("saving", {**there, **awake(held), **gathered}, slack=on_cuda)]


def runtime(on_cuda: bool) -> dict[str, Amount]:
    return {"CUDA and NCCL": RUNTIME} if on_cuda else {"C heap": HOST_RUNTIME}


def trainer(held: Holdings) -> dict[str, Amount]:
    """What the trainer holds at any time after its first step."""
    return {
        "weights": exactly(held.shards.weights),
        "float32 copy": exactly(held.shards.master),
        "optimizer": exactly(held.shards.optimizer),
        "gradients": exactly(held.shards.gradients if held.shards.keeps_gradients else 0),
        "buckets": held.shards.buckets,
        "reference": exactly(held.reference),
    }


def awake(held: Holdings) -> dict[str, Amount]:
    """What the engine holds while it works."""
    if held.engine is None:
        return {}
    return {
        "engine weights": exactly(held.engine.weights),
        "KV cache": exactly(max(0.0, held.engine.kv_cache)),
        "engine workspace": exactly(held.engine.workspace),
    }


def asleep(config: Config, held: Holdings) -> dict[str, Amount]:
    """What the engine holds while the trainer works."""
    if held.engine is None:
        return {}
    return awake(held) if stays_awake(config) else {"engine asleep": ASLEEP}


def stays_awake(config: Config) -> bool:
    return not config.rollout.vllm_enable_sleep_mode


def needs_frozen_pass(config: Config) -> bool:
    """Whether log-probs are computed without a gradient: old ones for later steps of a batch, or the reference's."""
    return config.train.steps_per_generation > 1 or config.train.beta > 0


def pass_parts(cost: PassCost) -> dict[str, Amount]:
    return {"activations": exactly(cost.activations), "logits": exactly(cost.logits)}


def instant(name: str, parts: Mapping[str, Amount], *, slack: bool) -> Instant:
    """An instant without its empty parts, and with what the allocator adds where `slack` is asked."""
    there = {part: amount for part, amount in parts.items() if amount.high > 0}
    moving = sum(amount.expected for part, amount in there.items() if part in COMES_AND_GOES)
    if slack and moving:
        there["allocator slack"] = Amount(
            low=SLACK_SHARE.low * moving, expected=SLACK_SHARE.expected * moving, high=SLACK_SHARE.high * moving
        )
    return Instant(name=name, parts=there)
