"""The one interface of every task: an episode asks the engine for turns until it has none left.

A multiple-choice question asks once. A memory asks once per chunk, and then once per question. The loop that
serves them (rollout/collect.py) does not know the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rft.types import Completion, Rollout, TurnRequest


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
