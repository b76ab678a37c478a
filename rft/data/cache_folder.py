"""A folder of the cache: whether it is as it was written, and who may write it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

MANIFEST = "manifest.json"


def find_damage(folder: Path, identity: dict[str, Any], files: Sequence[str]) -> str | None:
    """What is wrong with a cache folder; None where it is as it was built.

    Args:
        identity: what its manifest must name as `cache_identity`.
        files: those whose hashes are in the manifest.
    """
    if not folder.is_dir():
        return "it is no folder" if os.path.lexists(folder) else "it is absent"
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return f"{MANIFEST} cannot be read"
    if not isinstance(manifest, dict) or manifest.get("cache_identity") != json.loads(json.dumps(identity)):
        return f"{MANIFEST} is not the one that was written"
    hashes = manifest.get("sha256")
    for name in files:
        try:
            found = hash_of(folder / name)
        except OSError:
            return f"{name} cannot be read"
        if not isinstance(hashes, dict) or hashes.get(name) != found:
            return f"{name} is not what was written"
    return None


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(folder: Path) -> None:
    try:
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
        else:
            folder.unlink()
    except OSError as error:
        raise ValueError(
            f"data.cache_dir: {folder} is damaged and cannot be removed ({error.strerror}); remove it by hand"
        ) from None


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Holds a lock that other processes, of other machines too, wait for.

    Raises:
        ValueError: the file system has no locks. (Where it only lacks `flock`, filelock uses the file's existence.)
    """
    lock = FileLock(file)
    try:
        lock.acquire()
    except OSError as error:
        raise ValueError(
            f"data.cache_dir: {file.parent} cannot be locked ({error.strerror}); name a folder on another file system, "
            "each machine may have its own"
        ) from None
    try:
        yield
    finally:
        lock.release()


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"data.cache_dir: cannot make {folder} ({error.strerror}); name a folder that can be written"
        ) from None
