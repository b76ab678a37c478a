"""Which messages of a context stay when it is too long. Whole messages go, never a part of one, never a system line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rft.data.chat_template import ChatParts, ChatTemplate, TokenArray
from rft.records import Message

TruncationPolicy = Literal["truncate_middle", "truncate_oldest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncated:
    """A context that fits, with the tokens of its shared part."""

    parts: ChatParts
    token_ids: TokenArray
    tail_lengths: list[int]
    num_dropped: int
    """Messages left out."""
    messages: list[Message]
    """Those that stay."""


def truncate(
    chat: ChatTemplate,
    messages: Sequence[Message],
    questions: Sequence[str],
    num_context_tokens: int,
    limit: int,
    policy: TruncationPolicy,
) -> Truncated | None:
    """Drops messages until the context and the longest of `questions` fit `limit` tokens.

    `num_context_tokens` is what all of `messages` come to. None when the questions do not fit even next to nothing
    but the system lines. A message's tokens are estimated from its text alone, so now and then one message more is
    dropped than necessary.
    """
    costs = message_costs(chat, messages, num_context_tokens)
    keep = list(range(len(messages)))
    while True:
        parts = chat.split([messages[i] for i in keep])
        token_ids, *tails = chat.encode([parts.history, *(parts.tail(question) for question in questions)])
        tail_lengths = [len(tail) for tail in tails]
        excess = len(token_ids) + max(tail_lengths) - limit
        if excess <= 0:
            return Truncated(
                parts=parts,
                token_ids=token_ids,
                tail_lengths=tail_lengths,
                num_dropped=len(messages) - len(keep),
                messages=[messages[i] for i in keep],
            )
        if all(messages[i].role == "system" for i in keep):
            return None
        keep = kept_messages(messages, costs, sum(costs[i] for i in keep) - excess, policy)


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
