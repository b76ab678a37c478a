"""From one batch's rollouts and engine counters to named numbers. Names are trl's where trl has one."""

from __future__ import annotations

import resource
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from rft.distributed import gather_lists
from rft.records import Answer, Rollout, Score
from rft.reward.functions import reward_part_metrics
from rft.rollout.engine import Engine, EngineCounters

SLEEPING_GIB = "engine/sleeping_gib"
"""Device memory, in GiB, that an engine gives back while the trainer works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOutcome:
    """What is left of an answer for the metrics: small enough to gather from every rank at every step.

    Example:
        AnswerOutcome(group="train/17", score=Score(reward=1.0, parsed="c"), num_tokens=212, truncated=False)
    """

    group: str
    score: Score
    num_tokens: int
    truncated: bool


def gather_outcomes(accelerator: Accelerator, groups: Sequence[Sequence[Rollout]]) -> list[AnswerOutcome]:
    """The outcomes of all ranks: one per final answer."""
    answers = [answer for group in groups for rollout in group for answer in rollout.answers]
    return gather_lists(accelerator, [outcome_of(answer) for answer in answers])


def outcome_of(answer: Answer) -> AnswerOutcome:
    return AnswerOutcome(
        group=answer.prompt.question_id,
        score=answer.score,
        num_tokens=len(answer.completion.token_ids),
        truncated=answer.completion.finish_reason == "length",
    )


def rollout_metrics(outcomes: Sequence[AnswerOutcome]) -> dict[str, float]:
    """Reward, lengths and failures of one rollout batch. Answers without a reward are in no mean of rewards."""
    rewards: dict[str, list[float]] = {}
    for outcome in outcomes:
        if outcome.score.reward is not None:
            rewards.setdefault(outcome.group, []).append(outcome.score.reward)
    lengths = [outcome.num_tokens for outcome in outcomes]
    n = len(outcomes)
    return {
        **reward_metrics(rewards),
        **reward_part_metrics([outcome.score for outcome in outcomes]),
        "completions/mean_length": sum(lengths) / n,
        "completions/min_length": float(min(lengths)),
        "completions/max_length": float(max(lengths)),
        "completions/clipped_ratio": sum(outcome.truncated for outcome in outcomes) / n,
        **parse_metrics([outcome.score for outcome in outcomes]),
    }


def parse_metrics(scores: Sequence[Score]) -> dict[str, float]:
    """Share of replies in which an answer could be read, and of each reason why not; none where nobody reads one."""
    if all(score.parsed is None and score.failure is None for score in scores):
        return {}
    failures = Counter(score.failure for score in scores if score.failure)
    return {
        "parse_rate": sum(score.parsed is not None for score in scores) / len(scores),
        **{f"failures/{name}": count / len(scores) for name, count in sorted(failures.items())},
    }


def reward_metrics(rewards: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Mean, spread within groups, and the share of groups that teach nothing, from each group's rewards."""
    every = [reward for group in rewards.values() for reward in group]
    spreads = [statistics.stdev(group) if len(group) > 1 else 0.0 for group in rewards.values()]
    return {
        "reward": statistics.fmean(every) if every else float("nan"),
        "reward_std": statistics.fmean(spreads) if spreads else float("nan"),
        "frac_reward_zero_std": sum(len(set(group)) == 1 for group in rewards.values()) / max(1, len(rewards)),
    }


def engine_metrics(accelerator: Accelerator, engine: Engine, used: EngineCounters) -> dict[str, float]:
    """What the engines of all ranks did in one rollout phase, and what the smallest of them can hold."""
    every = gather_lists(accelerator, [(used, engine.kv_cache_tokens, engine.sleeping_bytes())])
    counters = [found for found, _, _ in every]
    prompt = sum(found.prompt_tokens for found in counters)
    cached = sum(found.cached_prompt_tokens for found in counters)
    return {
        "engine/prompt_tokens": float(prompt),
        "engine/prefill_tokens": float(prompt - cached),
        "engine/prefix_cache_hit_rate": cached / prompt if prompt else 0.0,
        "engine/generated_tokens": float(sum(found.generated_tokens for found in counters)),
        "engine/preemptions": float(sum(found.preemptions for found in counters)),
        "engine/kv_cache_tokens": float(min(tokens for _, tokens, _ in every)),
        SLEEPING_GIB: max(size for _, _, size in every) / 2**30,
    }


def restart_peak_memory() -> None:
    """Makes `peak_memory_gib` of a GPU count from here. A CPU's peak stays that of the whole process, so that whoever
    asks the operating system for it gets the same."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_gib(accelerator: Accelerator, sleeping_gib: float = 0.0) -> float:
    """The most memory that a rank has held: on a GPU since `restart_peak_memory`, as PyTorch allocated it; on a CPU so
    far, resident.

    Args:
        sleeping_gib: of the engine's memory that was given back while the trainer worked (SLEEPING_GIB). PyTorch counts
            it all along, so it is taken off, and what is left is the trainer's.
    """
    if torch.cuda.is_available():
        held = torch.cuda.max_memory_allocated() / 2**30 - sleeping_gib
    else:
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return max(gather_lists(accelerator, [held]))
