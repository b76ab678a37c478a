"""One run per output_dir: the second one is refused, and a killed one leaves nothing that has to be cleaned up."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from rft.checkpoint.folder import LOCK_NAME


class RunLock:
    """Holds OUTPUT_DIR/.lock until `release` or the end of the process.

    A POSIX lock belongs to the process and not to the file: the system lets go of it whatever ends the process, child
    processes do not inherit it, and NFS knows it.

    Raises:
        ValueError: another process holds it.
    """

    def __init__(self, output_dir: Path) -> None:
        output_dir.mkdir(parents=True, exist_ok=True)
        self.path = output_dir / LOCK_NAME
        while True:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.pread(self._file, 200, 0).decode(errors="replace").strip()
                os.close(self._file)
                if not isinstance(error, BlockingIOError | PermissionError):
                    raise ValueError(
                        f"{self.path} cannot be locked ({error.strerror}); choose an output_dir on another file system"
                    ) from None
                raise ValueError(
                    f"output_dir = {output_dir} belongs to a run that is going on{f' ({holder})' if holder else ''}; "
                    "wait for its end, or choose another output_dir"
                ) from None
            if self._is_still_there():
                break
            os.close(self._file)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def _is_still_there(self) -> bool:
        """Whether the locked file is the one of that name: the run before may have removed it meanwhile."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return False
        ours = os.fstat(self._file)
        return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)

    def release(self) -> None:
        """Removes the file, then lets go of it."""
        self.path.unlink(missing_ok=True)
        os.close(self._file)
