"""From one step's rollouts, loss terms and clocks to named numbers. Names are trl's where trl has one."""

from __future__ import annotations

import resource
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from rft.distributed import gather_lists
from rft.records import Answer, Rollout, UpdateFailure
from rft.rollout.engine import EngineCounters


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is left of a rollout for the metrics: small enough to gather from every rank at every step.

    Example:
        Outcome(group="train/17", reward=1.0, letter="c", failure=None, num_tokens=212, truncated=False)
    """

    group: str
    reward: float
    letter: str | None
    failure: str | None
    num_tokens: int
    truncated: bool


def gather_outcomes(accelerator: Accelerator, groups: Sequence[Sequence[Rollout]]) -> list[Outcome]:
    """The outcomes of all ranks: one per final answer."""
    answers = [answer for group in groups for rollout in group for answer in rollout.answers]
    return gather_lists(accelerator, [outcome_of(answer) for answer in answers])


def outcome_of(answer: Answer) -> Outcome:
    return Outcome(
        group=answer.prompt.question_id,
        reward=answer.score.reward,
        letter=answer.score.letter,
        failure=str(answer.score.failure) if answer.score.failure else None,
        num_tokens=len(answer.completion.token_ids),
        truncated=answer.completion.finish_reason == "length",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateOutcome:
    """What is left of a memory update for the metrics.

    Example:
        UpdateOutcome(failure=None, num_tokens=412, num_memory_tokens=410, is_last=False)
    """

    failure: UpdateFailure | None
    num_tokens: int
    num_memory_tokens: int
    is_last: bool


def updates_of(groups: Sequence[Sequence[Rollout]]) -> list[UpdateOutcome]:
    return [
        UpdateOutcome(
            failure=update.failure,
            num_tokens=len(update.completion.token_ids),
            num_memory_tokens=update.num_memory_tokens,
            is_last=update is rollout.updates[-1],
        )
        for group in groups
        for rollout in group
        for update in rollout.updates
    ]


def memory_metrics(updates: Sequence[UpdateOutcome]) -> dict[str, float]:
    """Length of the finished memories, turns, and updates that were not taken."""
    final = [update.num_memory_tokens for update in updates if update.is_last]
    failures = Counter(str(update.failure) for update in updates if update.failure)
    return {
        "memory/tokens_mean": statistics.fmean(final),
        "memory/tokens_max": float(max(final)),
        "memory/updates_per_rollout": len(updates) / len(final),
        "memory/update_length_mean": statistics.fmean(update.num_tokens for update in updates),
        "memory/failure_rate": sum(failures.values()) / len(updates),
        **{f"memory/failures/{name}": count / len(updates) for name, count in sorted(failures.items())},
    }


def rollout_metrics(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Reward, lengths, failures and letters of one rollout batch."""
    rewards: dict[str, list[float]] = {}
    for outcome in outcomes:
        rewards.setdefault(outcome.group, []).append(outcome.reward)
    lengths = [outcome.num_tokens for outcome in outcomes]
    n = len(outcomes)
    failures = Counter(outcome.failure for outcome in outcomes if outcome.failure)
    letters = Counter(outcome.letter for outcome in outcomes if outcome.letter)
    return {
        "reward": sum(outcome.reward for outcome in outcomes) / n,
        "reward_std": statistics.fmean(statistics.stdev(group) for group in rewards.values()),
        "frac_reward_zero_std": sum(len(set(group)) == 1 for group in rewards.values()) / len(rewards),
        "completions/mean_length": sum(lengths) / n,
        "completions/min_length": float(min(lengths)),
        "completions/max_length": float(max(lengths)),
        "completions/clipped_ratio": sum(outcome.truncated for outcome in outcomes) / n,
        "parse_rate": sum(outcome.letter is not None for outcome in outcomes) / n,
        **{f"failures/{name}": count / n for name, count in sorted(failures.items())},
        **{f"letters/{name}": count / n for name, count in sorted(letters.items())},
    }


def engine_metrics(accelerator: Accelerator, used: EngineCounters) -> dict[str, float]:
    """Prefix-cache use and tokens of one rollout phase, over all ranks."""
    every = gather_lists(accelerator, [used])
    prompt = sum(counters.prompt_tokens for counters in every)
    cached = sum(counters.cached_prompt_tokens for counters in every)
    return {
        "engine/prompt_tokens": float(prompt),
        "engine/prefill_tokens": float(prompt - cached),
        "engine/prefix_cache_hit_rate": cached / prompt if prompt else 0.0,
        "engine/generated_tokens": float(sum(counters.generated_tokens for counters in every)),
    }


def peak_memory_gib() -> float:
    """The most memory this process has held so far: on the GPU by torch where there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class Clock:
    """Seconds spent in named phases since the last `read`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.started = time.perf_counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin

    def read(self) -> dict[str, float]:
        """Phase times and the whole, then starts anew."""
        now = time.perf_counter()
        result = {f"time/{name}_s": seconds for name, seconds in self.seconds.items()}
        result["step_time"] = now - self.started
        self.seconds, self.started = {}, now
        return result
