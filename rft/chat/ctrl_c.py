"""Ctrl-C while replies are on their way: they are paid for, so the first one only asks the program to end."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class CtrlC:
    """Within it the first Ctrl-C is remembered, and a second one is a KeyboardInterrupt.

    A KeyboardInterrupt comes between any two lines: in the middle of a row that is being written, or after a reply was
    taken from its thread and before anybody has it. Where somebody else listens to SIGINT, or this is not the main
    thread, which alone hears it, nothing is changed.
    """

    def __init__(self) -> None:
        self.pressed = False
        self._listens = False

    def __enter__(self) -> CtrlC:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._press)
            self._listens = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._listens:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _press(self, number: int, frame: FrameType | None) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True
