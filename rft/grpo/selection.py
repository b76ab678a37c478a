"""Adaptive selection over the stages of a run: what it remembers, and how a checkpoint keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accelerate import Accelerator

from rft.config import Config
from rft.grpo.stages import Stage
from rft.rollout.adaptive import AdaptiveBatch, AdaptiveSampling
from rft.rollout.engine import Generator, Sampling
from rft.tasks.task import Task

SELECTION = "selection.json"
"""The file of a checkpoint with the questions that wait, and what is known of their tags."""


class AdaptiveRollouts:
    """Adaptive sampling for whichever stage a batch belongs to. A new stage has a queue of its own; what is known of
    tags is carried on."""

    def __init__(self, config: Config, accelerator: Accelerator, task: Task) -> None:
        self.config = config
        self.accelerator = accelerator
        self.task = task
        self.stage: int | None = None
        self.sampling: AdaptiveSampling | None = None

    def sample(self, batch_index: int, stage: Stage, engine: Generator, sampling: Sampling) -> AdaptiveBatch:
        """See `AdaptiveSampling.sample`."""
        return self._of(stage).sample(batch_index, engine, sampling)

    def _of(self, stage: Stage) -> AdaptiveSampling:
        before = self.sampling
        if before is None or self.stage != stage.number:
            rollout, data = self.config.rollout, self.config.data
            self.stage = stage.number
            self.sampling = AdaptiveSampling(
                task=self.task,
                accelerator=self.accelerator,
                config=rollout,
                seed=self.config.train.seed,
                questions=stage.split.questions,
                prompt=stage.prompt,
                visits_per_batch=-(-rollout.questions_per_batch // data.questions_per_context),
            )
            if before is not None:
                self.sampling.rates = before.rates
            return self.sampling
        return before

    def state(self) -> dict[str, Any]:
        """For a checkpoint: plain values."""
        return {"stage": self.stage, "sampling": None if self.sampling is None else self.sampling.state()}

    def load(self, state: dict[str, Any], stages: Sequence[Stage]) -> None:
        """Continues where a checkpoint left off."""
        if state["stage"] is not None:
            self._of(stages[state["stage"]]).load(state["sampling"])
