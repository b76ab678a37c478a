"""The end of a process that took part in collectives, and what its status says.

0     the run has finished
2     a mistake of the user: one line says which
70    ended by a fault: the last line says which, and the last checkpoint is whole (EX_SOFTWARE of sysexits.h)
75    stopped by SIGTERM or SIGUSR1, because nothing moved for train.stall_timeout_s, or because no server was left; the
      same command continues from the last checkpoint (EX_TEMPFAIL)
130   stopped by SIGINT, as a shell has it: somebody does not want the run to go on
141   nobody reads the output on, as behind `| head`; whatever was to be written to files is written (128 + SIGPIPE)
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from rft.plain_text import without_control_sequences

FINISHED = 0
USERS_MISTAKE = 2
FAULT = 70
TO_BE_CONTINUED = 75
INTERRUPTED = 130
OUTPUT_CLOSED = 141

FIRST_SPEAKS_S = 60.0
"""How long the other ranks of a machine leave it to the first to say what a user has to mend."""

STATUS_FILE = "RFT_STATUS_FILE"
"""The variable that names a file for the status: torchrun and accelerate launch turn every status into 1."""


def status_after(stopped: signal.Signals | None) -> int:
    """The status of a run that ended by itself (None) or because of a signal."""
    if stopped is None:
        return FINISHED
    return INTERRUPTED if stopped == signal.SIGINT else TO_BE_CONTINUED


def status_of(main: Callable[[], int]) -> int:
    """The status of a command that prints what it finds, quietly where its output is closed before its end.

    Python would print a traceback, and one more when it flushes what is left.
    """
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OUTPUT_CLOSED
    return status


def refused(mistake: ValueError, wait_s: float = FIRST_SPEAKS_S) -> int:
    """Says a user's mistake in one line, once per machine, and returns its status.

    Every rank finds the same mistake. A launcher ends all ranks as soon as one has ended, so those that are not the
    first of their machine wait to be ended: the first could otherwise be cut off before it has said a word.

    Args:
        wait_s: after so many seconds this rank alone has found something, and says it.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        time.sleep(wait_s)
    print(f"error: {' '.join(without_control_sequences(str(mistake)).split())}", file=sys.stderr, flush=True)
    return USERS_MISTAKE


def put_off(reason: Exception) -> int:
    """Says, once, why a run cannot go on now and can later; returns the status."""
    if os.environ.get("RANK", "0") == "0":
        print(f"stopped: {' '.join(without_control_sequences(str(reason)).split())}", file=sys.stderr, flush=True)
    return TO_BE_CONTINUED


def leave(status: int) -> NoReturn:
    """Ends the process with `status` after its exit handlers, without taking the interpreter down.

    A thread of gloo lets go of a collective's tensors some time after the collective is over, and needs the
    interpreter for it. Where that time comes while Python finalizes, the process aborts ("terminate called without an
    active exception", pytorch issue 190489), and the launcher reports a finished run as failed. Destroying the process
    groups does not end these threads while DDP or DeepSpeed hold a group.
    """
    atexit._run_exitfuncs()
    leave_at_once(status)


_last_words: list[Callable[[], None]] = []


def before_leaving(say: Callable[[], None]) -> None:
    """Calls `say` when this process leaves by itself."""
    _last_words.append(say)


def leave_at_once(status: int) -> NoReturn:
    """Ends the process with `status`, whatever its other threads wait for."""
    for say in _last_words:
        say()
    report_status(status)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def report_status(status: int) -> None:
    """Writes the status where the launcher of launch/ reads it: that of the first rank of each machine, or of another
    one where the first has none, since it was killed."""
    file = os.environ.get(STATUS_FILE)
    if not file:
        return
    with suppress(FileExistsError), open(file, "w" if os.environ.get("LOCAL_RANK", "0") == "0" else "x") as report:
        report.write(f"{status}\n")
