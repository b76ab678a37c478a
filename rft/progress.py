"""What this process is doing, for whoever watches it: the phase it is in, and a count that grows with every piece of
work. One process does one thing at a time, so there is one of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """Example: Progress(phase="update", step=12, moves=310)"""

    phase: str = "start"
    step: int = 0
    """Optimizer steps taken."""
    moves: int = 0
    """Pieces of work done: phases begun, engine steps, micro-batches, files written."""
    moved_at: float = field(default_factory=time.monotonic)
    """When `moves` last grew, by this machine's monotonic clock."""


PROGRESS = Progress()


def moved() -> None:
    """A piece of work is done."""
    PROGRESS.moves += 1
    PROGRESS.moved_at = time.monotonic()


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Everything inside belongs to a phase; afterwards the process is in the one before."""
    before, PROGRESS.phase = PROGRESS.phase, name
    moved()
    try:
        yield
    except BaseException:
        raise  # the phase stays: whoever reports the fault says where it happened
    else:
        PROGRESS.phase = before
        moved()
