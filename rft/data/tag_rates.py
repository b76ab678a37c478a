"""How often a pilot of a question was mixed, by the question's tags: what tells which questions still teach.

A success rate does not say it: a tag with half of its answers right may be half easy questions and half impossible
ones, all of which are unanimous.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

FORGET = 0.9
"""What a batch's counts are worth one batch later: the policy changes, and the last ten batches or so count."""
PRIOR = 8.0
"""A tag begins with the overall rate, as firmly as after so many pilots."""


class TagRates:
    """Discounted counts of pilots, and of mixed ones, overall and for each `tag=value`."""

    def __init__(self) -> None:
        self.asked: dict[str, float] = {}
        self.mixed: dict[str, float] = {}

    def add(self, pilots: Iterable[tuple[Mapping[str, str], bool]]) -> None:
        """The pilots of one batch: the tags of each question, and whether its siblings differed."""
        for counts in (self.asked, self.mixed):
            for key in counts:
                counts[key] *= FORGET
        for tags, mixed in pilots:
            for key in ("", *keys(tags)):
                self.asked[key] = self.asked.get(key, 0.0) + 1
                self.mixed[key] = self.mixed.get(key, 0.0) + mixed

    def overall(self) -> float:
        """The expected share of mixed pilots, in (0, 1); one half before anything is known."""
        return (self.mixed.get("", 0.0) + 1) / (self.asked.get("", 0.0) + 2)

    def expected(self, tags: Mapping[str, str]) -> float:
        """That of a question with these tags: the mean over its tags of their smoothed rates."""
        overall = self.overall()
        rates = [
            (self.mixed.get(key, 0.0) + PRIOR * overall) / (self.asked.get(key, 0.0) + PRIOR) for key in keys(tags)
        ]
        return sum(rates) / len(rates) if rates else overall

    def state(self) -> dict[str, Any]:
        """For a checkpoint: plain values."""
        return {"asked": self.asked, "mixed": self.mixed}

    def load(self, state: dict[str, Any]) -> None:
        self.asked, self.mixed = dict(state["asked"]), dict(state["mixed"])


def keys(tags: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in tags.items()]
