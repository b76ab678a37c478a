"""files.json: the size and hash of every file of a checkpoint, by which a damaged one is known.

Ranks share the work: a checkpoint of a 4B model has 56 GB, which eight processes read in seconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from rft import progress

MANIFEST = "files.json"

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """What a file of a checkpoint has to be.

    Example:
        FileRecord(name="state/optimizer.bin", num_bytes=3_162_940, sha256="9f86d0...")
    """

    name: str
    num_bytes: int
    sha256: str


def list_files(checkpoint: Path) -> list[str]:
    """Names relative to the checkpoint, in order, without the manifest itself."""
    paths = (path.relative_to(checkpoint).as_posix() for path in checkpoint.rglob("*") if path.is_file())
    return sorted(name for name in paths if name != MANIFEST)


def share_of(items: Sequence[Item], rank: int, num_ranks: int) -> Sequence[Item]:
    """Every `num_ranks`-th, so that together the ranks have all."""
    return items[rank::num_ranks]


def record_files(checkpoint: Path, names: Iterable[str]) -> list[FileRecord]:
    """Reads the files."""
    return [
        FileRecord(name=name, num_bytes=(checkpoint / name).stat().st_size, sha256=hash_file(checkpoint / name))
        for name in names
    ]


def hash_file(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    progress.moved()
    return digest


def write_manifest(checkpoint: Path, records: Iterable[FileRecord]) -> None:
    rows = [asdict(record) for record in sorted(records, key=lambda record: record.name)]
    temporary = checkpoint / f".{MANIFEST}.tmp"
    temporary.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n", encoding="utf-8")
    temporary.replace(checkpoint / MANIFEST)


def read_manifest(checkpoint: Path) -> list[FileRecord]:
    """Raises ValueError where it is absent or cannot be read."""
    file = checkpoint / MANIFEST
    try:
        return [FileRecord(**row) for row in json.loads(file.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        raise ValueError(f"{MANIFEST} is missing") from None
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{MANIFEST} is damaged ({error})") from None


def find_missing(checkpoint: Path, records: Iterable[FileRecord]) -> str | None:
    """What is wrong with the first file that is absent or has another size; quick, since nothing is read."""
    for record in records:
        path = checkpoint / record.name
        if not path.is_file():
            return f"{record.name} is missing"
        if (size := path.stat().st_size) != record.num_bytes:
            return f"{record.name} has {size:,} of {record.num_bytes:,} bytes"
    return None


def find_changed(checkpoint: Path, records: Iterable[FileRecord]) -> str | None:
    """What is wrong with the first file whose contents are others than at the save; reads them all."""
    for record in records:
        if hash_file(checkpoint / record.name) != record.sha256:
            return f"{record.name} is not what was saved"
    return None
