"""The settings in `data.options`, which belong to one format."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any


def check_options(options: Mapping[str, Any], known: Collection[str], format_name: str) -> None:
    """Refuses settings that a format does not have.

    Raises:
        ValueError: an unknown key; the nearest known one is named.
    """
    for key in options:
        if key in known:
            continue
        if not known:
            raise ValueError(f"data.options.{key} has no effect: {format_name} has no options; remove it")
        near = difflib.get_close_matches(str(key), list(known), n=1, cutoff=0.5)
        remedy = f"did you mean data.options.{near[0]}?" if near else f"{format_name} has {', '.join(sorted(known))}"
        raise ValueError(f"unknown config key 'data.options.{key}'; {remedy}")
