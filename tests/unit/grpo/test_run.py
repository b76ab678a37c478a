"""A resumed run's learning rates are those of an uninterrupted one, also where the run was made longer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rft.config import Config
from rft.grpo.optimizer_step import advance_schedule
from rft.grpo.run import make_optimizer, set_schedule
from rft.planning.size import RunSize


def schedule(name: str, num_steps: int) -> tuple[Any, Any]:
    config = Config()
    config.train.lr_scheduler_type = name  # type: ignore[assignment]
    config.train.warmup_steps = 3
    size = RunSize(num_questions=1, num_batches=num_steps, updates_per_batch=1, num_steps=num_steps)
    return make_optimizer(config, torch.nn.Linear(1, 1), size)


def rates(optimizer: Any, scheduler: Any, count: int) -> list[tuple[float, float]]:
    """What the optimizer uses at each step, and what the log says of it."""
    found = []
    for _ in range(count):
        found.append((optimizer.param_groups[0]["lr"], scheduler.get_last_lr()[0]))
        optimizer.step()
        advance_schedule(scheduler)
    return found


@pytest.mark.parametrize("name", ["constant", "constant_with_warmup", "linear", "cosine", "polynomial"])
@pytest.mark.parametrize("stopped_at", [1, 3, 8])
def test_a_resumed_schedule_is_that_of_the_longer_run(name: str, stopped_at: int):
    longer = rates(*schedule(name, 16), 16)
    short_optimizer, short = schedule(name, 8)
    rates(short_optimizer, short, stopped_at)
    optimizer, scheduler = schedule(name, 16)
    optimizer.load_state_dict(short_optimizer.state_dict())  # brings the rate that the shorter run would go on with
    set_schedule(scheduler, stopped_at)
    assert rates(optimizer, scheduler, 16 - stopped_at) == longer[stopped_at:]
    assert all(rate > 0 for rate, _ in longer[1:])


def test_a_schedule_that_was_never_begun_starts_at_its_first_rate():
    optimizer, scheduler = schedule("linear", 8)
    set_schedule(scheduler, 0)
    assert rates(optimizer, scheduler, 8) == rates(*schedule("linear", 8), 8)
