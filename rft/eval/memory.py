"""What a memory costs and what it keeps, beside the accuracy of the answers from it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rft.eval.predictions import Prediction
from rft.eval.retention import Retention, follow_evidence
from rft.records import Rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTrace:
    """One question's view of the memory it was answered from.

    Example:
        MemoryTrace(memory="Likes jazz.", memory_tokens=3, history_tokens=4_870, update_failures=(None,),
                    retention=None)
    """

    memory: str
    """The final one."""
    memory_tokens: int
    history_tokens: int
    """Of all chunks."""
    update_failures: tuple[str | None, ...]
    """Of each update."""
    retention: Retention | None
    """None where the evidence is not in the history, or has no key words."""

    def as_row(self) -> dict[str, Any]:
        """For predictions.jsonl."""
        return asdict(self)

    @staticmethod
    def from_row(row: dict[str, Any]) -> MemoryTrace:
        retention = Retention(**row["retention"]) if row["retention"] else None
        return MemoryTrace(**row | {"update_failures": tuple(row["update_failures"]), "retention": retention})


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryResult:
    """The memories of one evaluation.

    Example:
        MemoryResult(num_memories=60, memory_tokens_mean=412.0, memory_tokens_max=733, updates_mean=6.8,
                     input_tokens_mean=655.0, input_tokens_ratio=0.02, failures={"too_long": 3}, num_measured=204,
                     entered=0.81, retention=0.64, retention_by_age={0: 0.81, 1: 0.77})
    """

    num_memories: int
    memory_tokens_mean: float
    memory_tokens_max: int
    updates_mean: float
    input_tokens_mean: float
    """Prompt tokens of an answer."""
    input_tokens_ratio: float
    """Mean over questions of an answer's prompt tokens / tokens of the whole history."""
    failures: dict[str, int]
    """Updates that were not taken, by reason."""
    num_measured: int
    """Questions whose evidence can be followed."""
    entered: float | None
    """Share of those whose evidence was ever in the memory; None when none is measured."""
    retention: float | None
    """Share of those whose evidence is in the final memory."""
    retention_by_age: dict[int, float]
    """By updates since the evidence was read: the share of the questions that old whose evidence is in the memory."""


def trace_memories(rollout: Rollout) -> list[MemoryTrace]:
    """One per answer of a rollout with a memory, in order."""
    memories = tuple(update.memory for update in rollout.updates)
    traces = []
    for answer in rollout.answers:
        turn = answer.prompt.evidence_turn
        traces.append(
            MemoryTrace(
                memory=memories[-1],
                memory_tokens=rollout.updates[-1].num_memory_tokens,
                history_tokens=sum(update.num_chunk_tokens for update in rollout.updates),
                update_failures=tuple(str(update.failure) if update.failure else None for update in rollout.updates),
                retention=None if turn is None else follow_evidence(answer.prompt.question, turn, memories),
            )
        )
    return traces


def summarize_memories(predictions: Sequence[Prediction]) -> MemoryResult:
    """Over predictions that come from a memory; those of one memory count once where memories are counted."""
    traces = [MemoryTrace.from_row(prediction.memory) for prediction in predictions if prediction.memory]
    assert len(traces) == len(predictions), "all come from a memory"
    of_memory = {
        (prediction.context_id, prediction.sample, trace.memory): trace
        for prediction, trace in zip(predictions, traces, strict=True)
    }
    memories = list(of_memory.values())
    followed = [trace.retention for trace in traces if trace.retention is not None]
    failures = Counter(failure for trace in memories for failure in trace.update_failures if failure)
    return MemoryResult(
        num_memories=len(memories),
        memory_tokens_mean=statistics.fmean(trace.memory_tokens for trace in memories),
        memory_tokens_max=max(trace.memory_tokens for trace in memories),
        updates_mean=statistics.fmean(len(trace.update_failures) for trace in memories),
        input_tokens_mean=statistics.fmean(prediction.prompt_tokens for prediction in predictions),
        input_tokens_ratio=statistics.fmean(
            prediction.prompt_tokens / trace.history_tokens
            for prediction, trace in zip(predictions, traces, strict=True)
        ),
        failures=dict(sorted(failures.items())),
        num_measured=len(followed),
        entered=statistics.fmean(one.entered is not None for one in followed) if followed else None,
        retention=statistics.fmean(one.kept for one in followed) if followed else None,
        retention_by_age=held_by_age(followed),
    )


def held_by_age(followed: Sequence[Retention]) -> dict[int, float]:
    """Updates since the evidence was read -> share of the questions that old whose evidence is in the memory."""
    held: dict[int, list[bool]] = {}
    for one in followed:
        for age in range(one.num_turns - one.evidence_turn):
            turn = one.evidence_turn + age
            there = one.entered is not None and one.entered <= turn and (one.lost is None or turn < one.lost)
            held.setdefault(age, []).append(there)
    return {age: statistics.fmean(values) for age, values in sorted(held.items())}
