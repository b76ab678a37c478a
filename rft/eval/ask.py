"""One system asked all of its questions: from a question to a prediction, whatever stands behind it.

Predictions are handed out as they come, so that an evaluation that is stopped continues where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

from rft.chat.endpoint import Reply
from rft.chat.models import ChatModel, ChatRequest, LocalChatModel
from rft.data import prompts
from rft.data.benchmarks import Benchmark
from rft.data.memory_prompts import MemoryPrompts
from rft.data.memory_split import ChunkedHistories, MemorySplit, check_prompt_lengths
from rft.eval import systems
from rft.eval.config import EvaluationConfig
from rft.eval.predictions import QUESTION_CHARS, Prediction, about
from rft.eval.run import predictions_of
from rft.eval.systems import Material, Shown
from rft.records import FailureReason, Question, Rollout, Score
from rft.reward import final_answer, mcq
from rft.rollout.collect import run
from rft.tasks.memory import MemoryTask

Asked = tuple[Question, int]
"""A question and the number of its sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question as it is put to a model, to be put together with the reply."""

    question: Question
    sample: int
    order: tuple[int, ...]
    text: str
    shown: Shown


def answer_by_rule(
    system: str, material: Material, asked: Sequence[Asked], fitted_on: Sequence[Question]
) -> Iterator[Prediction]:
    """Systems without a model; `fitted_on` is what the most frequent letter is counted on."""
    order_of = material.benchmark.option_order
    letter = systems.majority_letter(fitted_on, order_of) if system == "majority_letter" else 0
    for question, sample in asked:
        order = order_of(question)
        options = prompts.options_of(question, order)
        choice = letter if system == "majority_letter" else systems.BY_LENGTH[system](options)
        gold = prompts.gold_letter(order)
        chosen = prompts.LETTERS[choice]
        yield Prediction(
            **about(question),
            sample=sample,
            option_order=order,
            gold=gold,
            letter=chosen,
            reward=float(chosen == gold),
            failure=None,
            finish_reason=None,
            prompt_tokens=0,
            completion_tokens=0,
            question=prompts.ask(question.query, options)[-QUESTION_CHARS:],
            text=f"\\boxed{{{chosen}}}",
        )


def answer_by_chat(
    system: str, config: EvaluationConfig, material: Material, asked: Sequence[Asked], model: ChatModel
) -> Iterator[Prediction]:
    """Systems that show a model something and ask."""
    requests = chat_requests(system, config, material, asked, model)
    unanswerable: list[Prediction] = []
    for ask, reply in model.replies(fitting(requests, config, material, model, unanswerable)):
        yield predict(config, ask, reply, model.thought_open)
    yield from unanswerable


def chat_requests(
    system: str, config: EvaluationConfig, material: Material, asked: Sequence[Asked], model: ChatModel
) -> Iterator[ChatRequest[Ask]]:
    compare = config.evaluate
    for question, sample in asked:
        shown = systems.CONTEXTS[system](material, question)
        if system == "truncated_history":
            history_id = question.history_id
            shown = material.cut(history_id, history_id, compare.max_context_tokens, "truncate_oldest")
        order = option_order(config, material.benchmark, question)
        query = "" if system in systems.NO_QUERY else question.query
        text = prompts.ask(query, prompts.options_of(question, order), compare.protocol)
        yield ChatRequest(
            tag=Ask(question=question, sample=sample, order=order, text=text, shown=shown),
            context=shown.messages,
            question=text,
            max_tokens=config.rollout.max_completion_length,
            seed=seed_of(config.train.seed, question, sample, system),
        )


def option_order(config: EvaluationConfig, benchmark: Benchmark, question: Question) -> tuple[int, ...]:
    """Empty where no options are shown."""
    return benchmark.option_order(question) if config.evaluate.answers == "choice" else ()


def question_text(config: EvaluationConfig, benchmark: Benchmark, question: Question) -> str:
    """The message that asks a question, whole."""
    options = prompts.options_of(question, option_order(config, benchmark, question))
    return prompts.ask(question.query, options, config.evaluate.protocol)


def fitting(
    requests: Iterable[ChatRequest[Ask]],
    config: EvaluationConfig,
    material: Material,
    model: ChatModel,
    unanswerable: list[Prediction],
) -> Iterator[ChatRequest[Ask]]:
    """Requests under `data.length_policy`, where the model's tokens can be counted.

    `drop` leaves a question out of what is asked, and counts it as a wrong answer: leaving it out of the accuracy would
    flatter it.
    """
    limit, policy = config.data.max_prompt_length, config.data.length_policy
    for request in requests:
        num_tokens = len(model.prompt_ids(request)) if isinstance(model, LocalChatModel) else 0
        ask = request.tag
        if num_tokens <= limit:
            yield request
        elif policy == "error":
            raise ValueError(
                f"the prompt of question {ask.question.question_id} has {num_tokens} tokens, data.max_prompt_length is "
                f"{limit}; raise it, or set data.length_policy to drop, truncate_middle or truncate_oldest"
            )
        elif policy == "drop" or ask.shown.history_id is None:
            unanswerable.append(too_long(ask, num_tokens))
        else:
            shown = material.cut(ask.shown.history_id, ask.question.history_id, limit, policy)
            yield replace(request, tag=replace(ask, shown=shown), context=shown.messages)


def predict(
    config: EvaluationConfig, ask: Ask, reply: Reply, thought_open: bool, memory: dict[str, Any] | None = None
) -> Prediction:
    """Scores a reply; with a judge the reward stays open."""
    gold, score = None, None
    if ask.order:
        letters = prompts.LETTERS[: len(ask.order)]
        gold = prompts.gold_letter(ask.order)
        score = score_of(config, reply.text, letters, gold, thought_open)
    return Prediction(
        **about(ask.question),
        sample=ask.sample,
        option_order=ask.order,
        gold=gold,
        letter=score.letter if score else None,
        reward=score.reward if score else None,
        failure=score.failure if score else None,
        finish_reason="length" if reply.cut_off else "stop",
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        question=ask.text[-QUESTION_CHARS:],
        text=reply.text,
        messages_dropped=ask.shown.messages_dropped,
        memory=memory,
    )


def score_of(config: EvaluationConfig, text: str, letters: Sequence[str], gold: str, thought_open: bool) -> Score:
    if config.evaluate.protocol == "final_answer":
        return final_answer.score(text, letters, gold, thought_open=thought_open)
    return mcq.score(text, letters, gold, rule=config.reward.rule, thought_open=thought_open)


def too_long(ask: Ask, num_tokens: int) -> Prediction:
    return Prediction(
        **about(ask.question),
        sample=ask.sample,
        option_order=ask.order,
        gold=prompts.gold_letter(ask.order) if ask.order else None,
        letter=None,
        reward=0.0,
        failure=FailureReason.PROMPT_TOO_LONG,
        finish_reason=None,
        prompt_tokens=num_tokens,
        completion_tokens=0,
        question=ask.text[-QUESTION_CHARS:],
        text="",
    )


def answer_from_memory(
    config: EvaluationConfig,
    material: Material,
    asked: Sequence[Asked],
    model: LocalChatModel,
    keep: Callable[[Rollout], None],
) -> Iterator[Prediction]:
    """The memory agent on a local engine: one memory per history and sample, the questions answered from it.

    Histories are handed to the engine `evaluate.batch_size` at a time; `keep` gets each finished rollout.
    """
    split = memory_split(config, material.benchmark, [question for question, _ in asked], model)
    check_prompt_lengths(config, MemoryPrompts(model.chat), split)
    index_of = {question.question_id: index for index, question in enumerate(split.questions)}
    questions = {question.question_id: question for question in split.questions}
    task = MemoryTask(model.tokenizer, config, split.histories.chunks)
    units = [list(unit) for _, unit in groupby(asked, key=lambda pair: (pair[1], pair[0].history_id))]
    for start in range(0, len(units), config.evaluate.batch_size):
        episodes = []
        for unit in units[start : start + config.evaluate.batch_size]:
            indices = [index_of[question.question_id] for question, _ in unit]
            orders = [material.benchmark.option_order(split.questions[index]) for index in indices]
            parts = task.units([split.prompt(*pair) for pair in zip(indices, orders, strict=True)])
            sample = unit[0][1]
            episodes += [task.episode(part, sample, partial(named_seed, config.train.seed, sample)) for part in parts]
        for rollout in run(episodes, model.engine, model.sampling):
            keep(rollout)
            yield from predictions_of(rollout, questions, model.tokenizer)


def memory_split(
    config: EvaluationConfig, benchmark: Benchmark, questions: Sequence[Question], model: LocalChatModel
) -> MemorySplit:
    histories = ChunkedHistories(benchmark.history, model.chat, config.memory.chunk_tokens)
    return MemorySplit(list({question.question_id: question for question in questions}.values()), histories, {})


def seed_of(seed: int, question: Question, sample: int, system: str) -> int:
    return named_seed(seed, sample, f"{system}/{question.question_id}")


def named_seed(seed: int, sample: int, name: str) -> int:
    """In [0, 2**31), which every endpoint takes: a rerun draws the same."""
    digest = hashlib.blake2b(f"evaluate/{seed}/{sample}/{name}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


def to_ask(questions: Sequence[Question], num_samples: int, done: Iterable[Prediction]) -> list[Asked]:
    """What is left: sample after sample, so that one pass over the histories serves each, in the given order."""
    answered = {(prediction.question_id, prediction.sample) for prediction in done}
    return [
        (question, sample)
        for sample in range(num_samples)
        for question in questions
        if (question.question_id, sample) not in answered
    ]
