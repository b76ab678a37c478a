"""The folders of a run's checkpoints: which there are, and how they come and go.

A checkpoint is written under another name and gets its own when it is whole; before it is deleted it loses its name
again. So a folder called `checkpoint-N` is always complete: a crash, a full disk or `kill -9` in the middle leaves a
folder whose name begins with a dot, which the next start removes.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import Accelerator

LOCK_NAME = ".lock"
"""Of the file that rft/run_lock.py holds."""

LEFTOVERS = (".checkpoint-*.tmp", ".checkpoint-*.old", ".best.tmp")
"""What a process leaves that is killed while it writes or deletes a checkpoint."""


def checkpoint_folder(output_dir: Path, step: int) -> Path:
    return output_dir / f"checkpoint-{step}"


def temporary_folder(checkpoint: Path) -> Path:
    """Where a checkpoint is written before it has its name."""
    return checkpoint.with_name(f".{checkpoint.name}.tmp")


def complete_steps(output_dir: Path) -> list[int]:
    """Steps that have a complete checkpoint, in order."""
    if not output_dir.is_dir():
        return []
    matches = (re.fullmatch(r"checkpoint-(\d+)", path.name) for path in output_dir.iterdir() if path.is_dir())
    return sorted(int(match[1]) for match in matches if match)


def publish(temporary: Path, checkpoint: Path) -> None:
    """Gives a whole checkpoint its name, in place of an older one of the same step."""
    sync_to_disk(temporary)
    discard(checkpoint)
    os.replace(temporary, checkpoint)


def discard(checkpoint: Path) -> None:
    """Deletes a checkpoint, which is gone as a whole before its first file is."""
    if not checkpoint.exists():
        return
    condemned = checkpoint.with_name(f".{checkpoint.name}.old")
    shutil.rmtree(condemned, ignore_errors=True)
    os.replace(checkpoint, condemned)
    shutil.rmtree(condemned)


def sync_to_disk(folder: Path) -> None:
    """Forces every file out of the write cache, so that the rename never outlives its contents."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def point_best_at(checkpoint: Path) -> None:
    """`best` is a relative link, replaced in one move."""
    temporary = checkpoint.parent / ".best.tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(checkpoint.name)
    os.replace(temporary, checkpoint.parent / "best")


def prune(
    output_dir: Path,
    keep: int,
    best_step: int | None,
    in_use: Collection[Path] = (),
    passing: Collection[int] = (),
) -> None:
    """Removes all but the latest `keep` checkpoints, the best one, and those that somebody reads.

    Args:
        passing: steps whose checkpoints count for nothing once there is a later one: a run was stopped there, and an
            uninterrupted one would not have them.
    """
    steps = complete_steps(output_dir)
    lasting = [step for step in steps if step not in passing or step == steps[-1]]
    kept = {*lasting[-keep or None :], best_step}
    for step in steps:
        folder = checkpoint_folder(output_dir, step)
        if step not in kept and folder not in in_use:
            discard(folder)


def remove_leftovers(accelerator: Accelerator, output_dir: Path) -> None:
    """Removes half-written checkpoints. Collective: the main process does it while the others wait."""
    if accelerator.is_main_process:
        for leftover in (path for pattern in LEFTOVERS for path in output_dir.glob(pattern)):
            shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
    accelerator.wait_for_everyone()


def move_earlier_run(output_dir: Path) -> Path | None:
    """With checkpoint.resume=never: moves what an earlier run left in `output_dir` to a folder beside it, so that the
    two never mix. Returns that folder; None where no run has been."""
    if not complete_steps(output_dir) and not (output_dir / "metrics.jsonl").exists():
        return None
    found = [path for path in output_dir.iterdir() if path.name != LOCK_NAME]
    number = 1
    while (aside := output_dir.with_name(f"{output_dir.name}.earlier-{number}")).exists():
        number += 1
    aside.mkdir()
    for path in found:
        os.replace(path, aside / path.name)
    return aside


def check_writable(key: str, folder: Path) -> None:
    """Refuses a folder that cannot be made or written to, and leaves nothing behind.

    Raises:
        ValueError: names the config `key`, and says what the system says.
    """
    try:
        with tempfile.TemporaryFile(dir=nearest_existing(folder.absolute())):
            pass
    except OSError as error:
        raise ValueError(f"{key} = {folder} cannot be written: {error.strerror}; choose another folder") from None


def nearest_existing(path: Path) -> Path:
    """The path, or the first of its parents that is there."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return nearest_existing(path.parent)
    return path
