"""Files that a clone without Git LFS leaves in place of large ones: a few lines that say where the content is kept."""

from __future__ import annotations

from pathlib import Path

POINTER_START = b"version https://git-lfs"

POINTER_PROBLEM = "is a Git LFS pointer, not the file it stands for; fetch the file: run `git lfs pull` in its folder"
"""To be put behind a file's path."""


def is_pointer(path: Path) -> bool:
    """Whether a file is such a pointer; False for one that cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(POINTER_START)) == POINTER_START
    except OSError:
        return False
