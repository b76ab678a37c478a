"""What of a context stays when it is too long. Whole messages go, never a system line; a message that is longer than
the room for all of them is cut inside, so that something of every context stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from rft.data.chat_template import ChatParts, ChatTemplate, TokenArray
from rft.data.closing import Asking
from rft.data.prompts import CUT_MARK
from rft.records import Message

TruncationPolicy = Literal["truncate_middle", "truncate_oldest"]

LEAST_PART = 16
"""Tokens. A part of a message that would have fewer is left out."""


class DoesNotFitError(ValueError):
    """Beside a question there is no room for anything of its context; the message has the numbers, without the place
    and without a remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncated:
    """A context that fits, with the tokens of its shared part."""

    parts: ChatParts
    token_ids: TokenArray
    tail_lengths: list[int]
    num_dropped: int
    """Messages left out."""
    num_cut: int
    """Messages that are there in part."""
    messages: list[Message]
    """Those that stay, whole or cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """How much of a message stays: tokens of its beginning and of its end.

    Example:
        Part(first=0, last=212)
    """

    first: int
    last: int

    def less(self, tokens: int) -> Part:
        """A part that is smaller by a number of tokens, of beginning and end alike."""
        of_end = min(self.last, -(-tokens * self.last // max(1, self.first + self.last)))
        return Part(first=max(0, self.first - (tokens - of_end)), last=self.last - of_end)


def truncate(
    chat: ChatTemplate,
    messages: Sequence[Message],
    questions: Sequence[Asking],
    num_context_tokens: int,
    limit: int,
    policy: TruncationPolicy,
) -> Truncated:
    """Leaves out messages until the context and the longest of `questions` fit `limit` tokens.

    `num_context_tokens` is what all of `messages` come to. A message's tokens are estimated from its text alone, so now
    and then one message more is left out than necessary.

    Raises:
        DoesNotFitError: nothing fits beside the questions but the system lines, or not even those.
    """
    costs = message_costs(chat, messages, num_context_tokens)
    keep: dict[int, Part | None] = dict.fromkeys(range(len(messages)))
    while (excess := (found := lay_out(chat, messages, keep, questions)).num_tokens - limit) > 0:
        if all(messages[i].role == "system" for i in keep):
            raise DoesNotFitError(f"a question and the system line alone have {found.num_tokens} tokens")
        keep = dict.fromkeys(kept_messages(messages, costs, sum(costs[i] for i in keep) - excess, policy))
    parts = parts_to_keep(messages, costs, list(keep), -excess, policy)
    while parts:
        cut = lay_out(chat, messages, {**keep, **parts}, questions)
        if (excess := cut.num_tokens - limit) <= 0:
            return truncated(cut, messages, num_cut=len(parts))
        shorter = {i: part.less(-(-excess // len(parts))) for i, part in parts.items()}
        parts = {i: part for i, part in shorter.items() if part.first + part.last > 0}
    if all(messages[i].role == "system" for i in keep):
        raise DoesNotFitError(
            f"a question and the system line have {found.num_tokens} tokens, so that nothing of the context fits"
        )
    return truncated(found, messages, num_cut=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A choice of messages as tokens."""

    messages: list[Message]
    parts: ChatParts
    token_ids: TokenArray
    tail_lengths: list[int]

    @property
    def num_tokens(self) -> int:
        """Of the longest prompt."""
        return len(self.token_ids) + max(self.tail_lengths)


def lay_out(
    chat: ChatTemplate, messages: Sequence[Message], keep: Mapping[int, Part | None], questions: Sequence[Asking]
) -> Layout:
    """The messages whose indices are in `keep`, whole or in part, in order, and the questions."""
    chosen = [in_part(chat, messages[i], keep[i]) for i in sorted(keep)]
    parts = chat.split(chosen)
    token_ids, *tails = chat.encode([parts.history, *(parts.tail(question) for question in questions)])
    return Layout(messages=chosen, parts=parts, token_ids=token_ids, tail_lengths=[len(tail) for tail in tails])


def in_part(chat: ChatTemplate, message: Message, part: Part | None) -> Message:
    if part is None:
        return message
    beginning, end = chat.ends(message.content, part.first, part.last)
    return replace(message, content=" ".join(text for text in (beginning, CUT_MARK, end) if text))


def truncated(found: Layout, messages: Sequence[Message], num_cut: int) -> Truncated:
    return Truncated(
        parts=found.parts,
        token_ids=found.token_ids,
        tail_lengths=found.tail_lengths,
        num_dropped=len(messages) - len(found.messages),
        num_cut=num_cut,
        messages=found.messages,
    )


def parts_to_keep(
    messages: Sequence[Message], costs: Sequence[int], keep: Sequence[int], left: int, policy: TruncationPolicy
) -> dict[int, Part]:
    """The messages beside the gap that are longer than all the room there is, and how much of each fits into `left`
    tokens: with `truncate_oldest` the end of the last one, with `truncate_middle` the beginning of the first one, too.

    Where nothing but system lines is in `keep`, a message counts as longer than the room whatever its estimate says.
    """
    gone = sorted(
        {*range(len(messages))} - {*keep} - {i for i, message in enumerate(messages) if message.role == "system"}
    )
    others = [i for i in keep if messages[i].role != "system"]
    room = sum(costs[i] for i in others) + left
    if not gone:
        return {}
    begins = [gone[0]] if policy == "truncate_middle" and (costs[gone[0]] > room or not others) else []
    ends = [gone[-1]] if costs[gone[-1]] > room or not others else []
    share = left // max(1, len(begins) + len(ends))
    if share < LEAST_PART:
        return {}
    return {i: Part(first=share * (i in begins), last=share * (i in ends)) for i in {*begins, *ends}}


def message_costs(chat: ChatTemplate, messages: Sequence[Message], num_context_tokens: int) -> list[int]:
    """Estimated tokens of each message: its content and an equal share of the template's own tokens."""
    contents = [len(ids) for ids in chat.encode([chat.quote(message.content) for message in messages])]
    overhead = max(0, -(-(num_context_tokens - sum(contents)) // max(1, len(messages))))
    return [tokens + overhead for tokens in contents]


def kept_messages(
    messages: Sequence[Message], costs: Sequence[int], budget: int, policy: TruncationPolicy
) -> list[int]:
    """Indices of the messages to keep, in order, at an estimated cost of at most `budget` tokens.

    System messages always stay. `truncate_oldest` keeps the end of the context. `truncate_middle` gives half of the
    budget to its beginning and what is then left to its end.
    """
    system = [i for i, message in enumerate(messages) if message.role == "system"]
    others = [i for i, message in enumerate(messages) if message.role != "system"]
    budget -= sum(costs[i] for i in system)
    if sum(costs[i] for i in others) <= budget:
        return list(range(len(messages)))
    first = num_fitting([costs[i] for i in others], budget // 2) if policy == "truncate_middle" else 0
    rest = others[first:]
    left = budget - sum(costs[i] for i in others[:first])
    last = num_fitting([costs[i] for i in reversed(rest)], left)
    return sorted([*system, *others[:first], *rest[len(rest) - last :]])


def num_fitting(costs: Sequence[int], budget: int) -> int:
    """How many of the leading `costs` sum to at most `budget`."""
    return int(np.searchsorted(np.cumsum(costs), budget, side="right"))
