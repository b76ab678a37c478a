"""The user's own command at a checkpoint. A mistake in it is found at the start; later it can only fail by itself."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import subprocess
from pathlib import Path

logger = logging.getLogger(__name__)

NOT_STARTED = 127
"""The exit status of a command that could not be started, as a shell has it."""


def check_command(command: str | None) -> None:
    """Refuses a `hooks.on_checkpoint` that can never run.

    Raises:
        ValueError: unbalanced quotes, no program, or one that is not there or cannot be executed.
    """
    if command is None:
        return
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"hooks.on_checkpoint: {error} in {command!r}; balance its quotes") from None
    if not words or not words[0]:
        raise ValueError("hooks.on_checkpoint names no program; write a command, or null for none")
    program = words[0]
    if shutil.which(program) is not None:
        return
    if os.sep not in program:
        raise ValueError(f"hooks.on_checkpoint: no program '{program}' on the PATH; give its full path")
    reasons = {
        "does not exist": not os.path.exists(program),
        "is a folder": os.path.isdir(program),
        "is not executable; try chmod +x": True,
    }
    raise ValueError(f"hooks.on_checkpoint: {program} {next(reason for reason, holds in reasons.items() if holds)}")


def run_command(command: str, checkpoint: Path) -> int:
    """Runs `hooks.on_checkpoint` with `{checkpoint}` replaced; returns its exit status.

    A command that fails, or that cannot be started any more, is reported and does not stop the run: the checkpoint it
    was told about is safe.
    """
    words = [word.replace("{checkpoint}", str(checkpoint)) for word in shlex.split(command)]
    try:
        status = subprocess.run(words, check=False).returncode
    except OSError as error:
        logger.warning("hooks.on_checkpoint could not be started (%s): %s", error.strerror, shlex.join(words))
        return NOT_STARTED
    if status != 0:
        logger.warning("hooks.on_checkpoint ended with status %d: %s", status, shlex.join(words))
    return status
