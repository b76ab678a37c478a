"""Whether somebody asked the run to end."""

from __future__ import annotations

import signal
from types import FrameType

from accelerate import Accelerator

from rft.distributed import max_over_ranks


class StopRequest:
    """A signal handler that remembers the signal, so that a run can end at a checkpoint."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self.asked = True

    def asked_anywhere(self, accelerator: Accelerator) -> bool:
        """True on every rank as soon as it is true on one, so that all leave the loop together."""
        return bool(max_over_ranks(accelerator, int(self.asked)))


def stop_on_sigterm() -> StopRequest:
    """Installs the handler."""
    request = StopRequest()
    signal.signal(signal.SIGTERM, request)
    return request
