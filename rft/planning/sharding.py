"""Which rank holds how much of weights, gradients and optimizer: arithmetic over the model's parameters.

P parameters, of which P_t are trained, on k ranks. b bytes a weight: 2 in bfloat16, 4 in float32. AdamW keeps two
numbers per trained parameter, in the type of what it updates.

    kind      weights   float32 copy   gradients     AdamW     while gradients are exchanged
    single    b P       -              b P_t         8 P_t     -
    ddp       b P       -              b P_t         8 P_t     DDP's buckets, b P_t
    zero2     b P       4 P_t / k      g P_t / k     8 P_t/k   two buckets, and a bucket in the type of the exchange
    zero3     b P / k   4 P_t / k      g P_t / k     8 P_t/k   a bucket, and what is scattered of it

    g: bytes of DeepSpeed's data_types.grad_accum_dtype. The float32 copy is made of float32 weights, too.

ZeRO-3 also holds what it has gathered: the weights of the modules at work, those it fetched ahead and those it expects
to need again soon, stage3_max_live_parameters in all. Read in DeepSpeed 0.19.8, runtime/zero/stage3.py and
stage_1_and_2.py; bench/plan_check.py compares the sums with what processes really use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from rft.planning.amount import NOTHING, Amount, exactly

FLOAT32 = 4
"""Bytes."""

DTYPE_BYTES = {"fp32": 4, "float32": 4, "fp16": 2, "float16": 2, "bf16": 2, "bfloat16": 2, "bfp16": 2}
"""DeepSpeed's names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """Example, one of Qwen3-4B's projections in bfloat16: Parameter(numel=10_485_760, itemsize=2, trained=True)"""

    numel: int
    itemsize: int
    trained: bool

    @property
    def nbytes(self) -> int:
        return self.numel * self.itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The parameters of a model, tied ones once.

    Example:
        Weights(parameters=(Parameter(...), ...), largest_module=388_956_160)
    """

    parameters: tuple[Parameter, ...]
    largest_module: int
    """Parameters of the module that has most by itself: what is gathered at one time for the engine."""

    @property
    def trained(self) -> list[Parameter]:
        return [parameter for parameter in self.parameters if parameter.trained]

    @property
    def count(self) -> int:
        return sum(parameter.numel for parameter in self.parameters)

    @property
    def nbytes(self) -> int:
        return sum(parameter.nbytes for parameter in self.parameters)

    @property
    def itemsize(self) -> int:
        """Bytes of a weight that is not an adapter's."""
        return max(self.parameters, key=lambda parameter: parameter.numel).itemsize


