"""The end of a process that took part in collectives, and what its status says.

0     the run has finished
2     a mistake of the user: one line says which
75    stopped by SIGTERM or SIGUSR1; the same command continues from the last checkpoint (EX_TEMPFAIL of sysexits.h)
130   stopped by SIGINT, as a shell has it: somebody does not want the run to go on
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

FINISHED = 0
USERS_MISTAKE = 2
TO_BE_CONTINUED = 75
INTERRUPTED = 130

STATUS_FILE = "RFT_STATUS_FILE"
"""The variable that names a file for the status: torchrun and accelerate launch turn every status into 1."""


def status_after(stopped: signal.Signals | None) -> int:
    """The status of a run that ended by itself (None) or because of a signal."""
    if stopped is None:
        return FINISHED
    return INTERRUPTED if stopped == signal.SIGINT else TO_BE_CONTINUED


def leave(status: int) -> NoReturn:
    """Ends the process with `status` after its exit handlers, without taking the interpreter down.

    A thread of gloo lets go of a collective's tensors some time after the collective is over, and needs the
    interpreter for it. Where that time comes while Python finalizes, the process aborts ("terminate called without an
    active exception", pytorch issue 190489), and the launcher reports a finished run as failed. Destroying the process
    groups does not end these threads while DDP or DeepSpeed hold a group.
    """
    atexit._run_exitfuncs()
    leave_at_once(status)


def leave_at_once(status: int) -> NoReturn:
    """Ends the process with `status`, whatever its other threads wait for."""
    report_status(status)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def report_status(status: int) -> None:
    """The first rank of each machine writes the status where the launcher of launch/ reads it."""
    file = os.environ.get(STATUS_FILE)
    if file and os.environ.get("LOCAL_RANK", "0") == "0":
        Path(file).write_text(f"{status}\n", encoding="utf-8")
