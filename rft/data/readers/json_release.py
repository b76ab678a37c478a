"""Data sets that are released as one JSON file with a list in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rft.data.readers.cells import CellError, parse_json
from rft.data.readers.data_files import (
    PARQUET,
    SourceFolder,
    beside,
    check_text_file,
    looked_in,
    read_head,
    source_path,
)


def find_release(source: str, prefix: str, *, follow_links: bool = False) -> Path:
    """The file of a release: `source` itself, also without its `.json`, or the one file in that folder whose name
    begins with `prefix` and ends with `.json` or has no ending.

    Args:
        follow_links: take a file of the folder that is a link out of it.

    Raises:
        ValueError: nothing there, no such file in the folder, or several; a link that may not be followed.
    """
    place = source_path(source)
    for path in (place, Path(f"{place}.json")):
        if path.is_file():
            return path
    if not place.is_dir():
        raise ValueError(
            f"data.source {source} does not exist{looked_in(place)}{beside(place)}; name a {prefix} file or the folder "
            "that holds it"
        )
    files = sorted(path for path in place.iterdir() if is_release(path, prefix))
    if not files:
        others = sorted(shown_name(path) for path in place.iterdir() if path.name.lower().startswith(prefix))
        held = f", but {', '.join(others[:3])}" if others else ""
        raise ValueError(f"data.source {place} holds no {prefix}*.json{held}; fetch it, or set data.source to the file")
    if len(files) > 1:
        raise ValueError(
            f"data.source {place} holds {len(files)} files, {', '.join(path.name for path in files)}; choose one: set "
            f"data.source to it, such as {files[0]}"
        )
    SourceFolder(place, follow_links=follow_links).check(files[0])
    return files[0]


def is_release(path: Path, prefix: str) -> bool:
    return path.name.lower().startswith(prefix) and path.suffix in (".json", "") and path.is_file()


def shown_name(path: Path) -> str:
    return f"{path.name} (a folder)" if path.is_dir() else path.name


def read_list(path: Path, what: str) -> list[Any]:
    """The JSON list in a file.

    Args:
        what: the things in the list, for messages.

    Raises:
        ValueError: what `read_json` raises; no list, or an empty one.
    """
    items = read_json(path)
    if not isinstance(items, list) or not items:
        raise ValueError(f"{path} is not a list of {what}, or an empty one; fetch it again")
    return items


def read_json(path: Path) -> Any:
    """The JSON value in a file, in UTF-8 with or without a byte order mark.

    Raises:
        ValueError: it cannot be read, is not UTF-8 or not JSON, in one line with a remedy.
    """
    if read_head(path).startswith(PARQUET):
        raise ValueError(f"{path} is a Parquet file; fetch the JSON file of the release, or export the table as JSON")
    check_text_file(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); name another file as data.source") from None
    try:
        return parse_json(text)
    except CellError as error:
        if is_json_lines(text):
            raise ValueError(
                f"{path} holds one JSON value per line; put them into one list, or fetch it again"
            ) from None
        raise ValueError(f"{path} {error}; fetch it again") from None


def is_json_lines(text: str) -> bool:
    """Whether a text that is not one JSON value begins with a line that is one."""
    first, _, rest = text.strip().partition("\n")
    try:
        return isinstance(parse_json(first), dict) and bool(rest)
    except CellError:
        return False


def release_name(prefix: str, path: Path) -> str:
    """A release's name for folders and tables: its file's, which tells the variants apart."""
    stem = path.stem if path.suffix == ".json" else path.name
    return stem if stem.lower().startswith(prefix) else f"{prefix}-{stem}"
