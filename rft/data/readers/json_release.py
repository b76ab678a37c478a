"""Data sets that are released as one JSON file with a list in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rft.data.readers.cells import CellError, parse_json
from rft.data.readers.data_files import SourceFolder, beside, check_text_file, looked_in, source_path


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
        others = sorted(path.name for path in place.iterdir() if path.name.lower().startswith(prefix))
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


def read_list(path: Path, what: str) -> list[Any]:
    """The JSON list in a file, in UTF-8 with or without a byte order mark.

    Args:
        what: the things in the list, for messages.

    Raises:
        ValueError: not UTF-8, not JSON, no list, or an empty one.
    """
    check_text_file(path)
    try:
        items = parse_json(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8; save it as UTF-8") from None
    except CellError as error:
        raise ValueError(f"{path} {error}; fetch it again") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); name another file as data.source") from None
    if not isinstance(items, list) or not items:
        raise ValueError(f"{path} is not a list of {what}, or an empty one; fetch it again")
    return items


def release_name(prefix: str, path: Path) -> str:
    """A release's name for folders and tables: its file's, which tells the variants apart."""
    stem = path.stem if path.suffix == ".json" else path.name
    return stem if stem.lower().startswith(prefix) else f"{prefix}-{stem}"
