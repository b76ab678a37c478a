"""The memory agent on a local engine: one memory per context and sample, the questions answered from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from transformers import PreTrainedTokenizerBase

from rft.chat.local_chat_model import LocalChatModel
from rft.data.memory_split import MemorySplit, check_prompt_lengths
from rft.eval.asked import Asked, comparison_seed
from rft.eval.material import Material
from rft.eval.memory_log import LoggedUpdate, MemoryLog
from rft.eval.policy import rollout_predictions
from rft.eval.predictions import Prediction
from rft.records import Rollout
from rft.rollout.collect import score_episodes, serve
from rft.tasks.memory import MemoryTask
from rft.tasks.registry import task_class


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryAgent:
    """What answers from memories.

    Example:
        MemoryAgent(task=MemoryTask(config, tokenizer, dataset), split=MemorySplit(questions, ...))
    """

    task: MemoryTask
    split: MemorySplit
    """The questions that are asked."""


def make_memory_agent(material: Material, tokenizer: PreTrainedTokenizerBase) -> MemoryAgent:
    """An agent that is asked and scored in the comparison's form.

    Raises:
        ValueError: a prompt that may not fit.
    """
    config, form = material.config, material.form
    named = task_class(config)
    task = (named if issubclass(named, MemoryTask) else MemoryTask)(config, tokenizer, material.dataset)
    task.wording, task.score = form.wording, form.score
    split = MemorySplit(
        material.questions, task.contexts, option_order=form.order_of, wording=form.wording, manifest={}
    )
    check_prompt_lengths(config, task.writer.prompts, split)
    return MemoryAgent(task=task, split=split)


def answer_from_memory(
    agent: MemoryAgent, material: Material, asked: Sequence[Asked], model: LocalChatModel, log: MemoryLog
) -> Iterator[Prediction]:
    """One prediction per question. Contexts are handed to the engine `compare.batch_size` at a time."""
    task, split, config = agent.task, agent.split, material.config
    index_of = {question.question_id: index for index, question in enumerate(split.questions)}
    units = [list(unit) for _, unit in groupby(asked, key=lambda pair: (pair[1], pair[0].context_id))]
    for start in range(0, len(units), config.compare.batch_size):
        episodes = []
        for unit in units[start : start + config.compare.batch_size]:
            indices = [index_of[question.question_id] for question, _ in unit]
            prompts = [split.prompt(index, split.eval_order(index)) for index in indices]
            sample = unit[0][1]
            seed_of = partial(comparison_seed, config.train.seed, sample)
            episodes += [task.episode(part, sample, seed_of) for part in task.units(prompts)]
        serve(episodes, model.engine, model.sampling)
        for rollout in score_episodes(task, episodes):
            log.add(logged_updates(rollout, query_aware=config.memory.query_aware))
            yield from rollout_predictions(task, rollout)


def logged_updates(rollout: Rollout, *, query_aware: bool) -> list[LoggedUpdate]:
    answer = rollout.answers[0]
    return [
        LoggedUpdate(
            context_id=answer.prompt.context_id,
            question_id=answer.prompt.question_id if query_aware else None,
            sample=answer.sibling,
            turn=turn,
            memory=update.memory,
            failure=str(update.failure) if update.failure else None,
        )
        for turn, update in enumerate(rollout.updates)
    ]
