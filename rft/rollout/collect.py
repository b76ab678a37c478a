"""The rollout loop: from prompts to groups of scored rollouts, whatever the task."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial

from rft.records import Prompt, Rollout
from rft.rollout.engine import GREEDY, Engine, Sampling
from rft.tasks.task import Episode, Task


def sample_groups(
    task: Task,
    prompts: Sequence[Prompt],
    engine: Engine,
    sampling: Sampling,
    *,
    num_generations: int,
    seed: int,
    batch_index: int,
) -> list[list[Rollout]]:
    """One group of `num_generations` siblings per unit of the task, in the order of `prompts`.

    Siblings, and the questions of one history, stand next to each other, so that the engine's prefix cache
    computes what they share once.
    """
    episodes = [
        task.episode(unit, sibling, partial(sampling_seed, seed, batch_index, sibling))
        for unit in task.units(prompts)
        for sibling in range(num_generations)
    ]
    rollouts = run(episodes, engine, sampling)
    return [rollouts[start : start + num_generations] for start in range(0, len(rollouts), num_generations)]


def answer_greedily(task: Task, prompts: Sequence[Prompt], engine: Engine) -> list[Rollout]:
    """One greedy rollout per unit, in the order of `prompts`: what evaluation measures."""
    return run([task.episode(unit, 0, lambda name: 0) for unit in task.units(prompts)], engine, GREEDY)


def run(episodes: Sequence[Episode], engine: Engine, sampling: Sampling) -> list[Rollout]:
    """Serves every episode, turn after turn, all waiting turns in one call, until none asks for more."""
    while waiting := [(episode, asked) for episode in episodes if (asked := episode.requests())]:
        replies = iter(engine.generate([request for _, asked in waiting for request in asked], sampling))
        for episode, asked in waiting:
            episode.observe([next(replies) for _ in asked])
    return [episode.rollout() for episode in episodes]


def sampling_seed(seed: int, batch_index: int, sibling: int, name: str) -> int:
    """Seed of one turn, in [0, 2**63): a rerun and a resumed run draw the same tokens, on any number of ranks.

    `name` is the question's id, or that of a memory update.
    """
    key = f"{seed}/{batch_index}/{name}/{sibling}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1
