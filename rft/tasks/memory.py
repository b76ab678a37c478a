"""Agentic memory: a context is read chunk by chunk, after each chunk the memory is written anew, and questions are
answered from the memory alone.

    M_k = f(chunk_k, M_{k-1})

No question is in it (unless `memory.query_aware`), so one memory serves all questions of a person. The chunk stands
before the memory in the prompt: siblings differ in their memories and share the chunk.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import Any, ClassVar

from transformers import PreTrainedTokenizerBase

from rft.config import Config, MemoryConfig
from rft.data.chat_template import ChatTemplate
from rft.data.chunks import Chunk
from rft.data.dataset import Dataset
from rft.data.memory_prompts import MemoryPrompts
from rft.data.memory_split import ChunkedContexts, MemorySplit, check_prompt_lengths, load_memory_split
from rft.records import Answer, Attempt, Completion, MemoryUpdate, Prompt, Rollout, Score, TurnRequest, UpdateFailure
from rft.reward.thoughts import opens_thought
from rft.tasks.mcq import McqTask, check_options
from rft.tasks.memory_text import read_memory
from rft.tasks.task import Problem, SeedOf, describe_micro_batches


class MemoryWriter:
    """Asks for a memory and reads the reply: the part that training and everyday use share."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: MemoryConfig) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.prompts = MemoryPrompts(ChatTemplate(tokenizer))
        self.markers = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        self.thought_open = opens_thought(self.prompts.footer)

    def updated(self, prompt_ids: tuple[int, ...], chunk: Chunk, before: str, completion: Completion) -> MemoryUpdate:
        """The memory after a reply; where the reply cannot be used, the memory `before` stays."""
        text = self.written_out(completion)
        cut_off = completion.finish_reason != "stop"
        memory, failure = self.read(text, cut_off=cut_off, thought_open=self.thought_open)
        memory = before if failure else memory
        return MemoryUpdate(
            prompt_ids=prompt_ids,
            completion=completion,
            memory=memory,
            failure=failure,
            num_memory_tokens=self.num_tokens(memory),
            num_chunk_tokens=len(chunk.token_ids),
        )

    def read(self, text: str, *, cut_off: bool, thought_open: bool) -> tuple[str, UpdateFailure | None]:
        """`read_memory` and the limit on the memory's length."""
        memory, failure = read_memory(text, cut_off=cut_off, markers=self.markers, thought_open=thought_open)
        if failure is None and self.num_tokens(memory) > self.config.max_memory_tokens:
            failure = UpdateFailure.TOO_LONG
        return memory, failure

    def num_tokens(self, memory: str) -> int:
        chat = self.prompts.chat
        return len(chat.encode([chat.quote(memory, of_user=True)])[0])

    def written_out(self, completion: Completion) -> str:
        """The reply with its special tokens, but without the one that ended it."""
        ids = completion.token_ids[:-1] if completion.finish_reason == "stop" else completion.token_ids
        return str(self.tokenizer.decode(ids, skip_special_tokens=False))


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


