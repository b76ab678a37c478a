"""What was spent, what the requests on their way may cost at most, and whether there is room for one more."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from rft.chat.endpoint import ChatReply
from rft.chat.failures import PASSING_FAILURES, ReplyFailure
from rft.making.calls import CallRow
from rft.making.config import BudgetConfig, ModelSource
from rft.records import Message

BYTES_PER_TOKEN = 2
"""Of a prompt in UTF-8, reckoned before it is sent: tokenizers of today make fewer tokens of any language's texts."""
SCHEMA_BYTES_PER_TOKEN = 4
TOKENS_PER_PRICE = 1e6

NOT_CHARGED = PASSING_FAILURES | {ReplyFailure.REFUSED_REQUEST, ReplyFailure.OVER_CONTEXT_LENGTH}
"""Nothing was written."""


def cost_of(source: ModelSource, prompt_tokens: int, completion_tokens: int) -> float:
    """In the money of the model's prices."""
    return (source.price_in * prompt_tokens + source.price_out * completion_tokens) / TOKENS_PER_PRICE


class Unfinished(Exception):
    """The run stops here, and the same command continues: one line."""


class Spending:
    """What was spent, and whether one more request may be sent.

    Args:
        models: for their prices.
    """

    def __init__(self, config: BudgetConfig, models: dict[str, ModelSource]) -> None:
        self.config = config
        self.models = models
        self.changed = threading.Condition()
        self.cost = 0.0
        self.tokens = 0
        self.held_cost = 0.0
        self.held_tokens = 0
        self.num_held = 0

    def hold(self, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Keeps what a request may cost at most; waits where requests on their way may turn out to cost less.

        Raises:
            Unfinished: there is not so much left.
        """
        cost, tokens = cost_of(self.models[model], prompt_tokens, completion_tokens), prompt_tokens + completion_tokens
        with self.changed:
            while problem := self._too_much(cost, tokens):
                if not self.num_held:
                    raise Unfinished(problem)
                self.changed.wait()
            self.num_held += 1
            self.held_cost += cost
            self.held_tokens += tokens

    def _too_much(self, cost: float, tokens: int) -> str | None:
        limits = [
            ("max_cost", self.config.max_cost, self.cost + self.held_cost + cost, self.cost),
            ("max_tokens", self.config.max_tokens, self.tokens + self.held_tokens + tokens, self.tokens),
        ]
        for key, most, would_be, spent in limits:
            if most is not None and would_be > most:
                return (
                    f"budget.{key} = {most:,} leaves no room for one more request ({spent:,.6g} spent); raise it, and "
                    "the same command continues"
                )
        return None

    def settle(self, model: str, held: tuple[int, int], spent: tuple[int, int]) -> None:
        """The request is over: what was held for it is free, and what it cost is spent; tokens of prompt and reply."""
        with self.changed:
            self.num_held -= 1
            self.held_cost -= cost_of(self.models[model], *held)
            self.held_tokens -= sum(held)
            self._add(model, spent)
            self.changed.notify_all()

    def add(self, row: CallRow) -> None:
        with self.changed:
            self._add(row.model, (row.prompt_tokens, row.completion_tokens))

    def _add(self, model: str, spent: tuple[int, int]) -> None:
        self.cost += cost_of(self.models[model], *spent)
        self.tokens += sum(spent)


def most_prompt_tokens(messages: Sequence[Message], options: Mapping[str, Any]) -> int:
    """Of the messages, and of the schema, which endpoints count among them."""
    told = sum(len(message.content.encode()) for message in messages)
    return told // BYTES_PER_TOKEN + len(json.dumps(dict(options))) // SCHEMA_BYTES_PER_TOKEN + 20


def charged_tokens(reply: ChatReply, held: tuple[int, int], source: ModelSource) -> tuple[int, int]:
    """Tokens of prompt and reply. What an endpoint does not count is reckoned, rather too high than too low.

    Args:
        held: the most that they can be.
    """
    prompt, written = reply.prompt_tokens, reply.completion_tokens
    if reply.failure in NOT_CHARGED or (prompt and not reply.text):
        return prompt, written
    reckoned = held[1] if reply.cut_off else len(reply.text.encode()) // BYTES_PER_TOKEN + source.thought_tokens
    return prompt or held[0], written or min(held[1], reckoned)
