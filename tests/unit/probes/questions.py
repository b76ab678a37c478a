"""Probes for tests: each ends in another way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from rft.config import Config
from rft.probes.probe import Finding


def answers(config: Config | None) -> Finding:
    return Finding(status="note", text=f"{config.output_dir if config else 'no config'}, {os.environ.get('SAID')}")


def hangs(config: Config | None) -> Finding:
    """With a process of its own that hangs as well; its number is left in a file."""
    held = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(os.environ["PID_FILE"]).write_text(f"{os.getpid()} {held.pid}", encoding="utf-8")
    time.sleep(600)
    raise AssertionError


def raises(config: Config | None) -> Finding:
    raise ValueError("nobody knows;\n  ask again")


def raises_of_another_process(config: Config | None) -> Finding:
    raise RuntimeError("Process 1 ended:\nTraceback (most recent call last):\n  File ...\nOSError: no such device\n")


def crashes(config: Config | None) -> Finding:
    print("a warning", file=sys.stderr)
    print("the last words", file=sys.stderr, flush=True)
    os.abort()
