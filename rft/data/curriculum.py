"""Windows that grow while a run goes on (data.curriculum): which one holds for which batch.

Progressive context scaling, arXiv 2505.17667, section 3.2, trains on short inputs first and on longer ones later. There
a stage has inputs of its own; here it has the same histories, cut to its window, since a chat history can be cut.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from rft.config import Config


def stage_configs(config: Config) -> list[Config]:
    """The config of each stage of `data.curriculum`, then that of the rest of the run."""
    data = config.data
    policy = "drop" if data.length_policy == "error" else data.length_policy
    return [
        replace(
            config,
            data=replace(
                data,
                curriculum=[],
                max_prompt_length=stage.max_prompt_length,
                length_policy=policy,
                lost_evidence="drop",
            ),
        )
        for stage in data.curriculum
    ] + [config]


def first_batches(config: Config, updates_per_batch: int) -> list[int]:
    """The index of the first rollout batch of each of `stage_configs`."""
    return [0, *(stage.until_step // updates_per_batch for stage in config.data.curriculum)]


def stage_at(batch_index: int, first: Sequence[int]) -> int:
    """Which stage a batch belongs to, from the stages' first batches."""
    return bisect_right(first, batch_index) - 1


def curriculum_conflicts(config: Config, updates_per_batch: int) -> list[tuple[bool, str]]:
    """Stages that cannot be: whether they are there, and what to do."""
    stages = config.data.curriculum
    windows = [*(stage.max_prompt_length for stage in stages), config.data.max_prompt_length]
    ends = [stage.until_step for stage in stages]
    return [
        (
            any(later <= earlier for earlier, later in pairwise(windows)),
            f"data.curriculum has windows of {', '.join(map(str, windows[:-1]))} tokens before data.max_prompt_length "
            f"= {windows[-1]}; let each be longer than the one before",
        ),
        (
            any(later <= earlier for earlier, later in pairwise(ends)),
            f"data.curriculum has stages until steps {', '.join(map(str, ends))}; let each end later than the one "
            "before",
        ),
        (
            any(end % updates_per_batch for end in ends),
            f"data.curriculum has a stage that ends inside a rollout batch of {updates_per_batch} steps; make "
            "until_step a multiple",
        ),
    ]
