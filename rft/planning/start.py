"""What the plan says to a run about to start: `auto` values get their number, and what cannot fit is refused."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from accelerate import Accelerator
from transformers import PretrainedConfig

from rft.config import Config, ModelConfig
from rft.distributed import gather_lists, on_cpu
from rft.models import read_settings
from rft.parallel import ParallelMode
from rft.planning.auto import has_auto, without_gpu
from rft.planning.cards import Card, card_named, card_of_this_machine
from rft.planning.planner import CannotPlan, Machine, RunPlan, plan_run
from rft.planning.remedies import WayOut, ways_out
from rft.planning.report import needs, summary
from rft.planning.shape import model_shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A run that may start.

    Example:
        Fitted(config=Config(...), lines=["planned          8 x h100 of 79.1 GiB; at most ..."])
    """

    config: Config
    """Without `auto` values."""
    lines: list[str] = field(default_factory=list)
    """About the plan, for a person."""


def fitted(config: Config, mode: ParallelMode, environment: Mapping[str, str] = os.environ) -> Fitted:
    """The run as it fits the GPU of this rank. Without a GPU nothing is planned, unless plan.gpu names a card, and
    nothing is refused: `auto` is then the usual value.

    Raises:
        ValueError: the run does not fit, in one line with the settings that would make it fit; not with plan.force.
    """
    if not on_cpu():
        card = card_of_this_machine(int(environment.get("LOCAL_RANK", "0")))
        assert card is not None, "there is a GPU"
        return fitted_to(config, mode, card, environment)
    if config.plan.gpu is None:
        return Fitted(config=without_gpu(config))
    plan = plan_run(config, machine_of(mode, card_named(config.plan.gpu), environment), shape_of(config.model), mode)
    return Fitted(config=without_gpu(config), lines=summary(plan, config))


def fitted_to(config: Config, mode: ParallelMode, card: Card, environment: Mapping[str, str]) -> Fitted:
    """`fitted` for a card that is known."""
    shape, machine = shape_of(config.model), machine_of(mode, card, environment)
    try:
        plan = plan_run(config, machine, shape, mode)
    except CannotPlan as error:
        return Fitted(config=without_gpu(config), lines=[f"planned          not at all: {error}"])
    if not plan.memory.fits and not config.plan.force:
        # Every rank refuses; the one that says so looks for ways out.
        speaks = environment.get("LOCAL_RANK", "0") == "0"
        raise ValueError(refusal(plan, ways_out(config, machine, shape, environment) if speaks else []))
    return Fitted(config=plan.config, lines=summary(plan, config))


def machine_of(mode: ParallelMode, card: Card, environment: Mapping[str, str]) -> Machine:
    """The ranks of a run on their machines, as many on each."""
    here = int(environment.get("LOCAL_WORLD_SIZE", mode.num_ranks))
    return Machine(card=card, num_gpus=here, num_nodes=max(1, mode.num_ranks // here))


def shape_of(model: ModelConfig) -> PretrainedConfig:
    """The model's settings; those of a hub model that is not here yet are fetched."""
    try:
        return model_shape(model)[0]
    except ValueError:
        return read_settings(model)


def refusal(plan: RunPlan, ways: list[WayOut]) -> str:
    """One line: what does not fit, and what would."""
    message = f"the run does not fit {plan.machine}: {needs(plan)}"
    if not ways:
        return f"{message}; no setting was found that helps: take more or larger GPUs; plan.force=true starts anyway"
    settings = " | or ".join(way.settings() for way in ways)
    return (
        f"{message}; what would fit: {settings}; python rft/plan.py says what each costs, and plan.force=true starts "
        "without"
    )


def check_same_choice(config: Config, asked: Config, accelerator: Accelerator) -> None:
    """Refuses ranks that came to different values for `auto`, as they would on cards of different sizes. Collective.

    Args:
        config: with this rank's values.
        asked: what they were chosen for.

    Raises:
        ValueError: names the values that every card allows.
    """
    if not has_auto(asked):
        return
    chosen = config.train.max_tokens_per_microbatch, config.rollout.vllm_gpu_memory_utilization
    every = sorted(set(gather_lists(accelerator, [chosen])))
    if len(every) > 1:
        tokens, share = (min(values) for values in zip(*every, strict=True))
        raise ValueError(
            "the GPUs of this run have different sizes, and `auto` came to different values; set "
            f"train.max_tokens_per_microbatch={tokens} rollout.vllm_gpu_memory_utilization={share}"
        )
