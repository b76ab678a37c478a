"""What the plan says to a run about to start: `auto` values get their number, and what cannot fit is refused."""

from __future__ import annotations

import os
from collections.abc import Mapping

from transformers import PretrainedConfig

from rft.config import Config, ModelConfig
from rft.models import read_settings
from rft.parallel import ParallelMode
from rft.planning.auto import resolved
from rft.planning.cards import GIB, Card, card_of_this_machine
from rft.planning.planner import Machine, RunPlan, plan_run
from rft.planning.remedies import WayOut, describe, ways_out
from rft.planning.shape import model_shape


def fitted(config: Config, mode: ParallelMode, environment: Mapping[str, str] = os.environ) -> Config:
    """The config without `auto` values, for the GPU of this rank. Without a GPU nothing is planned: `auto` is then the
    usual value.

    Raises:
        ValueError: the run does not fit, in one line with the settings that would make it fit; not with plan.force.
    """
    card = card_of_this_machine(int(environment.get("LOCAL_RANK", "0")))
    if card is None:
        return resolved(config, read_settings(config.model), mode, None) if has_auto(config) else config
    return fitted_to(config, mode, card, environment)


def fitted_to(config: Config, mode: ParallelMode, card: Card, environment: Mapping[str, str]) -> Config:
    """`fitted` for a card that is known."""
    shape = shape_of(config.model)
    machine = Machine(card=card, num_gpus=mode.num_ranks)
    plan = plan_run(config, machine, shape, mode)
    if not plan.memory.fits and not config.plan.force:
        raise ValueError(refusal(plan, ways_out(config, machine, shape, environment)))
    return plan.config


def has_auto(config: Config) -> bool:
    return "auto" in (config.train.max_tokens_per_microbatch, config.rollout.vllm_gpu_memory_utilization)


def shape_of(model: ModelConfig) -> PretrainedConfig:
    """The model's settings; those of a hub model that is not here yet are fetched."""
    try:
        return model_shape(model)[0]
    except ValueError:
        return read_settings(model)


def refusal(plan: RunPlan, ways: list[WayOut]) -> str:
    """One line: what does not fit, and what would."""
    peak = plan.memory.peak
    needed = f"{peak.total.expected / GIB:.1f} GiB at the {peak.name}, and {plan.machine} is there"
    if not ways:
        return f"the run does not fit: {needed}; no single setting helps, take more or larger GPUs"
    options = " | ".join(describe(way, plan) for way in ways)
    return f"the run does not fit: {needed}; what would fit: {options}; plan.force=true starts it all the same"
