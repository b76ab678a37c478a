"""Files of a data set before they are parsed: whether they may be read, and whether they hold what their names say.

Each check returns what is wrong as a phrase to put behind the file's path, or None: a whole file that cannot be used
ends a run, one context of many is a row that can be skipped.
"""

from __future__ import annotations

import codecs
import os
import stat
from pathlib import Path

from rft.git_lfs import POINTER_PROBLEM, POINTER_START

HEAD_BYTES = 1024
"""How much of a file tells what it is."""

MOST_SHOWN = 200
"""Characters of a path in a message about a path that is too long."""

SIGNATURES = {
    POINTER_START: POINTER_PROBLEM,
    b"\x1f\x8b": "is compressed (gzip); decompress it first",
    b"PK\x03\x04": "is a zip archive or a workbook; extract the file, or export it from the workbook",
    b"(\xb5/\xfd": "is compressed (zstd); decompress it first",
    b"BZh": "is compressed (bzip2); decompress it first",
    b"\xfd7zXZ": "is compressed (xz); decompress it first",
    b"SQLite format 3": "is a SQLite database; export its table",
}
"""What a file is that begins with these bytes. None of them begins a text."""

PARQUET = b"PAR1"

WIDE_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def source_path(source: str) -> Path:
    """`data.source` as a path, a leading `~` replaced; it need not be there.

    Raises:
        ValueError: what is there may not be read, or no path can be like this.
    """
    path = Path(os.path.expanduser(source))  # pathlib's raises where there is no such user
    try:
        allowed = os.access(path, os.R_OK | (os.X_OK if stat.S_ISDIR(path.stat().st_mode) else 0))
    except (FileNotFoundError, NotADirectoryError):
        return path
    except OSError as error:
        shown = source if len(source) <= MOST_SHOWN else f"{source[:MOST_SHOWN]}..."
        raise ValueError(f"data.source '{shown}' cannot be read ({error.strerror}); name another place") from None
    if not allowed:
        raise ValueError(f"data.source '{source}' may not be read; change its permissions, or name another place")
    return path


class SourceFolder:
    """The folder of a data set. A link in it may bring in no file from outside of it, unless `follow_links`: people
    share data sets, and such a link would show the reader's own files to a model or an endpoint.

    In a cache of the hub the files of a snapshot are links into the folder of the same data set.
    """

    def __init__(self, folder: Path, *, follow_links: bool = False) -> None:
        self.path = folder
        self.follow_links = follow_links
        resolved = folder.resolve()
        is_snapshot = resolved.parent.name == "snapshots" and (resolved.parents[1] / "blobs").is_dir()
        self.root = resolved.parents[1] if is_snapshot else resolved

    def problem_of(self, path: Path) -> str | None:
        """Why a file below the folder may not be read; None where it may."""
        if self.follow_links:
            return None
        try:
            target = path.resolve()
        except (OSError, RuntimeError):
            return "cannot be read (its links lead in a circle); copy the file into the folder"
        if target.is_relative_to(self.root):
            return None
        return (
            f"is behind a link that leads out of data.source, to {target}; copy it into the folder, or set "
            "data.follow_links=true where you trust the folder"
        )

    def check(self, path: Path) -> None:
        """Raises ValueError for a file that may not be read."""
        if problem := self.problem_of(path):
            raise ValueError(f"{path} {problem}")


def check_text_file(path: Path, folder: SourceFolder | None = None) -> None:
    """Refuses a file that may not be read, cannot be opened or begins as no UTF-8 text does.

    Raises:
        ValueError: in one line, with a remedy.
    """
    if folder is not None:
        folder.check(path)
    if problem := wrong_form(read_head(path)):
        raise ValueError(f"{path} {problem}")


def read_head(path: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        ValueError: it is absent, no regular file, or cannot be opened.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} is no file; name a file, or a folder that holds it, in data.source")
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); data.source must name a folder with it") from None


def wrong_form(head: bytes) -> str | None:
    """What a file is instead of UTF-8 text, told from its first bytes; None where they may begin such a text."""
    for signature, problem in SIGNATURES.items():
        if head.startswith(signature):
            return problem
    if head.startswith(PARQUET):
        return "is a Parquet file; name it .parquet"
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "is a web page; fetch the file itself: the page's link 'raw' or 'download' leads to it"
    if encoding := wide_encoding(head):
        return f"is {encoding}, not UTF-8; save it as UTF-8"
    return None


def wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 where the first bytes are such a text, with or without a byte order mark."""
    for mark, encoding in WIDE_MARKS.items():
        if head.startswith(mark):
            return encoding
    pairs = min(len(head), 64) // 2
    zeros = [sum(byte == 0 for byte in head[start : 2 * pairs : 2]) for start in (0, 1)]
    return "UTF-16" if pairs >= 4 and max(zeros) > pairs * 0.8 and min(zeros) < pairs * 0.2 else None


def beside(path: Path) -> str:
    """A phrase that names files of another ending, or in other letters, beside one that is not there; else an empty
    text."""
    stem = path.stem.lower()
    try:
        names = sorted(found.name for found in path.parent.iterdir())
    except OSError:
        return ""
    alike = [name for name in names if name.lower() == stem or name.lower().startswith(f"{stem}.")]
    return f" (the folder holds {', '.join(alike[:3])})" if alike else ""


def looked_in(path: Path) -> str:
    """A phrase that says where a relative path was looked for; an empty text for an absolute one."""
    return "" if path.is_absolute() else f" (looked in {Path.cwd()})"
