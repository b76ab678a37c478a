"""What a rank that does not move is waiting for."""

from __future__ import annotations

import faulthandler
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType

LIBRARIES = ("torch", "vllm", "deepspeed", "accelerate")
"""Where a rank waits for a collective or for the engine."""


def waiting_for() -> str:
    """What the main thread is in: the innermost call of a library that computes or communicates, and the line of ours
    behind it."""
    frames: list[FrameType] = []
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    if not frames:
        return "nothing"
    library = [
        frame for frame in frames if module_of(frame).startswith(LIBRARIES) and "logging" not in module_of(frame)
    ]
    innermost = (library or frames)[0]
    ours = [frame for frame in frames if module_of(frame).startswith("rft.")][:1]
    behind = "".join(f" (in {Path(f.f_code.co_filename).name}:{f.f_lineno} {f.f_code.co_name})" for f in ours)
    return f"{module_of(innermost)}.{innermost.f_code.co_name}{behind}"


def module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def flight_record() -> str:
    """The last collectives of this process, as JSON; PyTorch fills it where TORCH_FR_BUFFER_SIZE is set."""
    if "torch" not in sys.modules:
        return "none"  # importing it takes seconds, and it has seen no collective
    with suppress(Exception):  # it is private, and what is written around it is worth more
        from torch._C import _distributed_c10d

        return str(_distributed_c10d._dump_fr_trace_json())  # type: ignore[attr-defined]
    return "none"


def write_stacks(path: Path) -> None:
    """What every thread is doing, and the collectives that PyTorch remembers."""
    with path.open("w", encoding="utf-8") as file:
        faulthandler.dump_traceback(file)
        file.flush()
        file.write(f"\ncollectives (PyTorch's flight recorder):\n{flight_record()}\n")
