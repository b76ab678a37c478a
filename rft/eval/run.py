"""Greedy evaluation of the weights an engine holds, spread over the ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from accelerate import Accelerator

from rft.data.prepare import PreparedSplit
from rft.distributed import gather_lists
from rft.eval.score import EvalResult, summarize
from rft.rollout.collect import answer_greedily
from rft.rollout.engine import Engine
from rft.tasks.mcq import McqTask
from rft.telemetry.run_log import rollout_row
from rft.types import Rollout


def evaluate(
    task: McqTask, split: PreparedSplit, indices: Sequence[int], engine: Engine, accelerator: Accelerator
) -> tuple[EvalResult, list[dict[str, Any]]]:
    """Answers `indices` (ordered by history) once, greedily, in the paper's fixed option order.

    Returns the result and one row per question (predictions.jsonl), the same on every rank.
    """
    rank, world = accelerator.process_index, accelerator.num_processes
    mine = indices[len(indices) * rank // world : len(indices) * (rank + 1) // world]
    rollouts = answer_greedily(task, [split.prompt(index, split.eval_order(index)) for index in mine], engine)
    # Prompts stay where they are: 32k tokens a question are too much to gather.
    light = [(without_prompt_tokens(rollout), rollout_row(rollout, task.tokenizer)) for rollout in rollouts]
    every = gather_lists(accelerator, light)
    return summarize([rollout for rollout, _ in every]), [row for _, row in every]


def without_prompt_tokens(rollout: Rollout) -> Rollout:
    return replace(rollout, prompt=replace(rollout.prompt, token_ids=()))
