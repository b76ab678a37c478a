"""rft/train.py, which sends itself a signal in the middle of something: when a function is called for the n-th time.

    python bench/soak/victim.py CONFIG [section.key=value ...]

SOAK_AIM names the function (module:name), SOAK_CALL which call of it, SOAK_SIGNAL the signal, SOAK_DELAY_S how long
after the call's begin it comes, SOAK_RANK which rank is meant. Without SOAK_AIM nothing happens.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from rft import train
from rft.process_exit import leave


def main(arguments: list[str]) -> int:
    aim = os.environ.get("SOAK_AIM")
    if aim and os.environ.get("RANK", "0") == os.environ.get("SOAK_RANK", "0"):
        module, _, name = aim.partition(":")
        owner = importlib.import_module(module)
        setattr(owner, name, followed_by_signal(getattr(owner, name)))
    return train.main(arguments)


def followed_by_signal(work: Callable[..., Any]) -> Callable[..., Any]:
    """`work`, which at its n-th call sets a timer for the signal."""
    calls = 0

    @functools.wraps(work)
    def watched(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == int(os.environ["SOAK_CALL"]):
            number = signal.Signals[os.environ["SOAK_SIGNAL"]]
            threading.Timer(float(os.environ["SOAK_DELAY_S"]), os.kill, (os.getpid(), number)).start()
        return work(*args, **kwargs)

    return watched


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
