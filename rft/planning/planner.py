"""The plan of a run: what it needs of each GPU, and how long it takes.

plan = plan_run(config, Machine(card=CARDS["h100"], num_gpus=8), shape, mode)
plan.memory.fits, plan.memory.peak, plan.time.batch_seconds
"""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PretrainedConfig

from rft.config import Config
from rft.parallel import ParallelMode
from rft.planning.auto import for_card
from rft.planning.cards import Card
from rft.planning.memory import MemoryPlan, holdings, instants_between, instants_of_engine
from rft.planning.timing import TimePlan, plan_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a run gets.

    Example, two machines of eight cards:
        Machine(card=CARDS["h100"], num_gpus=8, num_nodes=2)
    """

    card: Card
    num_gpus: int
    """Of each machine; a rank has one."""
    num_nodes: int = 1

    @property
    def num_ranks(self) -> int:
        return self.num_gpus * self.num_nodes

    def __str__(self) -> str:
        nodes = f"{self.num_nodes} x " if self.num_nodes > 1 else ""
        return f"{nodes}{self.num_gpus} x {self.card.name} of {self.card.memory_gib:.1f} GiB"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """Example: RunPlan(config=Config(...), machine=Machine(...), mode=ParallelMode(...), memory=MemoryPlan(...),
    time=TimePlan(...))"""

    config: Config
    """Without `auto` values."""
    machine: Machine
    mode: ParallelMode
    memory: MemoryPlan
    time: TimePlan | None
    """None with train.replay, where nothing is generated."""


class CannotPlan(ValueError):
    """A model that cannot be described without its weights, which is no reason to refuse a run."""


NO_DESCRIPTION = (RuntimeError, TypeError, AttributeError)
"""What PyTorch and transformers raise for models that fake tensors cannot go through."""


def plan_run(config: Config, machine: Machine, shape: PretrainedConfig, mode: ParallelMode) -> RunPlan:
    """Plans a run on GPUs; `auto` values are chosen first.

    Raises:
        CannotPlan: PyTorch cannot describe the model without its weights.
    """
    try:
        config, memory = for_card(config, shape, mode, machine.card)
    except NO_DESCRIPTION as error:
        reason = " ".join(str(error).split())[:200]
        raise CannotPlan(f"{shape.model_type} cannot be planned without its weights: {reason}") from error
    time = None
    if memory.held.engine is not None:
        time = plan_time(config, shape, mode, memory, machine.card, machine.num_nodes)
    return RunPlan(config=config, machine=machine, mode=mode, memory=memory, time=time)


def may_fit(config: Config, machine: Machine, shape: PretrainedConfig, mode: ParallelMode) -> bool:
    """Whether everything but a pass through the model fits, which is known at once."""
    capacity = machine.card.memory
    held = holdings(config, shape, mode, capacity=capacity, on_cuda=True)
    moments = [*instants_of_engine(config, held, mode), *instants_between(config, held, on_cuda=True)]
    return held.engine_starts and all(instant.total.expected <= capacity for instant in moments)
