"""What a model's name means, before a library is asked: a folder that is here, or an id of the hub.

transformers takes a folder that is not there for an id, and asks the hub for it five times in half a minute.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import httpx
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, OfflineModeIsEnabled, RepositoryNotFoundError

from rft.git_lfs import POINTER_PROBLEM, is_pointer

REPOSITORY = Path(__file__).parents[1]

HUB_ID = re.compile(r"(?:[\w-][\w.-]*/)?[\w-][\w.-]*", re.ASCII)

TELLING_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")
"""One of these in the hub's cache shows that the hub has had the model."""

MOST_SHOWN = 200
"""Characters of a path that is too long."""

ANSWER_S = 10
"""Seconds that the hub has for one answer."""


def check_model_place(name: str, revision: str | None) -> None:
    """Refuses a model that can be read from nowhere.

    Args:
        name: `model.model_name_or_path`, or another name that `from_pretrained` takes.
        revision: of a hub id.

    Raises:
        ValueError: no such folder and no such id, the hub cannot be reached, or files of the folder are Git LFS
            pointers. The line does not begin with the name of a setting.
    """
    folder = Path(name)
    try:
        folder.stat()
        if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
            raise ValueError(f"{name} may not be read; change its permissions, or name another folder")
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise ValueError(f"{name[:MOST_SHOWN]} cannot be read ({error.strerror}); correct the path") from None
    if folder.is_dir():
        check_no_pointers(folder)
        return
    if folder.exists():
        raise ValueError(f"{name} is a file; name the folder that holds it, in transformers' format")
    if not HUB_ID.fullmatch(name) or any(place.is_dir() for place in parents_of(name)):
        raise ValueError(f"{name}: no such folder; {looked_in(name)}; {remedy(name)}")
    cached = (try_to_load_from_cache(name, file, revision=revision) for file in TELLING_FILES)
    if not any(isinstance(path, str) for path in cached):
        ask_hub(name, revision)


def check_no_pointers(folder: Path) -> None:
    """Raises ValueError for a folder that was cloned without Git LFS."""
    pointers = [path for path in sorted(folder.iterdir()) if path.is_file() and is_pointer(path)]
    if pointers:
        more = f" (and {len(pointers) - 1} more)" if len(pointers) > 1 else ""
        raise ValueError(f"{pointers[0]}{more} {POINTER_PROBLEM}")


def parents_of(name: str) -> list[Path]:
    """Where the folder around a relative path would be; a hub id has none of them."""
    parent = Path(name).parent
    return [] if parent == Path(".") else [parent, REPOSITORY / parent]


def looked_in(name: str) -> str:
    """Where a folder was looked for."""
    return f"looked in {Path.cwd() if not Path(name).is_absolute() else Path(name).parent}"


def remedy(name: str) -> str:
    """What to do about a folder that is not there."""
    expanded, there = Path(os.path.expanduser(name)), REPOSITORY / name
    if expanded != Path(name) and expanded.is_dir():
        return f"write {expanded}, since nothing replaces the ~"
    if there.is_dir():
        return f"it is {there}: name it so, or start in {REPOSITORY}"
    return "correct the path, or start in the folder that it is relative to"


def ask_hub(name: str, revision: str | None) -> None:
    """Raises ValueError where the hub has no such model, or cannot be reached. Where it is busy or refuses, the library
    asks again and says why."""
    url = hf_hub_url(name, "config.json", revision=revision)
    for attempt in range(2):
        try:
            get_hf_file_metadata(url, timeout=ANSWER_S)
        except EntryNotFoundError:
            return
        except RepositoryNotFoundError:
            raise ValueError(f"{name}: no such folder; {looked_in(name)}; and the hub has no such model") from None
        except OfflineModeIsEnabled:
            raise ValueError(f"{name}: no such folder; {looked_in(name)}; and HF_HUB_OFFLINE forbids the hub") from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            if attempt == 0:
                time.sleep(1)
                continue
            raise ValueError(
                f"{name}: no such folder; {looked_in(name)}; and the hub cannot be reached "
                f"({' '.join(str(error).split())})"
            ) from None
        except (httpx.HTTPError, OSError):
            return
        return
