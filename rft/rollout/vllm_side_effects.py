"""What vLLM does to a process that belongs to the trainer, undone."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def quiet() -> None:
    """Before vLLM is imported, which decides then what it logs: each rank would print its whole start."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")


@contextmanager
def trainer_state_kept() -> Iterator[None]:
    """Undoes what vLLM does to process-wide state that belongs to the trainer.

    It seeds the global random generators and draws from them on a CPU, lowers torch's thread count, replaces
    `torch.set_num_threads` by a function that does nothing, and preloads libraries into later child processes.
    """
    set_num_threads, num_threads = torch.set_num_threads, torch.get_num_threads()
    python_state, numpy_state = random.getstate(), np.random.get_state()
    preload = os.environ.get("LD_PRELOAD")
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        torch.set_num_threads = set_num_threads
        if torch.get_num_threads() != num_threads:
            torch.set_num_threads(num_threads)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        os.environ.pop("LD_PRELOAD", None)
        if preload is not None:
            os.environ["LD_PRELOAD"] = preload
