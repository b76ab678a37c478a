"""Whether a checkpoint fits on the disk: a full one is told in one line, before anything is written where possible."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rft.checkpoint.folder import checkpoint_folder, complete_steps, nearest_existing
from rft.checkpoint.manifest import read_manifest

GB = 10**9
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NEARLY_FULL = 64 * 1024
"""Bytes: with less, a write that failed for an unnamed reason failed for want of room."""


class NoRoom(RuntimeError):
    """A checkpoint does not fit on the disk; those before it are whole."""


def check_room(output_dir: Path) -> None:
    """Refuses to begin a checkpoint that will not fit, by the size of the one before.

    Raises:
        NoRoom: with both sizes.
    """
    steps = complete_steps(output_dir)
    if not steps:
        return
    try:
        needed = sum(record.num_bytes for record in read_manifest(checkpoint_folder(output_dir, steps[-1])))
    except ValueError:
        return
    if free_bytes(output_dir) < needed:
        raise NoRoom(describe_lack(output_dir, needed))


@contextmanager
def full_disk_named(output_dir: Path) -> Iterator[None]:
    """Turns what writers say of a full disk, each in its own words, into one line.

    Raises:
        NoRoom: in place of an exception that a full disk caused.
    """
    try:
        yield
    except NoRoom:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # safetensors and torch wrap what the system says
        if getattr(error, "errno", None) in FULL or free_bytes(output_dir) < NEARLY_FULL:
            raise NoRoom(describe_lack(output_dir)) from error
        raise


def describe_lack(output_dir: Path, needed: int | None = None) -> str:
    free = f"{free_bytes(output_dir) / GB:.3g} GB are free"
    wanted = f"{needed / GB:.3g} GB are needed and {free}" if needed is not None else free
    return (
        f"no room on {output_dir} for a checkpoint: {wanted}; free some and start again, the same command continues "
        "from the last checkpoint"
    )


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(nearest_existing(folder.absolute())).free
