"""One question about the machine, asked in a process of its own, which is killed where it does not answer in time.

A driver, a file system or a network can hang any thread that touches it, so nothing is asked in this process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Status = Literal["ok", "note", "bad"]

GIB = 2**30
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one probe found out.

    Example:
        Finding(status="bad", text="/scratch has 40 GiB free, and the checkpoints of this config take 240 GiB")
    """

    status: Status
    """`note`: worth knowing, and no reason why a run would fail. `bad`: a reason."""
    text: str
    """One line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A question and how long it may take.

    Example:
        Probe(name="disk", function="rft.probes.machine:disk", limit_s=20)
    """

    name: str
    function: str
    """module:name of a function that takes the config (None without one) and returns a Finding."""
    limit_s: float


def ask(probe: Probe, arguments: Sequence[str], environment: Mapping[str, str]) -> Finding:
    """What a probe finds. Never takes much longer than its limit.

    Args:
        arguments: the config's path and overrides on it; empty without a config.
        environment: of its process.
    """
    with tempfile.TemporaryDirectory() as folder:
        result, log = Path(folder) / "finding.json", Path(folder) / "log.txt"
        command = [sys.executable, "-m", "rft.probes.child", probe.function, str(result), *arguments]
        path = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
        with log.open("wb") as output:
            # Its own session, so that everything it starts can be killed with it.
            process = subprocess.Popen(
                command,
                env={**environment, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            process.wait(probe.limit_s)
        except subprocess.TimeoutExpired:
            return Finding(status="bad", text=f"no answer within {probe.limit_s:g} s")
        finally:
            kill_session(process)
        if result.exists():
            return Finding(**json.loads(result.read_text(encoding="utf-8")))
        return Finding(status="bad", text=f"ended with status {process.returncode}: {last_line(log)}")


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """Ends a probe's process and all it started, those too that outlived it.

    Where a dead file system holds it nothing ends it, and it is left behind.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 2
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def last_line(log: Path) -> str:
    """The last line of a process's output that is not blank; where it crashed, what was wrong."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def write_finding(path: Path, finding: Finding) -> None:
    """The whole file or none: a process may be killed while it writes."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(finding)), encoding="utf-8")
    os.replace(partial, path)
