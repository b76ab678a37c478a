"""A command of the project as a part runs it: in a process of its own, asked to stop at its time, its output kept."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

ROOT = Path(__file__).resolve().parents[2]
KILL_AFTER_S = 120.0
"""Of a command that was asked to stop and goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Example: Ended(status=0, lines=["{'loss': 0.4}"])"""

    status: int
    """Below 0: the signal that ended it."""
    lines: list[str]
    """What it said on both outputs."""


def run_command(arguments: Sequence[str], *, seconds: float, kill_after: float = KILL_AFTER_S) -> Ended:
    """Runs `python ARGUMENTS` from the root, and passes on what it says while it says it.

    Args:
        seconds: after which it gets SIGTERM, at which a training run ends with a checkpoint.
        kill_after: further seconds, after which it is killed.
    """
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace",
    )  # fmt: skip
    assert process.stdout is not None
    lines = []
    with process, at(seconds, process, signal.SIGTERM), at(seconds + kill_after, process, signal.SIGKILL):
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip("\n"))
    return Ended(status=process.returncode, lines=lines)


@contextlib.contextmanager
def at(seconds: float, process: subprocess.Popen[str], number: signal.Signals) -> Iterator[None]:
    """Sends a signal so many seconds from now, unless the block has ended by then."""
    timer = Timer(seconds, process.send_signal, [number])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
