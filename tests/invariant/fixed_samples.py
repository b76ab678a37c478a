"""A run of the real loop on samples that a test made: no engine, no data, no log."""

from __future__ import annotations

from typing import Any, cast

import torch
from accelerate import Accelerator

from rft.checkpoint.state import TrainerState
from rft.config import Config
from rft.grpo.run import Run
from rft.planning.size import RunSize
from rft.records import Sample
from rft.telemetry.clock import Clock


class FixedSamples:
    """A source that gives the same samples whenever it is asked; see `SampleSource`."""

    max_logprob_gap = float("inf")

    def __init__(self, samples: list[Sample]) -> None:
        self.batch = samples

    def samples(self, *_: Any) -> tuple[list[Sample], dict[str, float]]:
        return self.batch, {}

    def take_weights(self, policy: torch.nn.Module, clock: Clock) -> dict[str, float]:
        return {}  # nobody samples


def run_on(
    samples: list[Sample],
    config: Config,
    accelerator: Accelerator,
    *,
    policy: torch.nn.Module,
    reference: torch.nn.Module | None,
    optimizer: Any,
    scheduler: Any,
) -> Run:
    """What `train_on_batch` needs, for `samples`."""
    steps = config.train.steps_per_generation * config.train.num_iterations
    return Run(
        config=config,
        accelerator=accelerator,
        tokenizer=cast(Any, None),
        size=RunSize(
            num_questions=config.rollout.questions_per_batch, num_batches=1, updates_per_batch=steps, num_steps=steps
        ),
        source=cast(Any, FixedSamples(samples)),
        strata=(),
        policy=policy,
        reference=reference,
        optimizer=optimizer,
        scheduler=scheduler,
        log=cast(Any, None),
        hook=cast(Any, None),
        state=TrainerState(),
        stop=cast(Any, None),
        watch=cast(Any, None),
        alarms=cast(Any, None),
    )
