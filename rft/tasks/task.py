"""The one interface of every task: an episode asks the engine for turns until it has none left.

A multiple-choice question asks once. A memory asks once per chunk, and then once per question. The loop that
serves them (rollout/collect.py) does not know the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from rft.records import Completion, Prompt, Rollout, TurnRequest

SeedOf = Callable[[str], int]
"""The sampling seed of a turn, by a name that is unique within the episode's batch and sibling."""


class Episode(Protocol):
    """One rollout in progress."""

    def requests(self) -> Sequence[TurnRequest]:
        """What to ask next; empty when the episode is over. Asking twice without `observe` gives the same."""
        ...

    def observe(self, completions: Sequence[Completion]) -> None:
        """Takes the replies to the last `requests`, in their order."""
        ...

    def rollout(self) -> Rollout:
        """The finished, scored rollout; an episode that is not over has none (AssertionError)."""
        ...


class Task(Protocol):
    """A way to ask questions."""

    tokenizer: PreTrainedTokenizerBase

    def units(self, prompts: Sequence[Prompt]) -> list[list[Prompt]]:
        """The prompts, in order, cut into those that one episode answers."""
        ...

    def episode(self, unit: Sequence[Prompt], sibling: int, seed_of: SeedOf) -> Episode:
        """One sibling of a unit."""
        ...
