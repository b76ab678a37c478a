"""What a trainer knows of one server while a call is under way."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

from rft.records import Completion
from rft.serving.client import Server
from rft.serving.deal import Family


@dataclass(kw_only=True)
class Post:
    """What this trainer knows of one server."""

    server: Server
    up: bool = True
    version: str = ""
    """What it called its weights when it was last found to have the present ones."""
    waiting: deque[Family] = field(default_factory=deque)
    """Not asked yet."""
    asked: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    """Requests that are under way, by their place."""
    unconfirmed: dict[int, tuple[Completion, int]] = field(default_factory=dict)
    """Answers, and their tokens from the cache, since the server was last seen with `version`."""
    confirming: asyncio.Task[None] | None = None
    heard_at: float = field(default_factory=time.monotonic)
    strikes: int = 0
    """How often it was lost since it last gave an answer that counts."""

    def load(self) -> int:
        return sum(family.work for family in self.waiting)

    def leave(self) -> list[int]:
        """Everything it has and has not answered for good, which it loses."""
        for task in self.asked.values():
            task.cancel()
        places = [*self.asked, *self.unconfirmed, *(place for family in self.waiting for place in family.places)]
        self.asked.clear()
        self.unconfirmed.clear()
        self.waiting.clear()
        return places
