"""The end of a process that took part in collectives."""

from __future__ import annotations

import atexit
import os
import sys
from typing import NoReturn


def leave(status: int) -> NoReturn:
    """Ends the process with `status` after its exit handlers, without taking the interpreter down.

    A thread of gloo lets go of a collective's tensors some time after the collective is over, and needs the
    interpreter for it. Where that time comes while Python finalizes, the process aborts ("terminate called without an
    active exception", pytorch issue 190489), and the launcher reports a finished run as failed. Destroying the process
    groups does not end these threads while DDP or DeepSpeed hold a group.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
