"""The rollout loop: from prompts to groups of scored rollouts, whatever the task."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from rft.records import Prompt, Rollout, Score
from rft.rollout.engine import GREEDY, Generator, Sampling
from rft.tasks.task import Episode, Task


def sample_episodes(
    task: Task,
    units: Sequence[Sequence[Prompt]],
    engine: Generator,
    sampling: Sampling,
    *,
    siblings: Iterable[int],
    seed: int,
    batch_index: int,
) -> list[Episode]:
    """The finished `siblings` of each unit of the task, in the order of `units`.

    Siblings, and the questions of one context, stand next to each other, so that the engine computes and reads what
    they share once.

    Args:
        units: questions of one context that stay together (data/sampler.py). A task may cut one into several of its
            own, and never joins two: what is trained on does not depend on which units a rank was given.
        siblings: their numbers; each has seeds of its own.
    """
    numbers = list(siblings)
    episodes = [
        task.episode(unit, sibling, partial(sampling_seed, seed, batch_index, sibling))
        for together in units
        for unit in task.units(together)
        for sibling in numbers
    ]
    serve(episodes, engine, sampling)
    return episodes


def score_episodes(task: Task, episodes: Sequence[Episode]) -> list[Rollout]:
    """The rollouts of finished episodes; everything is scored in one call."""
    attempts = [episode.attempts() for episode in episodes]
    scores: Iterator[Score] = iter(task.score([attempt for some in attempts for attempt in some]))
    return [episode.rollout([next(scores) for _ in some]) for episode, some in zip(episodes, attempts, strict=True)]


def groups_of_siblings(rollouts: Sequence[Rollout], num_generations: int) -> list[list[Rollout]]:
    """Consecutive rollouts cut into their groups."""
    return [list(rollouts[start : start + num_generations]) for start in range(0, len(rollouts), num_generations)]


def answer_greedily(task: Task, prompts: Sequence[Prompt], engine: Generator) -> list[Rollout]:
    """One greedy rollout per unit, in the order of `prompts`: what evaluation measures."""
    episodes = [task.episode(unit, 0, lambda name: 0) for unit in task.units(prompts)]
    serve(episodes, engine, GREEDY)
    return score_episodes(task, episodes)


def serve(episodes: Sequence[Episode], engine: Generator, sampling: Sampling) -> None:
    """Serves every episode, turn after turn, all waiting turns in one call, until none asks for more."""
    while waiting := [(episode, asked) for episode in episodes if (asked := episode.requests())]:
        requests = [request for _, asked in waiting for request in asked]
        completions = engine.generate(requests, sampling)
        if len(completions) != len(requests):
            raise RuntimeError(f"the engine answered {len(completions)} of {len(requests)} requests")
        replies = iter(completions)
        for episode, asked in waiting:
            episode.observe([next(replies) for _ in asked])


def sampling_seed(seed: int, batch_index: int, sibling: int, name: str) -> int:
    """Seed of one turn, in [0, 2**63): a rerun and a resumed run draw the same tokens, on any number of ranks.

    `name` is the question's id, or that of a memory update.
    """
    key = f"{seed}/{batch_index}/{name}/{sibling}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1
