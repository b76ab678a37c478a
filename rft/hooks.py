"""What happens at a checkpoint: evaluation through the live engine, and a command of the user's own."""

from __future__ import annotations

import logging
import shlex
import subprocess
from pathlib import Path

logger = logging.getLogger(__name__)


def run_command(command: str, checkpoint: Path) -> int:
    """Runs `hooks.on_checkpoint` with `{checkpoint}` replaced; returns its exit status.

    A command that fails is reported and does not stop the run: the checkpoint it was told about is safe.

    Raises:
        ValueError: the program does not exist.
    """
    words = [word.replace("{checkpoint}", str(checkpoint)) for word in shlex.split(command)]
    try:
        status = subprocess.run(words, check=False).returncode
    except FileNotFoundError:
        raise ValueError(f"hooks.on_checkpoint: no program '{words[0]}'; give its full path") from None
    if status != 0:
        logger.warning("hooks.on_checkpoint ended with status %d: %s", status, shlex.join(words))
    return status
