"""The user's own command at a checkpoint, which runs beside the training. A mistake in it is found at the start; later
it can only fail by itself."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

NOT_STARTED = 127
"""The exit status of a command that could not be started, as a shell has it."""

LONGEST_WAIT_WHEN_STOPPED_S = 300.0
"""Of a run that was asked to stop: who asked will not wait for ever."""

LAUNCHERS_NAMES = {
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "ROLE_NAME"),
    *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_CONFIG_DS_FIELDS", "ACCELERATE_MIXED_PRECISION", "RFT_STATUS_FILE"),
}
LAUNCHERS_PREFIXES = ("ACCELERATE_DEEPSPEED_", "TORCHELASTIC_")
"""Variables by which torchrun, accelerate and launch/ tell a process which rank it is."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class HookResult:
    """How one command ended.

    Example:
        HookResult(checkpoint=Path("checkpoints/run/checkpoint-50"), status=0, seconds=312.4)
    """

    checkpoint: Path
    status: int
    """0 is success; 128 + n where signal n ended it, as a shell has it."""
    seconds: float


@dataclass(slots=True)
class Running:
    """A command that was started."""

    process: subprocess.Popen[bytes]
    checkpoint: Path
    started: float


class CheckpointHook:
    """Runs `hooks.on_checkpoint` beside the training, one command at a time: nobody waits for it.

    A checkpoint that comes while a command runs waits for its turn. Only the newest one does: a command that takes
    longer than the steps between two checkpoints would else keep more and more of them on the disk. The run's last
    checkpoint always has its turn.

    A command that fails, or that cannot be started any more, is reported and does not stop the run: the checkpoint it
    was told about is safe. A signal that stops the run does not reach it.

    Args:
        command: None for no command, and on every rank but the first.
    """

    def __init__(self, command: str | None) -> None:
        self._command = command
        self._running: Running | None = None
        self._waiting: Path | None = None
        self._ended: list[HookResult] = []

    def start(self, checkpoint: Path) -> None:
        """Runs the command for `checkpoint`, now or when the running one has ended."""
        if self._command is None:
            return
        self._look()
        if self._running is None:
            self._launch(checkpoint)
            return
        if self._waiting is not None:
            logger.warning(
                "hooks.on_checkpoint is left out for %s: the command for %s still runs, and only the newest "
                "checkpoint waits for it",
                self._waiting.name,
                self._running.checkpoint.name,
            )
        self._waiting = checkpoint

    def poll(self) -> list[HookResult]:
        """What ended since the last call; starts what waits."""
        self._look()
        ended, self._ended = self._ended, []
        return ended

    def finish(self, seconds: float) -> list[HookResult]:
        """Waits at most `seconds` for everything that runs or waits; what is then not over is left to itself."""
        deadline = time.monotonic() + seconds
        while self._running is not None and time.monotonic() < deadline:
            time.sleep(0.05)
            self._look()
        if self._running is not None:
            logger.warning(
                "hooks.on_checkpoint for %s still runs after %g s; the run ends without it",
                self._running.checkpoint.name,
                seconds,
            )
        if self._waiting is not None:
            logger.warning("hooks.on_checkpoint did not run for %s", self._waiting.name)
        return self.poll()

    def in_use(self) -> frozenset[Path]:
        """The checkpoints that a command reads, or will read."""
        running = {self._running.checkpoint} if self._running is not None else set()
        return frozenset(running | ({self._waiting} if self._waiting is not None else set()))

    def _look(self) -> None:
        running = self._running
        if running is None or running.process.poll() is None:
            return
        self._running = None
        code = running.process.returncode
        self._end(running.checkpoint, 128 - code if code < 0 else code, time.monotonic() - running.started)
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._launch(waiting)

    def _launch(self, checkpoint: Path) -> None:
        assert self._command is not None
        words = [word.replace("{checkpoint}", str(checkpoint)) for word in shlex.split(self._command)]
        try:
            process = subprocess.Popen(
                words, env=environment_of_one_process(), stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            logger.warning("hooks.on_checkpoint could not be started (%s): %s", error.strerror, shlex.join(words))
            self._end(checkpoint, NOT_STARTED, 0.0)
            return
        self._running = Running(process, checkpoint, time.monotonic())

    def _end(self, checkpoint: Path, status: int, seconds: float) -> None:
        self._ended.append(HookResult(checkpoint=checkpoint, status=status, seconds=seconds))
        if status not in (0, NOT_STARTED):
            logger.warning("hooks.on_checkpoint ended with status %d for %s", status, checkpoint)


def environment_of_one_process() -> dict[str, str]:
    """This process's environment without what a launcher tells a rank: a command that uses torch would else look for
    the other ranks, and wait for them."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(LAUNCHERS_PREFIXES) and name not in LAUNCHERS_NAMES
    }
