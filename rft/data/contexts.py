"""From contexts to token ids, under the length policy: each context read, rendered and tokenised once.

The tokenizer works in a thread, on all cores and without holding the interpreter, while the next contexts are read.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from rft.config import DataConfig
from rft.data.chat_template import ChatParts, ChatTemplate, TokenArray
from rft.data.chunks import last_message_of
from rft.data.dataset import Dataset, RecordError, check_cluster, context_digest
from rft.data.prompts import Wording, context_messages
from rft.data.truncation import DoesNotFitError, Truncated, TruncationPolicy, truncate
from rft.records import Context, Message, Question

CONTEXTS_PER_CALL = 32
"""Contexts handed to the tokenizer at a time: enough for every core, 4 million tokens at 128k."""

NUM_CHECKED = 3
"""Contexts for which the joined tokens are compared with the whole chat tokenised at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizedContext:
    """A context as token ids, and the questions that follow it.

    Example:
        TokenizedContext(context_id="h1", questions=[question], parts=ChatParts(...), token_ids=array([1, 5]),
                         tail_lengths=[212], digest="9f86d0...")
    """

    context_id: str
    questions: list[Question]
    parts: ChatParts
    token_ids: TokenArray
    tail_lengths: list[int]
    """Tokens of each question's tail, in the evaluation's option order."""
    digest: str
    """`context_digest` of the whole context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What was left out or looked odd, by reason."""

    bad_rows: Counter[str] = field(default_factory=Counter)
    """Questions whose context cannot be used."""
    too_long: Counter[str] = field(default_factory=Counter)
    """What the length policy did."""
    odd_contexts: Counter[str] = field(default_factory=Counter)
    """Contexts that are used although something about them is odd."""
    notes: list[str] = field(default_factory=list)
    """One line per odd context."""

    def warn(self, file: str = "manifest.json") -> None:
        """Says the first note, and in which file all of them are."""
        if self.notes:
            more = f" (and {len(self.notes) - 1} more, see {file})" if len(self.notes) > 1 else ""
            warnings.warn(f"{self.notes[0]}{more}", stacklevel=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """How contexts and questions of one data set become text for one model."""

    data: DataConfig
    dataset: Dataset
    chat: ChatTemplate
    wording: Wording

    def asked(self, question: Question) -> str:
        """The user message that asks a question, its options in the evaluation's order."""
        return self.wording.ask(question, self.dataset.option_order(question))


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedContext:
    """A context as text, before it is tokenised."""

    context_id: str
    messages: list[Message]
    questions: list[Question]
    asked: list[str]
    """The user message of each question."""
    parts: ChatParts
    digest: str

    def tails(self) -> list[str]:
        return [self.parts.tail(asked) for asked in self.asked]


def by_context(questions: Iterable[Question]) -> dict[str, list[Question]]:
    """The questions of each context, contexts in order of first appearance."""
    groups: dict[str, list[Question]] = {}
    for question in questions:
        groups.setdefault(question.context_id, []).append(question)
    return groups


def tokenize_contexts(
    rendering: Rendering, questions: Sequence[Question], tally: Tally
) -> Iterator[list[TokenizedContext]]:
    """The contexts of `questions` in order of first appearance, some at a time; unusable ones are tallied.

    Raises:
        RecordError: a context that cannot be used, with `bad_rows: error`.
        ValueError: a prompt that is too long, with `length_policy: error`; an unfit chat template.
    """
    rendered = render_contexts(rendering, by_context(questions).values(), tally)
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: tuple[list[RenderedContext], Future[list[TokenArray]]] | None = None
        while some := list(islice(rendered, CONTEXTS_PER_CALL)):
            texts = [text for item in some for text in (item.parts.history, *item.tails())]
            encoding = pool.submit(rendering.chat.encode, texts)
            if waiting:
                yield fit_all(rendering, *waiting, tally)
            waiting = some, encoding
        if waiting:
            yield fit_all(rendering, *waiting, tally)


def render_contexts(rendering: Rendering, groups: Iterable[list[Question]], tally: Tally) -> Iterator[RenderedContext]:
    """Reads and renders the context of each group of questions."""
    num_checked = 0
    for group in groups:
        context, questions = read_context(rendering.dataset, rendering.data.bad_rows, group, tally)
        if context is None:
            continue
        messages = context_messages(context, rendering.wording, rendering.data.persona_card)
        asked = [rendering.asked(question) for question in questions]
        if num_checked < NUM_CHECKED:
            rendering.chat.check(messages, asked[0])
            num_checked += 1
        yield RenderedContext(
            context_id=context.context_id,
            messages=messages,
            questions=questions,
            asked=asked,
            parts=rendering.chat.split(messages),
            digest=context_digest(context),
        )


def read_context(
    dataset: Dataset, bad_rows: str, group: list[Question], tally: Tally
) -> tuple[Context | None, list[Question]]:
    """The context that the questions of `group` share, and those of them it belongs to; None when there are none.

    Args:
        bad_rows: `error` or `skip`, as in the config.
    """
    questions: list[Question] = []
    try:
        context = dataset.context(group[0].context_id)
    except RecordError as error:
        if bad_rows == "error":
            raise RecordError(error.reason, f"question {group[0].question_id}: {error.problem}") from None
        tally.bad_rows[error.reason] += len(group)
        return None, questions
    for question in group:
        try:
            check_cluster(context, question)
            questions.append(question)
        except RecordError as error:
            if bad_rows == "error":
                raise
            tally.bad_rows[error.reason] += 1
    tally.odd_contexts.update(context.notes.keys())
    tally.notes.extend(context.notes.values())
    return (context if questions else None), questions


def fit_all(
    rendering: Rendering, rendered: list[RenderedContext], encoding: Future[list[TokenArray]], tally: Tally
) -> list[TokenizedContext]:
    """Puts the tokens back to their contexts and applies the length policy."""
    encoded = iter(encoding.result())
    fitted = []
    for item in rendered:
        token_ids = next(encoded)
        tail_lengths = [len(next(encoded)) for _ in item.questions]
        context = fit(rendering, item, token_ids, tail_lengths, tally)
        if context is not None:
            fitted.append(context)
    return fitted


def fit(
    rendering: Rendering, item: RenderedContext, token_ids: TokenArray, tail_lengths: list[int], tally: Tally
) -> TokenizedContext | None:
    """The context under `data.length_policy`; None when all of its questions are dropped."""
    data, questions, parts = rendering.data, item.questions, item.parts
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
            cut = cut_to_fit(rendering, item, len(token_ids), data.length_policy, questions[at], tally)
            parts, token_ids, tail_lengths = cut.parts, cut.token_ids, cut.tail_lengths
            if data.lost_evidence == "drop":
                kept = [i for i, question in enumerate(questions) if not lost(question, item.messages, cut.messages)]
                tally.too_long["questions_without_evidence"] += len(questions) - len(kept)
                questions, tail_lengths = [questions[i] for i in kept], [tail_lengths[i] for i in kept]
    if not questions:
        return None
    return TokenizedContext(
        context_id=item.context_id,
        questions=questions,
        parts=parts,
        token_ids=token_ids,
        tail_lengths=tail_lengths,
        digest=item.digest,
    )


def cut_to_fit(
    rendering: Rendering,
    item: RenderedContext,
    num_tokens: int,
    policy: TruncationPolicy,
    longest: Question,
    tally: Tally,
) -> Truncated:
    """The context with as much of it as fits beside every one of its questions.

    Args:
        num_tokens: of the whole context.
        longest: the question that an error names.
    """
    limit = rendering.data.max_prompt_length
    try:
        cut = truncate(rendering.chat, item.messages, item.asked, num_tokens, limit, policy)
    except DoesNotFitError as error:
        raise ValueError(
            f"question {longest.question_id}: {error}; data.max_prompt_length is {limit}; raise it"
        ) from None
    tally.too_long.update(
        contexts_truncated=1, questions_truncated=len(item.questions), messages_dropped=cut.num_dropped
    )
    if cut.num_cut:
        tally.too_long["messages_cut"] += cut.num_cut
    return cut


def lost(question: Question, before: Sequence[Message], after: Sequence[Message]) -> bool:
    """Whether cutting a context took a question's evidence away. What was not there, or is not known, is not lost."""
    was_there = last_message_of(question.evidence, before) is not None
    return was_there and last_message_of(question.evidence, after) is None
