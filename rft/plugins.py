"""A user's own task, data layout or reward, named in the config as `package.module:Name`."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any


def load_dotted(key: str, path: str) -> Any:
    """The object behind `package.module:Name`; modules are also looked for in the current folder.

    Args:
        key: the config key that holds `path`, for messages.

    Raises:
        ValueError: not of this form, no such module, a module that fails to import, no such name in it.
    """
    module_name, separator, name = path.partition(":")
    if not separator or not all(part.isidentifier() for part in (*module_name.split("."), *name.split("."))):
        raise ValueError(f"{key}: '{path}' is not of the form package.module:Name")
    # A script's own folder is on the path, the one it was started from is not.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise ValueError(
            f"{key}: cannot import {module_name} ({type(error).__name__}: {error}); it is looked for in the current "
            "folder and on PYTHONPATH"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{key}: {module_name} has no {name}")
        found = getattr(found, part)
    return found


def choose(key: str, name: str, known: dict[str, Any]) -> Any:
    """The entry of `known` by its name, or a user's own by its dotted path.

    Raises:
        ValueError: neither.
    """
    if name in known:
        return known[name]
    if ":" in name:
        return load_dotted(key, name)
    raise ValueError(f"{key}: unknown '{name}'; choose of {', '.join(known)}, or name your own as package.module:Name")
