"""From the reply to an update to the memory it holds, or the reason why it holds none."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rft.records import UpdateFailure

THOUGHT = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
THOUGHT_TAGS = ("<think>", "</think>")

REFUSAL = re.compile(
    r"\s*(i['’]m sorry|i am sorry|sorry,|as an ai\b|as a language model"
    r"|i ?(cannot|can['’]?t|can not|am unable to|['’]m unable to|am not able to|['’]m not able to) "
    r"(help|assist|comply|do (that|this)|provide|continue|write|create|update|store|keep|remember|fulfil))",
    re.IGNORECASE,
)


def read_memory(
    text: str, *, cut_off: bool, markers: Sequence[str], thought_open: bool = False
) -> tuple[str, UpdateFailure | None]:
    """The memory in a reply, and why it cannot be used; its length is for the caller to check.

    A thought at the beginning is not part of the memory.

    Args:
        text: the reply, special tokens written out, without the one that ends it.
        cut_off: the reply reached its limit, so its end is missing.
        markers: the tokenizer's special tokens as text; none may stand in a memory.
        thought_open: the chat template has opened the thought already.
    """
    if thought_open:
        text = THOUGHT_TAGS[0] + text
    memory = THOUGHT.sub("", text, count=1) if THOUGHT.match(text) else text
    memory = memory.strip()
    if cut_off:
        return memory, UpdateFailure.TOO_LONG
    if any(marker in memory for marker in (*markers, *THOUGHT_TAGS)):
        return memory, UpdateFailure.TAGS
    if not memory:
        return memory, UpdateFailure.EMPTY
    if REFUSAL.match(memory):
        return memory, UpdateFailure.REFUSAL
    return memory, None
