"""Greedy evaluation of the weights an engine holds, spread over the ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from accelerate import Accelerator

from rft.data.memory_split import MemorySplit
from rft.data.prepare import PreparedSplit
from rft.distributed import gather_lists
from rft.eval.memory import MemoryTrace, trace_memories
from rft.eval.score import EvalResult, summarize
from rft.rollout.collect import answer_greedily
from rft.rollout.engine import Engine
from rft.tasks.task import Task
from rft.telemetry.run_log import answer_row
from rft.types import Answer, Rollout


def evaluate(
    task: Task, split: PreparedSplit | MemorySplit, indices: Sequence[int], engine: Engine, accelerator: Accelerator
) -> tuple[EvalResult, list[dict[str, Any]]]:
    """Answers `indices` (ordered by history) once, greedily, in the paper's fixed option order.

    Returns the result and one row per question (predictions.jsonl), the same on every rank.
    """
    mine = share_of(indices, [split.questions[index].history_id for index in indices], accelerator)
    rollouts = answer_greedily(task, [split.prompt(index, split.eval_order(index)) for index in mine], engine)
    by_id = {split.questions[index].question_id: split.questions[index] for index in mine}
    # Prompts stay where they are: 32k tokens a question are too much to gather.
    light = [
        (without_prompt_tokens(answer), trace, answer_row(answer, task.tokenizer) | row_of_trace(trace))
        for rollout in rollouts
        for answer, trace in zip(rollout.answers, traces_of(rollout, by_id), strict=True)
    ]
    every = gather_lists(accelerator, light)
    result = summarize([answer for answer, _, _ in every], [trace for _, trace, _ in every if trace is not None])
    return result, [row for _, _, row in every]


def share_of(indices: Sequence[int], history_ids: Sequence[str], accelerator: Accelerator) -> list[int]:
    """This rank's consecutive part of `indices`: about as many as any other's, and no history on two ranks."""
    rank, world = accelerator.process_index, accelerator.num_processes
    mine: list[int] = []
    for _, run in groupby(range(len(indices)), key=lambda position: history_ids[position]):
        positions = list(run)
        if positions[0] * world // len(indices) == rank:
            mine += [indices[position] for position in positions]
    return mine


def traces_of(rollout: Rollout, questions: dict[str, Any]) -> Sequence[MemoryTrace | None]:
    if not rollout.updates:
        return [None] * len(rollout.answers)
    return trace_memories(rollout, [questions[answer.prompt.question_id] for answer in rollout.answers])


def row_of_trace(trace: MemoryTrace | None) -> dict[str, Any]:
    return trace.as_row() if trace else {}


def without_prompt_tokens(answer: Answer) -> Answer:
    return replace(answer, prompt=replace(answer.prompt, token_ids=()))
