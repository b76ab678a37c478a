"""A memory on disk: never half written, never written twice at once, and what an interrupted run has done is kept.

MEMORY.md          the memory; replaced by one rename, its mode and a symbolic link to it stay
MEMORY.md.part     how far a build or an update has come; gone when it is finished
MEMORY.md.bak      what a reply would have dropped
.MEMORY.md.lock    held while a command writes; gone afterwards
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rft.tasks.memory_text import clean_memory

PROBE_BYTES = 2**18
"""Written beside a memory before anything is paid for: room for it, and for what is kept of an interrupted run."""

PROGRESS_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a build or an update has come.

    Example:
        Progress(task="9c1f...", done=3, total=9, memory="- Likes jazz.", failures={"refusal": 1})
    """

    task: str
    """Fingerprint of what is done: conversation, memory before, settings."""
    done: int
    """Chunks that were read."""
    total: int
    memory: str
    """After them."""
    failures: dict[str, int] = field(default_factory=dict)
    """Updates that could not be used, by reason."""


class MemoryFile:
    """One memory file.

    Args:
        path: as the user names it; may be a symbolic link, which stays one.

    Every method raises ValueError, one line, for what the user can mend.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.target = Path(os.path.realpath(path))
        self.part = self.target.with_name(f"{self.target.name}.part")
        self.lock_path = self.target.with_name(f".{self.target.name}.lock")

    def exists(self) -> bool:
        with one_line_errors(self.path):
            return os.path.lexists(self.target)

    def read(self) -> str:
        """The memory without spaces around it and without a byte order mark."""
        with one_line_errors(self.path):
            if self.target.exists() and not self.target.is_file():  # a pipe would be waited for
                kind = "is a folder; name a file in it" if self.target.is_dir() else "is no ordinary file"
                raise ValueError(f"{self.path} {kind}")
            data = self.target.read_bytes()
        try:
            return clean_memory(data.decode("utf-8-sig")).strip()
        except UnicodeDecodeError:
            raise ValueError(f"{self.path} is not UTF-8; save it as UTF-8") from None

    def check_writable(self) -> None:
        """Refuses a place where the memory could not be written in the end: tried with a file beside it."""
        folder = self.target.parent
        with one_line_errors(self.path):
            if not folder.is_dir():
                kind = "is no folder" if folder.exists() else "does not exist; make it first"
                raise ValueError(f"{self.path}: the folder {folder} {kind}")
            if self.target.is_dir():
                raise ValueError(f"{self.path} is a folder; name a file in it")
            if self.target.exists() and not self.target.is_file():
                raise ValueError(f"{self.path} is no ordinary file; name another one")
            for place, what in ((folder, "the folder "), (self.target, "")):
                if place.exists() and not (place.stat().st_mode & 0o222 and os.access(place, os.W_OK)):
                    raise ValueError(f"{what}{place if what else self.path} is read-only; allow writing with chmod u+w")
            # The longest of the names that will be written.
            replace_file(self.part, b"\0" * PROBE_BYTES, self.mode(), probe=True)

    @contextmanager
    def locked(self, say: Callable[[str], None]) -> Iterator[None]:
        """Waits until no other command writes this memory, and says so."""
        lock = FileLock(self.lock_path)
        with one_line_errors(self.path):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                say(f"{self.path} is being written by another command; waiting until it is done")
                lock.acquire()
        try:
            yield
        finally:
            # Removed while it is held: whoever waits for it sees that it is gone and makes another.
            with suppress(OSError):
                self.lock_path.unlink()
            lock.release()

    def write(self, memory: str) -> None:
        """Replaces the memory at once."""
        with one_line_errors(self.path):
            replace_file(self.target, f"{memory}\n".encode() if memory else b"", self.mode())

    def back_up(self, memory: str) -> Path:
        """Keeps a memory beside, and says where: never in the place of another one."""
        data = f"{memory}\n".encode()
        with one_line_errors(self.path):
            for number in range(1, 1000):
                place = self.target.with_name(f"{self.target.name}.bak{number if number > 1 else ''}")
                if not place.exists():
                    replace_file(place, data, self.mode())
                elif place.read_bytes() != data:
                    continue
                return place
        raise ValueError(f"{self.path} has 999 backups beside it; remove some")

    def mode(self) -> int | None:
        """Permissions of the memory; None where it is not there yet."""
        try:
            return stat.S_IMODE(self.target.stat().st_mode)
        except OSError:
            return None

    # ------------------------------------------------------------------------------------------------------- progress

    def keep(self, progress: Progress) -> None:
        """Writes down how far a run has come."""
        stored = {"version": PROGRESS_VERSION, **asdict(progress)}
        with one_line_errors(self.part):
            replace_file(self.part, json.dumps(stored, ensure_ascii=False, indent=1).encode(), self.mode())

    def progress(self, task: str) -> Progress | None:
        """How far the same task has come before; None where none was begun.

        Raises:
            ValueError: what another task has done is kept there.
        """
        if not self.part.exists():
            return None
        with one_line_errors(self.part):
            found = read_progress(self.part.read_bytes())
        if found is None:
            raise ValueError(f"{self.part} is not readable as the progress of this version; remove it to begin anew")
        if found.task != task:
            raise ValueError(
                f"{self.part} keeps {found.done} of {found.total} updates of another command (another conversation, "
                "memory, model or limit); run that one again, or remove the file to give them up"
            )
        return found

    def forget_progress(self) -> None:
        with suppress(FileNotFoundError):
            self.part.unlink()


def task_fingerprint(texts: Sequence[str], settings: Sequence[Any]) -> str:
    """The same for the same chunks, memory and settings."""
    return hashlib.sha256(json.dumps([list(texts), list(settings)]).encode()).hexdigest()[:32]


def read_progress(data: bytes) -> Progress | None:
    try:
        stored = json.loads(data)
        if stored.pop("version") != PROGRESS_VERSION:
            return None
        found = Progress(**stored)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    numbers = isinstance(found.done, int) and isinstance(found.total, int) and 0 <= found.done <= found.total
    counts = isinstance(found.failures, dict) and all(isinstance(count, int) for count in found.failures.values())
    return found if numbers and counts and isinstance(found.task, str) and isinstance(found.memory, str) else None


def replace_file(place: Path, data: bytes, mode: int | None, *, probe: bool = False) -> None:
    """Writes a file under another name, makes sure that it is on the disk, and renames it.

    Args:
        place: where it is to be; no link.
        mode: its permissions; None for those of a new file.
        probe: remove it instead of renaming it.
    """
    temporary = place.with_name(f".{place.name}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode or 0o666)
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(descriptor, mode)
            keep_owner(descriptor, place)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        if not probe:
            os.replace(temporary, place)
            sync_folder(place.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def keep_owner(descriptor: int, place: Path) -> None:
    """An administrator who updates a user's memory does not take it away from them."""
    with suppress(OSError):
        before, now = place.stat(), os.fstat(descriptor)
        if (before.st_uid, before.st_gid) != (now.st_uid, now.st_gid):
            os.fchown(descriptor, before.st_uid, before.st_gid)


def sync_folder(folder: Path) -> None:
    """A rename is safe once its folder is on the disk."""
    with suppress(OSError):  # some file systems cannot
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def one_line_errors(path: Path) -> Iterator[None]:
    """Whatever the system refuses becomes one line with the path."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ValueError(f"{path}: no room on the disk ({error.strerror}); make some") from None
        raise ValueError(f"{path}: {error.strerror or error}") from None
