"""The cold start of a memory: every update and every answer of a demonstration is one sequence to learn from."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rft.cold_start import memory_traces
from rft.cold_start.memory_traces import Event, Step
from rft.cold_start.sequences import IGNORED, Sequences
from rft.cold_start.traces import gist
from rft.data import prompts
from rft.data.memory_prompts import MemoryPrompts, update_tail
from rft.data.memory_split import MemorySplit
from rft.data.prompts import Wording
from rft.records import Context, Question

UPDATE, ANSWER = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """The memory of one chat history, written carelessly.

    Example:
        Demonstration(timeline=(Event(...), ...), steps=(Step(...), ...), full={"music": "jazz"})
    """

    timeline: list[Event]
    steps: list[Step]
    full: dict[str, str]
    """The notes of a right memory at the end."""


class MemorySequences(Sequences):
    """Turns (context, kind, number) into a prompt and its reply, when the trainer asks for it.

    Args:
        split: synthetic data.
        tokenizer: of the model to train.
        keep_share: probability with which an update carries the notes over.
        seed: of the demonstrations.
        answers_per_history: questions to learn from beside the updates; None is all of a context's.
    """

    def __init__(
        self, split: MemorySplit, tokenizer: Any, keep_share: float, seed: int, answers_per_history: int | None = None
    ) -> None:
        self.split = split
        self.tokenizer = tokenizer
        self.keep_share = keep_share
        self.seed = seed
        self.answers_per_history = answers_per_history
        self.prompts = MemoryPrompts(split.contexts.chat)
        self.of_context: dict[str, list[int]] = {}
        for index, question in enumerate(split.questions):
            self.of_context.setdefault(question.context_id, []).append(index)
        self.context_ids = list(self.of_context)
        self.demonstration = lru_cache(maxsize=256)(self._demonstration)

    def _demonstration(self, number: int) -> Demonstration:
        context_id = self.context_ids[number]
        messages, chunks = self.split.contexts.read(context_id)
        questions = [self.split.questions[index] for index in self.of_context[context_id]]
        timeline = memory_traces.events(questions, messages)
        rng = random.Random(f"memory {self.seed} {context_id}")
        steps = memory_traces.demonstrate(timeline, chunks, self.keep_share, rng)
        return Demonstration(timeline=timeline, steps=steps, full=memory_traces.rewrite({}, timeline))

    def indices(self) -> list[list[int]]:
        """(context, kind, update or question) of every sequence, context by context."""
        return [
            item
            for number, context_id in enumerate(self.context_ids)
            for item in (
                *([number, UPDATE, turn] for turn in range(len(self.split.contexts.chunks(context_id)))),
                *([number, ANSWER, index] for index in self.of_context[context_id][: self.answers_per_history]),
            )
        ]

    def sequence(self, indices: Sequence[int]) -> tuple[list[int], list[int]]:
        """Token ids, and labels that are -100 wherever no reply stands."""
        number, kind, which = indices
        asked, text = self.update(number, which) if kind == UPDATE else self.answer(number, which)
        chat = self.split.contexts.chat
        reply = [*chat.encode([chat.quote(text)])[0].tolist(), self.tokenizer.eos_token_id]
        return [*asked, *reply], [*([IGNORED] * len(asked)), *reply]

    def update(self, number: int, turn: int) -> tuple[tuple[int, ...], str]:
        step = self.demonstration(number).steps[turn]
        before = memory_traces.text_of(step.before) if turn else ""
        chunk = self.split.contexts.chunks(self.context_ids[number])[turn]
        return self.prompts.update(chunk, before, None), memory_traces.text_of(step.after)

    def answer(self, number: int, index: int) -> tuple[tuple[int, ...], str]:
        """A question answered from a right or a careless memory, by a draw."""
        shown, question, order = self.demonstration(number), self.split.questions[index], self.split.eval_order(index)
        careless = random.Random(f"answer {self.seed} {question.question_id}").random() < 0.5
        notes = shown.steps[-1].after if careless else shown.full
        asked = self.prompts.answer(memory_traces.text_of(notes), self.split.question_ids(index, order))
        return asked, memory_traces.answer_from(question, order, notes)


def memory_training_texts(
    contexts: Iterable[tuple[Context, Sequence[Question]]],
    wording: Wording,
    option_order: Callable[[Question], tuple[int, ...]],
) -> Iterator[str]:
    """All that a model may read or write on these contexts: what a tokenizer for it must know."""
    yield from (prompts.SYSTEM_PROMPT, prompts.MEMORY_SYSTEM_PROMPT, prompts.MEMORY_UPDATE_HEAD)
    yield update_tail("", "") + prompts.MEMORY_ANSWER_HEAD + memory_traces.text_of({})
    for context, questions in contexts:
        messages = (message for message in context.messages if message.role != "system")
        yield from (f"{message.role}: {message.content}\n" for message in messages)
        for question in questions:
            order = option_order(question)
            yield wording.ask(question, order)
            for answer in (question.correct_answer, *question.incorrect_answers):
                yield memory_traces.text_of({question.tags["topic"]: gist(answer)})
            yield memory_traces.answer_from(question, order, {})