def weights_of(model: nn.Module) -> Weights:
    """The parameters of `model`, which may have shapes and no memory."""
    return Weights(
        parameters=tuple(
            Parameter(numel=p.numel(), itemsize=p.element_size(), trained=p.requires_grad) for p in model.parameters()
        ),
        largest_module=max(
            sum(parameter.numel() for parameter in module.parameters(recurse=False)) for module in model.modules()
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shards:
    """What one rank holds, in bytes.

    Example, a hundred million float32 parameters in one process:
        Shards(weights=4e8, master=0, gradients=4e8, optimizer=8e8, buckets=NOTHING, gathered=NOTHING, exchange=NOTHING,
               step=..., gathered_module=0, keeps_gradients=False)
    """

    weights: float
    master: float
    """DeepSpeed's float32 copy of what is trained."""
    gradients: float
    """Of all micro-batches so far."""
    optimizer: float
    """AdamW's running means, from the first step on."""
    buckets: Amount
    """Buffers for the exchange of gradients that stay."""
    exchange: Amount
    """Buffers for the exchange that exist while a backward pass runs, besides."""
    gathered: Amount
    """Whole weights during a pass, of a model whose weights are sharded."""
    step: float
    """Working memory of an optimizer step."""
    gathered_module: float
    """Whole weights of one module and their copy, while weights go to the engine or into a checkpoint."""
    keeps_gradients: bool
    """Whether gradients stay in memory between batches: DeepSpeed clears its buffers, and keeps them."""

    @property
    def static(self) -> float:
        """What is always there from the first optimizer step on."""
        return self.weights + self.master + self.optimizer + (self.gradients if self.keeps_gradients else 0)


def shards(weights: Weights, kind: str, num_ranks: int, settings: Mapping[str, Any] | None, *, on_cuda: bool) -> Shards:
    """What each of `num_ranks` ranks holds.

    Args:
        kind: of `rft.parallel.ParallelMode`.
        settings: DeepSpeed's json; None is its defaults.
        on_cuda: buffers then count in full. On a CPU memory counts when it is written.
    """
    if kind == "zero3":
        return zero3_shards(weights, num_ranks, settings or {}, on_cuda=on_cuda)
    if kind.startswith("zero"):
        return zero2_shards(weights, int(kind[-1]), num_ranks, settings or {}, on_cuda=on_cuda)
    gradients = float(sum(parameter.nbytes for parameter in weights.trained))
    return Shards(
        weights=weights.nbytes,
        master=0,
        gradients=gradients,
        optimizer=2 * gradients,
        buckets=exactly(gradients) if kind == "ddp" else NOTHING,
        exchange=NOTHING,
        gathered=NOTHING,
        step=adamw_workspace([parameter.nbytes for parameter in weights.trained], on_cuda=on_cuda),
        gathered_module=0,
        keeps_gradients=False,
    )


def adamw_workspace(tensors: Sequence[float], *, on_cuda: bool) -> float:
    """Bytes that torch.optim.AdamW needs besides, for tensors of these sizes in bytes.

    On a GPU it works on all tensors at once, and holds the roots of the mean squares; on a CPU on one after another,
    with two temporary values.
    """
    if not tensors:
        return 0.0
    return sum(tensors) if on_cuda else 2 * max(tensors)


def zero3_shards(weights: Weights, num_ranks: int, settings: Mapping[str, Any], *, on_cuda: bool) -> Shards:
    zero = settings.get("zero_optimization", {})
    itemsize, trained = weights.itemsize, weights.trained
    part = sum(math.ceil(parameter.numel / num_ranks) for parameter in weights.parameters)
    trained_part = sum(math.ceil(parameter.numel / num_ranks) for parameter in trained)
    threshold = number(zero, "stage3_param_persistence_threshold", 100_000)
    persistent = sum(parameter.numel for parameter in weights.parameters if parameter.numel < threshold)
    trained_count = sum(parameter.numel for parameter in trained)
    exchanged, accumulated = exchange_bytes(settings, itemsize), accumulation_bytes(settings, itemsize)
    bucket = number(zero, "reduce_bucket_size", 500_000_000)
    filled = min(max(bucket, largest(trained)), trained_count)
    sub_group = min(trained_part, number(zero, "sub_group_size", 1_000_000_000))
    live = number(zero, "stage3_max_live_parameters", 1_000_000_000)
    ahead = number(zero, "stage3_prefetch_bucket_size", 50_000_000)
    at_work = weights.largest_module
    return Shards(
        weights=(part + persistent) * itemsize,
        master=trained_part * FLOAT32,
        gradients=trained_part * accumulated,
        optimizer=2 * trained_part * FLOAT32,
        buckets=exactly((bucket if on_cuda else min(bucket, trained_count)) * exchanged),
        exchange=exactly(filled * exchanged),
        gathered=Amount(
            low=at_work * itemsize,
            expected=min(weights.count, max(at_work, live)) * itemsize,
            high=min(weights.count, max(at_work, live) + ahead + at_work) * itemsize,
        ),
        step=sub_group * FLOAT32 + adamw_workspace([sub_group * FLOAT32], on_cuda=on_cuda),
        gathered_module=2 * at_work * itemsize,
        keeps_gradients=True,
    )


def zero2_shards(weights: Weights, stage: int, num_ranks: int, settings: Mapping[str, Any], *, on_cuda: bool) -> Shards:
    zero = settings.get("zero_optimization", {})
    itemsize, trained = weights.itemsize, weights.trained
    trained_count = sum(parameter.numel for parameter in trained)
    part = math.ceil(trained_count / num_ranks) if stage > 0 else trained_count
    exchanged, accumulated = exchange_bytes(settings, itemsize), accumulation_bytes(settings, itemsize)
    bucket = number(zero, "reduce_bucket_size", 500_000_000)
    buffers = 2 if zero.get("overlap_comm", False) else 1
    filled = min(max(bucket, largest(trained)), trained_count)
    size = (bucket if on_cuda else min(bucket, trained_count)) * itemsize * buffers
    cast = filled * exchanged if exchanged != itemsize else 0
    return Shards(
        weights=weights.nbytes,
        master=part * FLOAT32,
        gradients=(part if stage >= 2 else trained_count) * accumulated,
        optimizer=2 * part * FLOAT32,
        buckets=NOTHING,
        exchange=exactly(size + cast),
        gathered=NOTHING,
        step=part * FLOAT32 + adamw_workspace([part * FLOAT32], on_cuda=on_cuda),
        gathered_module=0,
        keeps_gradients=True,
    )


def largest(parameters: Sequence[Parameter]) -> int:
    return max((parameter.numel for parameter in parameters), default=0)


def number(section: Mapping[str, Any], name: str, default: int) -> int:
    """A size from DeepSpeed's json, where `auto` and silence are its default."""
    value = section.get(name, default)
    return default if value == "auto" else int(value)


def exchange_bytes(settings: Mapping[str, Any], itemsize: int) -> int:
    """Bytes of the type in which gradients are exchanged."""
    return DTYPE_BYTES.get(str(settings.get("communication_data_type")), itemsize)


def accumulation_bytes(settings: Mapping[str, Any], itemsize: int) -> int:
    """Bytes of the type in which gradients of several micro-batches are added up."""
    return DTYPE_BYTES.get(str(settings.get("data_types", {}).get("grad_accum_dtype")), itemsize)
