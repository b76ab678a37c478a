"""How many batches and optimizer steps a run has, and what one batch consists of."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rft.config import Config

# Tasks are imported inside functions: that takes seconds, and a wrong key is told before.


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSize:
    """The size of a run.

    Example:
        RunSize(num_questions=18_549, num_batches=579, updates_per_batch=2, num_steps=1_158)
    """

    num_questions: int
    num_batches: int
    """Rollout batches."""
    updates_per_batch: int
    num_steps: int
    """Optimizer steps."""


def updates_per_batch(config: Config) -> int:
    """Optimizer steps taken on one rollout batch."""
    return config.train.steps_per_generation * config.train.num_iterations


def size_of_run(config: Config, world_size: int, num_questions: int) -> RunSize:
    """The size of a run over `num_questions` training questions.

    Raises:
        ValueError: there are fewer questions than one batch needs.
    """
    rollout, train = config.rollout, config.train
    if num_questions < rollout.questions_per_batch:
        raise ValueError(
            f"{num_questions} training questions are fewer than rollout.questions_per_batch = "
            f"{rollout.questions_per_batch}; lower it or use more data"
        )
    updates = updates_per_batch(config)
    if train.max_steps > 0:
        num_batches = train.max_steps // updates
    else:
        num_batches = max(1, math.floor(train.num_train_epochs * (num_questions // rollout.questions_per_batch)))
    return RunSize(
        num_questions=num_questions,
        num_batches=num_batches,
        updates_per_batch=updates,
        num_steps=num_batches * updates,
    )


def size_of_replay(config: Config, num_saved: int) -> RunSize:
    """The size of a run on `num_saved` saved batches (train.replay), each used once.

    Raises:
        ValueError: train.max_steps asks for more of them.
    """
    updates = updates_per_batch(config)
    num_batches = config.train.max_steps // updates if config.train.max_steps > 0 else num_saved
    if num_batches > num_saved:
        raise ValueError(
            f"train.max_steps = {config.train.max_steps} needs {num_batches} saved batches, and train.replay has "
            f"{num_saved}; lower it to {num_saved * updates}"
        )
    return RunSize(
        num_questions=num_batches * config.rollout.questions_per_batch,
        num_batches=num_batches,
        updates_per_batch=updates,
        num_steps=num_batches * updates,
    )


def describe(config: Config, world_size: int, size: RunSize | None = None) -> str:
    """The run for a person, a line per fact; without its size, what the config alone says of it."""
    from rft.tasks.registry import task_class

    return "\n".join(
        [
            describe_length(config) if size is None else describe_size(size),
            task_class(config).describe_batch(config, world_size),
            f"checkpoints      every {config.checkpoint.save_steps} steps in {config.output_dir}",
        ]
    )


def describe_size(size: RunSize) -> str:
    return (
        f"questions        {size.num_questions:,} to train on\n"
        f"batches          {size.num_batches:,}, with {size.updates_per_batch} optimizer steps each = "
        f"{size.num_steps:,} steps"
    )


def describe_length(config: Config) -> str:
    updates = f"{updates_per_batch(config)} optimizer steps per rollout batch"
    if config.train.max_steps > 0:
        return f"training         {config.train.max_steps:,} optimizer steps, {updates}"
    return f"training         {config.train.num_train_epochs:g} epochs, {updates}"
