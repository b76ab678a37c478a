"""What the measurements put a stopwatch or a signal into, module:name, is where they say.

They run for minutes, so a function that moved would show only to whoever measures again.
"""

from __future__ import annotations

import functools
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = sorted(
    {
        place
        for file in (ROOT / "bench").rglob("*.py")
        for place in re.findall(r'"((?:rft|vllm)\.[\w.]+:[A-Za-z_][\w.]*)"', file.read_text(encoding="utf-8"))
    }
)


def test_there_are_some():
    assert "rft.grpo.live_rollouts:LiveRollouts.units" in PLACES and len(PLACES) >= 15


@pytest.mark.parametrize("place", PLACES)
def test_it_is_there(place: str):
    module, _, path = place.partition(":")
    assert callable(functools.reduce(getattr, path.split("."), importlib.import_module(module)))
