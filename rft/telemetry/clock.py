"""Seconds spent in the phases of a step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rft import progress


class Clock:
    """Measures named phases since the last `restart`."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forgets what was measured: what happened between two steps belongs to neither."""
        self.seconds: dict[str, float] = {}
        self.started = time.perf_counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            with progress.phase(name):
                yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin

    def times(self) -> dict[str, float]:
        """`time/<phase>_s` of every phase."""
        return {f"time/{name}_s": seconds for name, seconds in self.seconds.items()}

    def elapsed(self) -> float:
        """Seconds since the last `restart`."""
        return time.perf_counter() - self.started
