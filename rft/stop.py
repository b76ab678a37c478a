"""Whether somebody asked the run to end, and the end of a run that cannot wait.

The first SIGTERM, SIGUSR1 or SIGINT is remembered: the loop looks after every batch, and ends at a checkpoint. Beyond
`train.stop_grace_s`, or at a second SIGINT, the process ends where it stands, without a new one. Before the loop has
begun there is nothing to save, and it ends at once.

A thread of its own listens. Python runs a signal's handler in the main thread once that comes back from C, which a hung
collective never does.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from rft.process_exit import leave_at_once, status_after

if TYPE_CHECKING:
    from accelerate import Accelerator

ASKS_TO_STOP = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

ONE_REQUEST_S = 1.0
"""Signals so soon after the first are the same request: a scheduler signals every process of a job, and a launcher
passes on what it got."""

WATCH_LOOKS_S = 3.0
"""Enough for the thread of rft/watching/watch.py to find a dead rank."""


class StopRequest:
    """The first signal that asked this process, or any other rank, to stop.

    Args:
        grace_s: how long after the signal the process may go on before `settle` is called; None is without a bound.
    """

    def __init__(self, grace_s: float | None) -> None:
        self.signal: signal.Signals | None = None
        self._asked_at = 0.0
        self._grace_s = grace_s
        self._settled = False
        self._begun = False
        self._inbox, outbox = os.pipe()
        os.set_blocking(outbox, False)
        signal.set_wakeup_fd(outbox, warn_on_full_buffer=False)
        for number in ASKS_TO_STOP:
            signal.signal(number, ignore)
        # A child that a library forks has its own end.
        os.register_at_fork(after_in_child=restore_handlers)
        threading.Thread(target=self._listen, name="stop", daemon=True).start()

    def begin(self) -> None:
        """The loop begins: from now on a signal is remembered."""
        self._begun = True

    def on_any_rank(self, accelerator: Accelerator) -> signal.Signals | None:
        """The signal, on every rank as soon as one has it, so that all leave the loop together. Collective."""
        from rft.distributed import max_over_ranks  # takes seconds to import, and a signal is heard without it

        number = max_over_ranks(accelerator, int(self.signal or 0))
        if number == 0:
            return None
        self.settle()
        return signal.Signals(number)

    def settle(self) -> None:
        """The batch is over, and what is left has no bound."""
        self._settled = True

    def _listen(self) -> None:
        while True:
            if select.select([self._inbox], [], [], self._seconds_left())[0]:
                for number in os.read(self._inbox, 4096):
                    if number in ASKS_TO_STOP:
                        self._take(signal.Signals(number))
            elif self._seconds_left() == 0:
                self._give_up()

    def _seconds_left(self) -> float | None:
        """Until the bound; None where there is none, or not any more."""
        if self.signal is None or self._settled or self._grace_s is None:
            return None
        return max(0.0, self._asked_at + self._grace_s - time.monotonic())

    def _take(self, received: signal.Signals) -> None:
        now = time.monotonic()
        if not self._begun:
            say(f"{received.name}: the run ends before its first batch")
            # A launcher ends all ranks when one has died: the watch then ends this one meanwhile, as a fault.
            time.sleep(WATCH_LOOKS_S)
            leave_at_once(status_after(received))
        if self.signal is None:
            self._asked_at = now
            self.signal = received
            say(f"{received.name}: the run stops at a checkpoint after this batch")
        elif signal.SIGINT in (received, self.signal) and now - self._asked_at > ONE_REQUEST_S:
            say(f"{received.name} again: the run ends here, without a new checkpoint")
            leave_at_once(status_after(signal.SIGINT))

    def _give_up(self) -> NoReturn:
        assert self.signal is not None
        say(
            f"the batch did not end within train.stop_grace_s = {self._grace_s:g} s of {self.signal.name}: the run "
            "ends here, without a new checkpoint"
        )
        leave_at_once(status_after(self.signal))


def ignore(signum: int, frame: FrameType | None) -> None:
    """A handler has to be there, so that the signal neither ends the process nor is discarded by the system."""


def restore_handlers() -> None:
    """What Python starts with."""
    with contextlib.suppress(ValueError):  # only the main thread may
        signal.set_wakeup_fd(-1)
        for number in ASKS_TO_STOP:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def say(text: str) -> None:
    """On the standard error of the first rank of each machine."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"\n{text}", file=sys.stderr, flush=True)
