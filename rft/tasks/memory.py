"""Agentic memory: a history is read chunk by chunk, after each chunk the memory is written anew, and questions are
answered from the memory alone.

    M_k = f(chunk_k, M_{k-1})

No question is in it (unless `memory.query_aware`), so one memory serves all questions of a person. The chunk stands
before the memory in the prompt: siblings differ in their memories and share the chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from transformers import PreTrainedTokenizerBase

from rft.config import Config, MemoryConfig
from rft.data.chat_template import ChatTemplate
from rft.data.chunks import Chunk
from rft.data.memory_prompts import MemoryPrompts
from rft.records import Completion, MemoryUpdate, Prompt, Rollout, TurnRequest, UpdateFailure
from rft.tasks.mcq import McqTask
from rft.tasks.memory_text import read_memory
from rft.tasks.task import SeedOf

ChunksOf = Callable[[str], Sequence[Chunk]]
"""The chunks of a history, by its id."""


class MemoryWriter:
    """Asks for a memory and reads the reply: the part that training and everyday use share."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: MemoryConfig) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.prompts = MemoryPrompts(ChatTemplate(tokenizer))
        self.markers = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        self.thought_open = self.prompts.footer.rstrip().endswith("<think>")

    def updated(self, prompt_ids: tuple[int, ...], chunk: Chunk, before: str, completion: Completion) -> MemoryUpdate:
        """The memory after a reply; where the reply cannot be used, the memory `before` stays."""
        text = self.written_out(completion)
        memory, failure = self.read(text, cut_off=completion.finish_reason == "length")
        memory = before if failure else memory
        return MemoryUpdate(
            prompt_ids=prompt_ids,
            completion=completion,
            memory=memory,
            failure=failure,
            num_memory_tokens=self.num_tokens(memory),
            num_chunk_tokens=len(chunk.token_ids),
        )

    def read(self, text: str, *, cut_off: bool) -> tuple[str, UpdateFailure | None]:
        """`read_memory` and the limit on the memory's length."""
        memory, failure = read_memory(text, cut_off=cut_off, markers=self.markers, thought_open=self.thought_open)
        if failure is None and self.num_tokens(memory) > self.config.max_memory_tokens:
            failure = UpdateFailure.TOO_LONG
        return memory, failure

    def num_tokens(self, memory: str) -> int:
        return len(self.prompts.ids(memory)[0])

    def written_out(self, completion: Completion) -> str:
        """The reply with its special tokens, but without the one that ended it."""
        ids = completion.token_ids[:-1] if completion.finish_reason == "stop" else completion.token_ids
        return str(self.tokenizer.decode(ids, skip_special_tokens=False))


class MemoryTask:
    """Makes episodes; see `rft.tasks.task.Task`.

    Args:
        tokenizer: encodes memories, decodes replies.
        config: of the run; `memory`, `reward` and `rollout` are used.
        chunks_of: the chunks of a history.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: Config, chunks_of: ChunksOf) -> None:
        self.tokenizer = tokenizer
        self.config = config.memory
        self.writer = MemoryWriter(tokenizer, config.memory)
        self.mcq = McqTask(tokenizer, config.reward, config.rollout.max_completion_length)
        self.chunks_of = chunks_of

    def units(self, prompts: Sequence[Prompt]) -> list[list[Prompt]]:
        """Questions of one history that follow each other; with `query_aware` each question by itself."""
        if self.config.query_aware:
            return [[prompt] for prompt in prompts]
        return [list(run) for _, run in groupby(prompts, key=lambda prompt: prompt.history_id)]

    def episode(self, unit: Sequence[Prompt], sibling: int, seed_of: SeedOf) -> MemoryEpisode:
        """One memory of one person, and the answers from it."""
        return MemoryEpisode(
            task=self, questions=unit, sibling=sibling, seed_of=seed_of, chunks=self.chunks_of(unit[0].history_id)
        )


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
        query = first.query if self.task.config.query_aware else None
        return TurnRequest(
            prompt_ids=self.task.writer.prompts.update(self.chunks[turn], self.memory, query),
            seed=self.seed_of(f"{first.question_id}/update/{turn}"),
            max_tokens=self.task.config.max_update_length,
        )

    def answer_requests(self) -> Sequence[TurnRequest]:
        return [
            TurnRequest(
                prompt_ids=prompt.token_ids,
                seed=self.seed_of(f"{prompt.question_id}/{turn}"),
                max_tokens=self.task.mcq.max_completion_length,
            )
            for prompt, turn in self.asked()
        ]

    def asked(self) -> list[tuple[Prompt, int]]:
        """What is asked once the memory is written, each with the number of updates before: every question of the
        final memory, then the early ones."""
        last = len(self.updates)
        turns = [(question, last) for question in self.questions]
        if self.task.config.answer_at_evidence:
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

    def rollout(self) -> Rollout:
        assert self.completions is not None, "the episode is not over"
        answers = [
            self.task.mcq.scored(prompt, self.sibling, completion, turn)
            for (prompt, turn), completion in zip(self.asked(), self.completions, strict=True)
        ]
        num_final = len(self.questions)
        return Rollout(
            updates=tuple(self.updates),
            answers=tuple(answers[:num_final]),
            early_answers=tuple(answers[num_final:]),
        )
