"""From the reply to an update to the memory it holds, or the reason why it holds none."""

from __future__ import annotations

from collections.abc import Sequence

from rft.plain_text import without_control_sequences, without_half_surrogates
from rft.records import UpdateFailure
from rft.reward.thoughts import split_thought, tags_in
from rft.tasks.nothing_to_note import says_nothing
from rft.tasks.refusals import refuses


def read_memory(
    text: str, *, cut_off: bool, markers: Sequence[str], thought_open: bool = False
) -> tuple[str, UpdateFailure | None]:
    """The memory in a reply, and why it cannot be used; its length is for the caller to check.

    A thought before it is not part of the memory (reward/thoughts.py); control sequences and halves of surrogate pairs
    are taken out.

    Args:
        text: the reply, special tokens written out, without the one that ends it.
        cut_off: the reply reached its limit, so its end is missing.
        markers: the tokenizer's special tokens as text; none may stand in a memory.
        thought_open: the chat template has opened the thought already.
    """
    text = clean_memory(text)
    _, answer = split_thought(text, thought_open=thought_open)
    memory = (text if answer is None else answer).strip()
    if cut_off:
        return memory, UpdateFailure.TOO_LONG
    if answer is None or any(marker in memory for marker in markers) or any(tags_in(memory)):
        return memory, UpdateFailure.TAGS
    # The bare word is what the demo's small model is taught to write for no notes (cold_start/memory_traces.py).
    if not memory or (says_nothing(memory) and memory != "nothing"):
        return memory, UpdateFailure.EMPTY
    if refuses(memory):
        return memory, UpdateFailure.REFUSAL
    return memory, None


def clean_memory(text: str) -> str:
    """A memory as it may be stored: no byte order mark, no control sequence, no half of a surrogate pair."""
    return without_half_surrogates(without_control_sequences(text))[0].replace("\ufeff", "")
