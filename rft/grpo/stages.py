"""The training questions of a run, stage after stage (data.curriculum), as batches of prompts."""

from __future__ import annotations

from dataclasses import dataclass

from rft.config import Config
from rft.data.curriculum import first_batches, stage_at
from rft.data.dataset import permuted_option_order
from rft.data.sampler import BatchSampler, Unit
from rft.grpo.data import Data
from rft.planning.size import updates_per_batch
from rft.records import Prompt
from rft.tasks.task import PromptSplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A part of a run with one window.

    Example:
        Stage(number=1, first_batch=100, split=split, sampler=BatchSampler(...), permute=0)
    """

    number: int
    first_batch: int
    split: PromptSplit
    sampler: BatchSampler
    permute: int | None
    """The seed of each epoch's option orders; None keeps those of an evaluation."""

    def batch(self, batch_index: int) -> tuple[int, list[Unit]]:
        """The epoch, counted in the stage, and the units of a batch, by its index in the run."""
        return self.sampler.batch(batch_index - self.first_batch)

    def prompt(self, index: int, epoch: int) -> Prompt:
        """A question of the stage, its options in the order of the epoch."""
        if self.permute is None:
            return self.split.prompt(index, self.split.eval_order(index))
        return self.split.prompt(index, permuted_option_order(self.permute, epoch, self.split.questions[index]))


class Stages:
    """All stages of a run."""

    def __init__(self, config: Config, data: Data) -> None:
        self.first = first_batches(config, updates_per_batch(config))
        self.stages = [
            Stage(
                number=number,
                first_batch=first,
                split=split,
                sampler=BatchSampler(
                    [question.context_id for question in split.questions],
                    config.rollout.questions_per_batch,
                    config.data.questions_per_context,
                    config.train.seed,
                ),
                permute=config.train.seed if config.data.permute_options else None,
            )
            for number, (first, split) in enumerate(zip(self.first, data.stages, strict=True))
        ]

    def at(self, batch_index: int) -> Stage:
        return self.stages[stage_at(batch_index, self.first)]
