"""The process of one probe.

python -m rft.probes.child MODULE:FUNCTION RESULT_FILE [CONFIG [section.key=value ...]]
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from rft.config import load_config
from rft.probes.probe import Finding, write_finding


def main(function: str, result: Path, arguments: list[str]) -> None:
    """Calls the probe and writes what it found. What it raises is a finding, too."""
    module, _, name = function.partition(":")
    try:
        config = load_config(arguments[0], arguments[1:]) if arguments else None
        finding = getattr(importlib.import_module(module), name)(config)
    except Exception as error:
        finding = Finding(status="bad", text=f"{type(error).__name__}: {what_was_wrong(str(error))}")
    write_finding(result, finding)


def what_was_wrong(message: str) -> str:
    """A message as one line; of one that holds another process's traceback, the line that says what happened."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return (lines[-1] if "Traceback" in message else " ".join(lines))[:300]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
    sys.stdout.flush()
    # A library's exit handlers may hang; there is nothing left for them to do.
    os._exit(0)
