"""How many requests an endpoint is asked at once: as many as it can take, found out while it is asked.

Slow start, then additive increase and multiplicative decrease, as TCP does it (RFC 5681): until the first refusal a
reply makes room for one more, afterwards for a fraction of one; a refusal for overload halves the number. What was in
flight when it was halved does not halve it again. Nothing is sent before the time that the endpoint names in
Retry-After.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import openai
from tqdm import tqdm

OVERLOAD_STATUSES = frozenset({429, 503, 529})
FIRST_LIMIT = 4.0
SLOW = 4.0
"""Replies that take so many times as long as the fastest ones are a queue at the endpoint: asking for more at once
would make the queue longer, and finish nothing sooner."""
LONGEST_PAUSE = 600.0
"""Seconds; a Retry-After beyond is waited for in parts, each ended by one attempt."""
LONG_PAUSE = 60.0
"""Seconds; such a wait is said."""


class Gate:
    """Lets attempts through; several threads share one.

    Args:
        most: attempts in flight, never more.
        now: seconds of a clock that never goes back.
    """

    def __init__(self, most: int, now: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.now = now
        self.limit = min(FIRST_LIMIT, float(most))
        self.in_flight = 0
        self.closed_until = 0.0
        self.cut_at = -1.0
        self.usual_s: float | None = None
        """Moving mean of the seconds of a reply."""
        self.fastest_s: float | None = None
        """The least that this mean has been since `forget_times`."""
        self.num_cuts = 0
        self.is_shut = False
        self._changed = threading.Condition()

    def enter(self) -> float:
        """Waits for room; returns when the attempt began.

        Raises:
            KeyboardInterrupt: it is shut.
        """
        with self._changed:
            while True:
                if self.is_shut:
                    raise KeyboardInterrupt
                closed_for = self.closed_until - self.now()
                if closed_for <= 0 and self.in_flight < max(1, int(self.limit)):
                    self.in_flight += 1
                    return self.now()
                self._changed.wait(timeout=closed_for if closed_for > 0 else None)

    def leave(self, began: float, *, overloaded: bool, pause_s: float = 0.0) -> None:
        """The attempt is over.

        Args:
            began: what `enter` returned.
            overloaded: it was refused because there are too many, or got no answer at all.
            pause_s: seconds for which nothing is to be sent.
        """
        with self._changed:
            now = self.now()
            self.in_flight -= 1
            if overloaded:
                if began > self.cut_at:
                    self.limit = max(1.0, self.limit / 2)
                    self.cut_at = now
                    self.num_cuts += 1
            else:
                self._answered(now - began)
            self.closed_until = max(self.closed_until, now + min(pause_s, LONGEST_PAUSE))
            self._changed.notify_all()

    def _answered(self, seconds: float) -> None:
        self.usual_s = seconds if self.usual_s is None else 0.9 * self.usual_s + 0.1 * seconds
        self.fastest_s = self.usual_s if self.fastest_s is None else min(self.fastest_s, self.usual_s)
        if self.usual_s <= SLOW * self.fastest_s:
            self.limit = min(float(self.most), self.limit + (1 / self.limit if self.num_cuts else 1.0))
        else:
            self.limit = max(1.0, self.limit - 1 / self.limit)

    def shut(self) -> None:
        """Lets nothing through any more, those who wait for room included."""
        with self._changed:
            self.is_shut = True
            self._changed.notify_all()

    def forget_times(self) -> None:
        """What follows are requests of another length."""
        with self._changed:
            self.usual_s = self.fastest_s = None


class GatedClient(openai.DefaultHttpxClient):
    """The official client's HTTP client, each of whose attempts passes a gate."""

    def __init__(self, gate: Gate, **more: Any) -> None:
        super().__init__(**more)
        self.gate = gate

    def send(self, request: Any, **more: Any) -> Any:
        began = self.gate.enter()
        overloaded, pause_s = True, 0.0  # an error that is raised: no answer came
        try:
            response = super().send(request, **more)
            overloaded = response.status_code in OVERLOAD_STATUSES
            pause_s = retry_after(response.headers) if overloaded else 0.0
            if pause_s >= LONG_PAUSE and self.gate.closed_until <= began:
                tqdm.write(f"note: {request.url.host} asks to wait {pause_s:,.0f} s", file=sys.stderr)
            return response
        finally:
            self.gate.leave(began, overloaded=overloaded, pause_s=pause_s)


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a refusal asks to wait, which it may say as a date (RFC 9110); 0 where it does not say."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers.get(name, "")) * unit)
        except ValueError:
            continue
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
