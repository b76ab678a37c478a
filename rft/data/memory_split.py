"""A split whose histories are read in chunks: questions without their history, and the chunks on demand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from rft.config import Config
from rft.data import personamem, prompts, splits
from rft.data.chat_template import ChatTemplate
from rft.data.chunks import Chunk, cut_chunks, last_message_of, turn_that_reads
from rft.data.histories import Tally, read_group
from rft.data.memory_prompts import MemoryPrompts
from rft.data.splits import SplitName
from rft.records import History, Message, Prompt, Question


class ChunkedHistories:
    """The histories of a data set in chunks, read when asked for; `load` reads one by its id."""

    def __init__(self, load: Callable[[str], History], chat: ChatTemplate, chunk_tokens: int) -> None:
        self.load = load
        self.chat = chat
        self.chunk_tokens = chunk_tokens
        # Questions of one history come next to each other, and siblings ask for the same one.
        self.read = lru_cache(maxsize=64)(self._read)

    def chunks(self, history_id: str) -> list[Chunk]:
        return self.read(history_id)[1]

    def evidence_turn(self, question: Question) -> int | None:
        """The update, from 0, after which the question's evidence has been read; None where it is not there."""
        messages, chunks = self.read(question.history_id)
        last = last_message_of(question.evidence, messages)
        return None if last is None else turn_that_reads(last, chunks)

    def _read(self, history_id: str) -> tuple[Sequence[Message], list[Chunk]]:
        history = self.load(history_id)
        try:
            return history.messages, cut_chunks(history.messages, self.chat, self.chunk_tokens)
        except ValueError as error:
            raise ValueError(f"{history_id}: {error}") from None


class MemorySplit:
    """The questions of a split; same methods as `rft.data.prepare.PreparedSplit`.

    `prompt(index, order)` is the question alone: the memory comes before it once it is written.
    """

    def __init__(self, questions: Sequence[Question], histories: ChunkedHistories, manifest: dict[str, Any]) -> None:
        self.questions = list(questions)
        self.histories = histories
        self.manifest = manifest
        self._footer = histories.chat.split([Message(role="system", content=prompts.SYSTEM_PROMPT)]).footer

    def __len__(self) -> int:
        return len(self.questions)

    def eval_order(self, index: int) -> tuple[int, ...]:
        """The paper's option order of question `index`."""
        return prompts.paper_option_order(self.questions[index].row)

    def question_ids(self, index: int, option_order: Sequence[int]) -> tuple[int, ...]:
        """The tokens of a question that come behind the memory."""
        text = prompts.question_message(self.questions[index], option_order).content + self._footer
        return tuple(self.histories.chat.encode([text])[0].tolist())

    def prompt(self, index: int, option_order: Sequence[int]) -> Prompt:
        question = self.questions[index]
        letters = prompts.LETTERS[: len(option_order)]
        return Prompt(
            question_id=question.question_id,
            persona_id=question.persona_id,
            history_id=question.history_id,
            token_ids=self.question_ids(index, option_order),
            num_history_tokens=0,
            letters=letters,
            gold=prompts.gold_letter(option_order),
            option_order=tuple(option_order),
            pref_type=question.pref_type,
            who=question.who,
            updated=question.updated,
            sensitive=question.sensitive,
            scenario=question.scenario,
            query=question.query,
            evidence_turn=self.histories.evidence_turn(question),
        )


def load_memory_split(config: Config, tokenizer: PreTrainedTokenizerBase, name: SplitName) -> MemorySplit:
    """Reads split `name`: every row and every history is checked, none is tokenised yet.

    Raises:
        ValueError: a source, file or row that cannot be used, with `bad_rows: error`.
    """
    data = config.data
    root = personamem.resolve_source(data.source, data.revision, data.window)
    split = splits.load_split(data, root, name)
    by_history: dict[str, list[Question]] = {}
    for question in split.questions:
        by_history.setdefault(question.history_id, []).append(question)
    tally = Tally()
    kept: set[str] = set()
    for group in tqdm(by_history.values(), desc=f"read {name}", unit="history", disable=len(by_history) < 500):
        _, questions = read_group(data, root, group, tally)
        kept.update(question.question_id for question in questions)
    tally.warn()
    questions = [question for question in split.questions if question.question_id in kept]
    if not questions:
        raise ValueError(f"no question of the {name} split is left: {dict(tally.bad_rows)}; correct the data")
    manifest = {
        "split": split.name,
        "num_questions": len(questions),
        "num_histories": len({question.history_id for question in questions}),
        "csv_rows": split.csv_rows,
        "rows_skipped": dict(sorted((Counter(split.skipped) + tally.bad_rows).items())),
    }
    histories = ChunkedHistories(
        lambda history_id: personamem.load_history(root, history_id)[0],
        ChatTemplate(tokenizer),
        config.memory.chunk_tokens,
    )
    return MemorySplit(questions, histories, manifest)


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