class MemoryTask(McqTask):
    """Answers multiple choice from a memory; see `rft.tasks.task.Task`."""

    uses: ClassVar[frozenset[str]] = frozenset({"memory", *McqTask.uses})
    asks_once: ClassVar[bool] = False

    def __init__(self, config: Config, tokenizer: PreTrainedTokenizerBase, dataset: Dataset) -> None:
        super().__init__(config, tokenizer, dataset)
        self.memory = config.memory

    @cached_property
    def writer(self) -> MemoryWriter:
        """Made when a memory is first written: a comparison behind an endpoint has no tokenizer, and needs none for
        the words and the scores alone."""
        return MemoryWriter(self.tokenizer, self.memory)

    @cached_property
    def contexts(self) -> ChunkedContexts:
        """The chunks of every context, read when asked for."""
        return ChunkedContexts(self.dataset.context, self.writer.prompts.chat, self.memory.chunk_tokens)

    @classmethod
    def problems(cls, config: Config, world_size: int) -> list[Problem]:
        memory, per_context = config.memory, config.data.questions_per_context
        per_update = config.rollout.questions_per_batch // config.train.steps_per_generation
        per_rank = config.rollout.questions_per_batch // world_size
        return [
            *super().problems(config, world_size),
            (
                memory.chunk_tokens + memory.max_memory_tokens >= config.data.max_prompt_length,
                f"memory.chunk_tokens + memory.max_memory_tokens = {memory.chunk_tokens + memory.max_memory_tokens} "
                f"leave no room for the instructions in data.max_prompt_length = {config.data.max_prompt_length}; "
                "raise it",
            ),
            (
                memory.max_update_length < memory.max_memory_tokens,
                f"memory.max_update_length = {memory.max_update_length} cannot hold a memory of "
                f"memory.max_memory_tokens = {memory.max_memory_tokens}; raise it",
            ),
            (
                per_context > per_update or per_rank % per_context != 0,
                f"data.questions_per_context = {per_context} must divide the {per_rank} questions of a rank and fit "
                f"into the {per_update} of an optimizer step, since the questions of one memory stay together; change "
                "rollout.questions_per_batch",
            ),
        ]

    @classmethod
    def longest_completion(cls, config: Config) -> tuple[int, str]:
        update = config.memory.max_update_length, "memory.max_update_length"
        return max(super().longest_completion(config), update, key=lambda pair: pair[0])

    @classmethod
    def longest_shared_prefix(cls, config: Config) -> tuple[int, int]:
        """A chunk, before the memories that the siblings wrote of what came before it."""
        return config.memory.chunk_tokens, config.rollout.num_generations

    @classmethod
    def describe_batch(cls, config: Config, world_size: int) -> str:
        rollout, memory = config.rollout, config.memory
        units = rollout.questions_per_batch // (1 if memory.query_aware else config.data.questions_per_context)
        return "\n".join(
            [
                f"rollout batch    {units} contexts x {rollout.num_generations} memories = "
                f"{units * rollout.num_generations:,}, with "
                f"{rollout.questions_per_batch * rollout.num_generations:,} answers",
                f"optimizer step   {units / config.train.steps_per_generation:g} contexts on {world_size} ranks, in "
                f"{describe_micro_batches(config)}",
                f"memory           rewritten after every {memory.chunk_tokens:,} tokens of context, at most "
                f"{memory.max_memory_tokens:,} tokens; {'knows its question' if memory.query_aware else 'query-blind'}"
                f"; credit {memory.credit}",
            ]
        )

    def load_split(self, name: str) -> MemorySplit:
        split = load_memory_split(self.config, self.dataset, self.contexts, self.wording, name)
        check_options(split, self.config.task)
        check_prompt_lengths(self.config, self.writer.prompts, split)
        return split

    def units(self, prompts: Sequence[Prompt]) -> list[list[Prompt]]:
        """Questions of one context that follow each other; with `query_aware` each question by itself."""
        if self.memory.query_aware:
            return [[prompt] for prompt in prompts]
        return [list(run) for _, run in groupby(prompts, key=lambda prompt: prompt.context_id)]

    def episode(self, unit: Sequence[Prompt], sibling: int, seed_of: SeedOf) -> MemoryEpisode:
        """One memory of one context, and the answers from it."""
        chunks = self.contexts.chunks(unit[0].context_id)
        return MemoryEpisode(task=self, questions=unit, sibling=sibling, seed_of=seed_of, chunks=chunks)

    def outcomes(self, groups: Sequence[Sequence[Rollout]]) -> list[Any]:
        """The letters that were read, and what became of every update."""
        updates = [
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
        return [*super().outcomes(groups), *updates]

    def metrics(self, outcomes: Sequence[Any]) -> dict[str, float]:
        """Those of multiple choice; length of the finished memories, turns, and updates that were not taken."""
        updates = [outcome for outcome in outcomes if isinstance(outcome, UpdateOutcome)]
        letters = [outcome for outcome in outcomes if not isinstance(outcome, UpdateOutcome)]
        final = [update.num_memory_tokens for update in updates if update.is_last]
        failures = Counter(str(update.failure) for update in updates if update.failure)
        return super().metrics(letters) | {
            "memory/tokens_mean": statistics.fmean(final),
            "memory/tokens_max": float(max(final)),
            "memory/updates_per_rollout": len(updates) / len(final),
            "memory/update_length_mean": statistics.fmean(update.num_tokens for update in updates),
            "memory/failure_rate": sum(failures.values()) / len(updates),
            **{f"memory/failures/{name}": count / len(updates) for name, count in sorted(failures.items())},
        }


@dataclass(kw_only=True)
class MemoryEpisode:
    """See `rft.tasks.task.Episode`."""

    task: MemoryTask
    questions: Sequence[Prompt]
    sibling: int
    seed_of: SeedOf
    chunks: Sequence[Chunk]
    updates: list[MemoryUpdate] = field(default_factory=list)
    completions: Sequence[Completion] | None = None

    @property
    def memory(self) -> str:
        return self.updates[-1].memory if self.updates else ""

    def requests(self) -> Sequence[TurnRequest]:
        if len(self.updates) < len(self.chunks):
            return (self.update_request(),)
        return () if self.completions is not None else self.answer_requests()

    def update_request(self) -> TurnRequest:
        turn, first = len(self.updates), self.questions[0]
        query = first.question.query if self.task.memory.query_aware else None
        return TurnRequest(
            prompt_ids=self.task.writer.prompts.update(self.chunks[turn], self.memory, query),
            seed=self.seed_of(f"{first.question_id}/update/{turn}"),
            max_tokens=self.task.memory.max_update_length,
        )

    def answer_requests(self) -> Sequence[TurnRequest]:
        return [
            TurnRequest(
                prompt_ids=prompt.token_ids,
                seed=self.seed_of(f"{prompt.question_id}/{turn}"),
                max_tokens=self.task.config.rollout.max_completion_length,
            )
            for prompt, turn in self.asked()
        ]

    def asked(self) -> list[tuple[Prompt, int]]:
        """What is asked once the memory is written, each with the number of updates before: every question of the
        final memory, then the early ones."""
        last = len(self.updates)
        turns = [(question, last) for question in self.questions]
        if self.task.memory.answer_at_evidence:
            turns += [
                (question, question.evidence_turn + 1)
                for question in self.questions
                if question.evidence_turn is not None and question.evidence_turn + 1 < last
            ]
        return [(self.from_memory(question, turn), turn) for question, turn in turns]

    def from_memory(self, question: Prompt, turn: int) -> Prompt:
        memory = self.updates[turn - 1].memory
        return replace(question, token_ids=self.task.writer.prompts.answer(memory, question.token_ids))

    def observe(self, completions: Sequence[Completion]) -> None:
        if len(self.updates) == len(self.chunks):
            self.completions = completions
            return
        (completion,) = completions
        chunk, prompt_ids = self.chunks[len(self.updates)], self.update_request().prompt_ids
        self.updates.append(self.task.writer.updated(prompt_ids, chunk, self.memory, completion))

    def attempts(self) -> Sequence[Attempt]:
        assert self.completions is not None, "the episode is not over"
        return [
            self.task.attempt(prompt, completion)
            for (prompt, _), completion in zip(self.asked(), self.completions, strict=True)
        ]

    def rollout(self, scores: Sequence[Score]) -> Rollout:
        assert self.completions is not None, "the episode is not over"
        answers = [
            Answer(
                prompt=prompt,
                sibling=self.sibling,
                completion=completion,
                text=attempt.text,
                score=score,
                turn=turn,
            )
            for (prompt, turn), completion, attempt, score in zip(
                self.asked(), self.completions, self.attempts(), scores, strict=True
            )
        ]
        num_final = len(self.questions)
        return Rollout(
            updates=tuple(self.updates),
            answers=tuple(answers[:num_final]),
            early_answers=tuple(answers[num_final:]),
        )
