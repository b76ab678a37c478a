"""What a process says of its own standstill."""

from __future__ import annotations

import threading
from pathlib import Path

from rft.progress import phase
from rft.watching.waiting import waiting_for, write_stacks


def told_by_another_thread() -> str:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(waiting_for()))
    thread.start()
    thread.join()
    return found[0]


def test_the_innermost_call_of_the_main_thread_is_named():
    assert told_by_another_thread().startswith("threading.")


def test_the_stacks_of_all_threads_and_the_collectives_stand_in_the_file(tmp_path: Path):
    leaves = threading.Event()
    waiting = threading.Thread(target=leaves.wait)
    waiting.start()
    try:
        with phase("update"):
            write_stacks(tmp_path / "stalled-rank-0.txt")
    finally:
        leaves.set()
        waiting.join()
    text = (tmp_path / "stalled-rank-0.txt").read_text()
    assert "Current thread" in text and text.count("hread 0x") >= 2
    assert "collectives (PyTorch's flight recorder):" in text
