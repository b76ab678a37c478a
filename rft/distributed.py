"""What the ranks of one run have to agree on. accelerate and DeepSpeed do the rest."""

from __future__ import annotations

import copy
import os
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DeepSpeedPlugin, DistributedType, gather_object, parse_flag_from_env, set_seed
from torch.distributed import distributed_c10d

from rft.config import Config
from rft.models import resolve_dtype
from rft.parallel import ParallelMode, parallel_mode

Result = TypeVar("Result")


def start(config: Config, mode: ParallelMode | None = None) -> Accelerator:
    """The process group, one member per rank, with every seed set.

    Gradients are accumulated by our own loop (`accumulate`), because a step has as many micro-batches as its
    completions need; accelerate and DeepSpeed are therefore told that every backward pass stands alone.

    Args:
        mode: what `parallel_mode` said; None asks it.

    Raises:
        ValueError: accelerate did not join the launched processes into one run, or the launcher's settings and
            train.deepspeed cannot go together.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    mode = mode or parallel_mode(config, launched)
    open_group(mode, config.train.ddp_timeout)
    accelerator = Accelerator(
        cpu=not mode.uses_deepspeed and on_cpu(),
        deepspeed_plugin=DeepSpeedPlugin(hf_ds_config=copy.deepcopy(mode.settings)) if mode.settings else None,
        gradient_accumulation_steps=1,
        mixed_precision="bf16" if resolve_dtype(config.model) is torch.bfloat16 else "no",
        step_scheduler_with_optimizer=False,
    )
    if accelerator.num_processes != launched:
        raise ValueError(
            f"{launched} processes were launched and accelerate made {accelerator.num_processes} of them one run; "
            "start them with torchrun or accelerate launch"
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


def open_group(mode: ParallelMode, timeout_s: int) -> None:
    """Joins the ranks, as accelerate will find them: with DeepSpeed, plainly, or not at all in a single process.

    Args:
        timeout_s: how long a rank waits for the others in a collective.

    Raises:
        ValueError: a launcher that keeps accelerate off the GPUs, with DeepSpeed, which would use them.
    """
    timeout = timedelta(seconds=timeout_s)
    set_default_timeout(timeout)
    if not mode.uses_deepspeed:
        PartialState(cpu=on_cpu(), timeout=timeout)
        return
    if not torch.cuda.is_available():
        prepare_deepspeed_on_cpu()
    elif on_cpu():
        raise ValueError(
            "the launcher keeps accelerate on the CPU (ACCELERATE_USE_CPU), and DeepSpeed would use the GPU; set "
            "train.deepspeed=null, or launch without use_cpu"
        )
    if "RANK" not in os.environ:
        be_the_only_rank()
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    # DeepSpeed calls what torch has renamed, and every rank would say so at every collective of its first step.
    warnings.filterwarnings("ignore", message="`torch.distributed.*is deprecated", category=FutureWarning)
    # Without a GPU accelerate would find no backend for DeepSpeed, and start every rank as a run of its own.
    PartialState(timeout=timeout, **({} if torch.cuda.is_available() else {"backend": "gloo"}))


def on_cpu() -> bool:
    """There is no GPU, or accelerate is told to leave it alone."""
    return not torch.cuda.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU")


def set_default_timeout(timeout: timedelta) -> None:
    """Holds for the groups too that DeepSpeed and vLLM make for themselves, which name no time limit."""
    distributed_c10d.default_pg_timeout = timeout
    distributed_c10d.default_pg_nccl_timeout = timeout


def prepare_deepspeed_on_cpu() -> None:
    """What DeepSpeed and accelerate need to be told on a machine without a GPU."""
    # It says what is so anyway, and accelerate would leave DeepSpeed out because of it.
    os.environ.pop("ACCELERATE_USE_CPU", None)
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    from deepspeed import ops

    # gloo does the same; compiling DeepSpeed's own shared-memory collective takes over a minute.
    ops.__compatible_ops__["deepspeed_shm_comm"] = False


def be_the_only_rank() -> None:
    """What a launcher tells each rank; DeepSpeed needs it in a process that no launcher started, too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


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


def together(accelerator: Accelerator, work: Callable[[], Result], failure: type[Exception]) -> Result:
    """What `work` returns on this rank; where it raised `failure` on any rank, that is raised on all. Collective."""
    said: list[str] = []
    result: Any = None
    try:
        result = work()
    except failure as error:
        said = [str(error)]
    if said := gather_lists(accelerator, said):
        raise failure(said[0])
    return cast(Result, result)


def gather_lists(accelerator: Accelerator, items: Iterable[Any]) -> list[Any]:
    """The items of rank 0, then of rank 1, ...: the same list on every rank."""
    items = list(items)
    return items if accelerator.num_processes == 1 else gather_object(items)
