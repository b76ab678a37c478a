"""Greedy evaluation of the weights an engine holds, spread over the ranks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase

from rft.data.memory_split import MemorySplit
from rft.data.prepare import PreparedSplit
from rft.distributed import gather_lists
from rft.eval.memory import MemoryTrace, trace_memories
from rft.eval.predictions import QUESTION_CHARS, Prediction, about
from rft.eval.score import EvalResult, summarize
from rft.records import Answer, Question, Rollout
from rft.rollout.collect import answer_greedily
from rft.rollout.engine import Engine
from rft.tasks.task import Task


def evaluate(
    task: Task, split: PreparedSplit | MemorySplit, indices: Sequence[int], engine: Engine, accelerator: Accelerator
) -> tuple[EvalResult, list[Prediction]]:
    """Answers `indices` (ordered by history) once, greedily, in the paper's fixed option order.

    Returns the result and one prediction per question, the same on every rank.
    """
    mine = share_of(indices, [split.questions[index].history_id for index in indices], accelerator)
    rollouts = answer_greedily(task, [split.prompt(index, split.eval_order(index)) for index in mine], engine)
    by_id = {split.questions[index].question_id: split.questions[index] for index in mine}
    mine_answered = [one for rollout in rollouts for one in predictions_of(rollout, by_id, task.tokenizer)]
    predictions = gather_lists(accelerator, mine_answered)
    return summarize(predictions), predictions


def share_of(indices: Sequence[int], history_ids: Sequence[str], accelerator: Accelerator) -> list[int]:
    """This rank's consecutive part of `indices`: about as many as any other's, and no history on two ranks."""
    rank, world = accelerator.process_index, accelerator.num_processes
    mine: list[int] = []
    for _, run in groupby(range(len(indices)), key=lambda position: history_ids[position]):
        positions = list(run)
        if positions[0] * world // len(indices) == rank:
            mine += [indices[position] for position in positions]
    return mine


def predictions_of(
    rollout: Rollout, questions: dict[str, Question], tokenizer: PreTrainedTokenizerBase
) -> list[Prediction]:
    """One prediction per answer of a rollout."""
    asked = [questions[answer.prompt.question_id] for answer in rollout.answers]
    traces = trace_memories(rollout, asked) if rollout.updates else [None] * len(asked)
    return [
        prediction_of(answer, question, trace, tokenizer)
        for answer, question, trace in zip(rollout.answers, asked, traces, strict=True)
    ]


def prediction_of(
    answer: Answer, question: Question, trace: MemoryTrace | None, tokenizer: PreTrainedTokenizerBase
) -> Prediction:
    prompt, completion, score = answer.prompt, answer.completion, answer.score
    return Prediction(
        **about(question),
        sample=answer.sibling,
        option_order=prompt.option_order,
        gold=prompt.gold,
        letter=score.letter,
        reward=score.reward,
        failure=score.failure,
        finish_reason=completion.finish_reason,
        prompt_tokens=len(prompt.token_ids),
        completion_tokens=len(completion.token_ids),
        question=tokenizer.decode(prompt.token_ids[prompt.num_history_tokens :])[-QUESTION_CHARS:],
        text=answer.text,
        memory=trace.as_row() if trace else None,
    )
