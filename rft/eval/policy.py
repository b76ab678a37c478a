"""Policy evaluation: what training measures at its checkpoints. The weights that the engine holds answer greedily, on
every rank a part of the questions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from accelerate import Accelerator

from rft.distributed import gather_lists, together
from rft.eval.memory import MemoryTrace, trace_memories
from rft.eval.predictions import QUESTION_CHARS, Prediction, question_fields
from rft.eval.score import EvalResult, summarize
from rft.records import Answer, Rollout
from rft.rollout.collect import answer_greedily
from rft.rollout.engine import Engine, EngineLost
from rft.tasks.task import PromptSplit, Task


def evaluate_policy(
    task: Task, split: PromptSplit, indices: Sequence[int], engine: Engine, accelerator: Accelerator
) -> tuple[EvalResult, list[Prediction]]:
    """Answers the questions `indices` of a split (ordered by context) once, greedily, options in the data set's order.

    Returns the result and one prediction per question, the same on every rank.

    Raises:
        ValueError: no answer has a reward.
        EngineLost: on any rank.
    """
    mine = share_of_rank(indices, [split.questions[index].context_id for index in indices], accelerator)
    prompts = [split.prompt(index, split.eval_order(index)) for index in mine]
    rollouts = together(accelerator, lambda: answer_greedily(task, prompts, engine), EngineLost)
    answered = [one for rollout in rollouts for one in rollout_predictions(task, rollout)]
    predictions = gather_lists(accelerator, answered)
    return summarize(predictions, task.dataset.breakdowns), predictions


def share_of_rank(indices: Sequence[int], context_ids: Sequence[str], accelerator: Accelerator) -> list[int]:
    """This rank's consecutive part of `indices`: about as many as any other's, and no context on two ranks."""
    rank, world = accelerator.process_index, accelerator.num_processes
    mine: list[int] = []
    for _, run in groupby(range(len(indices)), key=lambda position: context_ids[position]):
        positions = list(run)
        if positions[0] * world // len(indices) == rank:
            mine += [indices[position] for position in positions]
    return mine


def rollout_predictions(task: Task, rollout: Rollout) -> list[Prediction]:
    """One prediction per answer of a rollout."""
    traces = trace_memories(rollout) if rollout.updates else [None] * len(rollout.answers)
    return [answer_prediction(task, *pair) for pair in zip(rollout.answers, traces, strict=True)]


def answer_prediction(task: Task, answer: Answer, trace: MemoryTrace | None) -> Prediction:
    prompt, completion, score = answer.prompt, answer.completion, answer.score
    return Prediction(
        **question_fields(prompt.question, prompt.option_order),
        sample=answer.sibling,
        parsed=score.parsed,
        reward=score.reward,
        parts=dict(score.parts),
        failure=score.failure,
        finish_reason=completion.finish_reason,
        prompt_tokens=len(prompt.token_ids),
        completion_tokens=len(completion.token_ids),
        question=task.tokenizer.decode(prompt.token_ids[prompt.num_context_tokens :])[-QUESTION_CHARS:],
        text=answer.text,
        memory=trace.as_row() if trace else None,
    )
