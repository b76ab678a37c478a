"""What the ranks of one run have to agree on. accelerate and DeepSpeed do the rest."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, gather_object, set_seed

from rft.config import Config
from rft.models import resolve_dtype


def start(config: Config) -> Accelerator:
    """The process group, one member per rank, with every seed set.

    Gradients are accumulated by our own loop (`accumulate`), because a step has as many micro-batches as its
    completions need; accelerate and DeepSpeed are therefore told that every backward pass stands alone.

    Raises:
        ValueError: accelerate did not join the launched processes into one run.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true" and not torch.cuda.is_available():
        from deepspeed import ops

        # gloo does the same; compiling DeepSpeed's own shared-memory collective takes over a minute.
        ops.__compatible_ops__["deepspeed_shm_comm"] = False
        # Without a GPU accelerate would find no backend for DeepSpeed, and start every rank as a run of its own.
        PartialState(backend="gloo")
    accelerator = Accelerator(
        gradient_accumulation_steps=1,
        mixed_precision="bf16" if resolve_dtype(config.model) is torch.bfloat16 else "no",
        step_scheduler_with_optimizer=False,
    )
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != launched:
        raise ValueError(
            f"{launched} processes were launched and each is a run of its own; without a GPU use "
            "configs/accelerate/zero3.yaml, or set ACCELERATE_USE_CPU=true"
        )
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        settings = accelerator.state.deepspeed_plugin.deepspeed_config
        settings["gradient_accumulation_steps"] = 1
        # DeepSpeed wants numbers here, and does nothing with them that our loop does not decide.
        settings["train_micro_batch_size_per_gpu"] = 1
        settings["train_batch_size"] = accelerator.num_processes
        settings["gradient_clipping"] = config.train.max_grad_norm
    set_seed(config.train.seed)
    return accelerator


@contextmanager
def accumulate(accelerator: Accelerator, model: torch.nn.Module, *, last: bool) -> Iterator[None]:
    """Runs one micro-batch; only the `last` of a step exchanges gradients between ranks.

    With DeepSpeed the backward pass of the last micro-batch also takes the optimizer step.
    """
    accelerator.sync_gradients = last
    plain_ddp = accelerator.distributed_type in (DistributedType.MULTI_GPU, DistributedType.MULTI_CPU)
    with accelerator.no_sync(model) if plain_ddp and not last else nullcontext():
        yield


def max_over_ranks(accelerator: Accelerator, value: int) -> int:
    """The largest of one number per rank."""
    return max(gather_lists(accelerator, [value]))


def mean_over_ranks(accelerator: Accelerator, values: dict[str, float]) -> dict[str, float]:
    """The mean of each number over the ranks that have it."""
    every: dict[str, list[float]] = {}
    for name, value in gather_lists(accelerator, values.items()):
        every.setdefault(name, []).append(value)
    return {name: sum(found) / len(found) for name, found in every.items()}


def gather_lists(accelerator: Accelerator, items: Iterable[Any]) -> list[Any]:
    """The items of rank 0, then of rank 1, ...: the same list on every rank."""
    items = list(items)
    return items if accelerator.num_processes == 1 else gather_object(items)
