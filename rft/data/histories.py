"""From history files to token ids, under the length policy: each history read, rendered and tokenised once.

The tokenizer works in a thread, on all cores and without holding the interpreter, while the next files are read.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from rft.config import DataConfig
from rft.data import prompts
from rft.data.chat_template import ChatParts, ChatTemplate, TokenArray
from rft.data.personamem import RecordError, check_persona, load_history
from rft.data.truncation import truncate
from rft.records import History, Message, Question

CHUNK = 32
"""Histories handed to the tokenizer at a time: enough for every core, 4 million tokens at 128k."""

NUM_CHECKED = 3
"""Histories for which the joined tokens are compared with the whole chat tokenised at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizedHistory:
    """A history as token ids, and the questions that follow it."""

    history_id: str
    questions: list[Question]
    parts: ChatParts
    token_ids: TokenArray
    tail_lengths: list[int]
    """Tokens of each question's tail, in the paper's option order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What was left out or looked odd, by reason."""

    bad_rows: Counter[str] = field(default_factory=Counter)
    """Questions whose history cannot be used."""
    too_long: Counter[str] = field(default_factory=Counter)
    """What the length policy did."""
    odd_histories: Counter[str] = field(default_factory=Counter)
    """Histories that are used although something about them is odd."""
    notes: list[str] = field(default_factory=list)
    """One line per odd history."""

    def warn(self) -> None:
        if self.notes:
            more = f" (and {len(self.notes) - 1} more, see manifest.json)" if len(self.notes) > 1 else ""
            warnings.warn(f"{self.notes[0]}{more}", stacklevel=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedHistory:
    """A history as text, before it is tokenised."""

    history_id: str
    messages: list[Message]
    questions: list[Question]
    parts: ChatParts

    def tails(self) -> list[str]:
        return [self.parts.tail(question_text(question)) for question in self.questions]


def question_text(question: Question) -> str:
    return prompts.question_message(question, prompts.paper_option_order(question.row)).content


def tokenize_histories(
    data: DataConfig, root: Path, questions: Sequence[Question], chat: ChatTemplate, tally: Tally
) -> Iterator[list[TokenizedHistory]]:
    """The histories of `questions` in order of first appearance, in chunks; those that cannot be used are tallied.

    Raises:
        RecordError: a history that cannot be used, with `bad_rows: error`.
        ValueError: a prompt that is too long, with `length_policy: error`; an unfit chat template.
    """
    by_history: dict[str, list[Question]] = {}
    for question in questions:
        by_history.setdefault(question.history_id, []).append(question)
    rendered = render_histories(data, root, by_history.values(), chat, tally)
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: tuple[list[RenderedHistory], Future[list[TokenArray]]] | None = None
        while chunk := list(islice(rendered, CHUNK)):
            texts = [text for item in chunk for text in (item.parts.history, *item.tails())]
            encoding = pool.submit(chat.encode, texts)
            if waiting:
                yield fit_chunk(data, chat, *waiting, tally)
            waiting = chunk, encoding
        if waiting:
            yield fit_chunk(data, chat, *waiting, tally)


def render_histories(
    data: DataConfig, root: Path, groups: Iterable[list[Question]], chat: ChatTemplate, tally: Tally
) -> Iterator[RenderedHistory]:
    """Reads and renders the history of each group of questions."""
    num_checked = 0
    for group in groups:
        history, questions = read_group(data, root, group, tally)
        if history is None:
            continue
        messages = prompts.history_messages(history, data.persona_card)
        if num_checked < NUM_CHECKED:
            chat.check(messages, question_text(questions[0]))
            num_checked += 1
        parts = chat.split(messages)
        yield RenderedHistory(history_id=history.history_id, messages=messages, questions=questions, parts=parts)


def read_group(
    data: DataConfig, root: Path, group: list[Question], tally: Tally
) -> tuple[History | None, list[Question]]:
    """The history that the questions of `group` share, and those of them it belongs to; None when there are none."""
    questions: list[Question] = []
    try:
        history, notes = load_history(root, group[0].history_id)
    except RecordError as error:
        if data.bad_rows == "error":
            raise
        tally.bad_rows[error.reason] += len(group)
        return None, questions
    for question in group:
        try:
            check_persona(history, question.persona_id, f"{question.question_id}, persona_id")
            questions.append(question)
        except RecordError as error:
            if data.bad_rows == "error":
                raise
            tally.bad_rows[error.reason] += 1
    tally.odd_histories.update(notes.keys())
    tally.notes.extend(notes.values())
    return (history if questions else None), questions


def fit_chunk(
    data: DataConfig,
    chat: ChatTemplate,
    chunk: list[RenderedHistory],
    encoding: Future[list[TokenArray]],
    tally: Tally,
) -> list[TokenizedHistory]:
    """Puts the tokens of a chunk back to their histories and applies the length policy."""
    encoded = iter(encoding.result())
    fitted = []
    for item in chunk:
        token_ids = next(encoded)
        tail_lengths = [len(next(encoded)) for _ in item.questions]
        history = fit(data, chat, item, token_ids, tail_lengths, tally)
        if history is not None:
            fitted.append(history)
    return fitted


def fit(
    data: DataConfig,
    chat: ChatTemplate,
    item: RenderedHistory,
    token_ids: TokenArray,
    tail_lengths: list[int],
    tally: Tally,
) -> TokenizedHistory | None:
    """The history under `data.length_policy`; None when all of its questions are dropped."""
    history_id, questions, parts = item.history_id, item.questions, item.parts
    limit = data.max_prompt_length
    at = max(range(len(questions)), key=tail_lengths.__getitem__)
    longest = len(token_ids) + tail_lengths[at]
    if longest > limit:
        if data.length_policy == "error":
            raise ValueError(
                f"the prompt of question {questions[at].question_id} has {longest} tokens, data.max_prompt_length is "
                f"{limit}; raise it, or set data.length_policy to drop, truncate_middle or truncate_oldest"
            )
        if data.length_policy == "drop":
            fitting = [i for i, tail in enumerate(tail_lengths) if len(token_ids) + tail <= limit]
            tally.too_long["questions_dropped"] += len(questions) - len(fitting)
            questions, tail_lengths = [questions[i] for i in fitting], [tail_lengths[i] for i in fitting]
        else:
            texts = [question_text(question) for question in questions]
            cut = truncate(chat, item.messages, texts, len(token_ids), limit, data.length_policy)
            if cut is None:
                raise ValueError(
                    f"question {questions[at].question_id} and the system line alone exceed data.max_prompt_length "
                    f"({limit} tokens); raise it"
                )
            tally.too_long.update(
                histories_truncated=1, questions_truncated=len(questions), messages_dropped=cut.num_dropped
            )
            parts, token_ids, tail_lengths = cut.parts, cut.token_ids, cut.tail_lengths
    if not questions:
        return None
    return TokenizedHistory(
        history_id=history_id, questions=questions, parts=parts, token_ids=token_ids, tail_lengths=tail_lengths
    )
