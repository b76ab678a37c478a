"""A split whose contexts are read in chunks: questions without their context, and the chunks on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from tqdm.auto import tqdm

from rft.config import Config
from rft.data.chat_template import ChatTemplate
from rft.data.chunks import Chunk, cut_chunks, last_message_of, turn_that_reads
from rft.data.contexts import Tally, by_context, read_context
from rft.data.dataset import Dataset, content_fingerprint, context_digest
from rft.data.memory_prompts import MemoryPrompts
from rft.data.prepare import rows_skipped
from rft.data.prompts import Wording, shown_order
from rft.records import Context, Message, Prompt, Question


class ChunkedContexts:
    """The contexts of a data set in chunks, read when asked for; `load` reads one by its id."""

    def __init__(self, load: Callable[[str], Context], chat: ChatTemplate, chunk_tokens: int) -> None:
        self.load = load
        self.chat = chat
        self.chunk_tokens = chunk_tokens
        # Questions of one context come next to each other, and siblings ask for the same one.
        self.read = lru_cache(maxsize=64)(self._read)

    def chunks(self, context_id: str) -> list[Chunk]:
        return self.read(context_id)[1]

    def evidence_turn(self, question: Question) -> int | None:
        """The update, from 0, after which the question's evidence has been read; None where it is not there."""
        messages, chunks = self.read(question.context_id)
        last = last_message_of(question.evidence, messages)
        return None if last is None else turn_that_reads(last, chunks)

    def _read(self, context_id: str) -> tuple[Sequence[Message], list[Chunk]]:
        context = self.load(context_id)
        try:
            return context.messages, cut_chunks(context.messages, self.chat, self.chunk_tokens)
        except ValueError as error:
            raise ValueError(f"{context_id}: {error}") from None


class MemorySplit:
    """The questions of a split; see `rft.tasks.task.PromptSplit`.

    `prompt(index, order)` is the question alone: the memory comes before it once it is written.

    Args:
        questions: in the data set's order.
        contexts: where their chunks come from.
        option_order: the evaluation's order of a question's options.
        wording: how a question is asked.
        manifest: what was read and left out.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        contexts: ChunkedContexts,
        *,
        option_order: Callable[[Question], tuple[int, ...]],
        wording: Wording,
        manifest: dict[str, Any],
    ) -> None:
        self.questions = list(questions)
        self.contexts = contexts
        self.manifest = manifest
        self.option_order = option_order
        self.wording = wording
        self._footer = contexts.chat.split([Message(role="system", content=wording.system_prompt or "")]).footer

    def __len__(self) -> int:
        return len(self.questions)

    def eval_order(self, index: int) -> tuple[int, ...]:
        """The order in which an evaluation shows the options of question `index`."""
        return self.option_order(self.questions[index])

    def question_ids(self, index: int, option_order: Sequence[int]) -> tuple[int, ...]:
        """The tokens of a question that come behind the memory."""
        chat = self.contexts.chat
        text = chat.quote(self.wording.ask(self.questions[index], option_order)) + self._footer
        return tuple(chat.encode([text])[0].tolist())

    def prompt(self, index: int, option_order: Sequence[int]) -> Prompt:
        question = self.questions[index]
        return Prompt(
            question=question,
            token_ids=self.question_ids(index, option_order),
            num_context_tokens=0,
            option_order=shown_order(self.wording, question, option_order),
            evidence_turn=self.contexts.evidence_turn(question),
        )


def load_memory_split(
    config: Config, dataset: Dataset, contexts: ChunkedContexts, wording: Wording, name: str
) -> MemorySplit:
    """Reads split `name`: every row and every context is checked, none is tokenised yet.

    Raises:
        ValueError: a source, file or row that cannot be used, with `bad_rows: error`.
    """
    dataset.check_split(name)
    split = dataset.split(name)
    groups = by_context(split.questions)
    tally = Tally()
    kept: set[str] = set()
    digests: list[str] = []
    for group in tqdm(groups.values(), desc=f"read {name}", unit="context", disable=len(groups) < 500):
        context, questions = read_context(dataset, config.data.bad_rows, group, tally)
        kept.update(question.question_id for question in questions)
        digests += [context_digest(context)] if context is not None else []
    tally.warn()
    questions = [question for question in split.questions if question.question_id in kept]
    if not questions:
        raise ValueError(f"no question of the {name} split is left: {dict(tally.bad_rows)}; correct the data")
    manifest = {
        "split": split.name,
        "num_questions": len(questions),
        "num_contexts": len({question.context_id for question in questions}),
        **split.manifest,
        "fingerprint": content_fingerprint(questions, digests),
        "rows_skipped": rows_skipped(split, tally),
    }
    return MemorySplit(questions, contexts, option_order=dataset.option_order, wording=wording, manifest=manifest)


def check_prompt_lengths(config: Config, prompts: MemoryPrompts, split: MemorySplit) -> None:
    """Refuses a window that the longest update or answer could leave."""
    chunk = Chunk(text="", token_ids=(0,) * config.memory.chunk_tokens, first=0, last=0)
    longest = max(len(split.question_ids(index, split.eval_order(index))) for index in range(len(split)))
    queries = split.questions if config.memory.query_aware else []
    needed = {
        "an update": config.memory.max_memory_tokens
        + max(len(prompts.update(chunk, "", query)) for query in [None, *(question.query for question in queries)]),
        "an answer": config.memory.max_memory_tokens + len(prompts.answer("", ())) + longest,
    }
    for what, tokens in needed.items():
        if tokens > config.data.max_prompt_length:
            raise ValueError(
                f"the prompt of {what} can have {tokens} tokens, data.max_prompt_length is "
                f"{config.data.max_prompt_length}; raise it, or lower memory.chunk_tokens or memory.max_memory_tokens"
            )
