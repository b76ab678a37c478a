"""A probe is asked in a process of its own: it answers, or what happened instead is the answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rft.probes.probe import Finding, Probe, ask

ROOT = Path(__file__).parents[3]


def question(name: str, limit_s: float = 60) -> Probe:
    return Probe(name=name, function=f"tests.unit.probes.questions:{name}", limit_s=limit_s)


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def runs(pid: int) -> bool:
    """A process that ended and was not collected by its parent runs no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_is_given_the_config_and_the_environment(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("output_dir: here")
    found = ask(question("answers"), [str(tmp_path / "run.yaml")], environment(SAID="so"))
    assert found == Finding(status="note", text="here, so")
    overridden = ask(question("answers"), [str(tmp_path / "run.yaml"), "output_dir=there"], environment())
    assert overridden.text.startswith("there")
    assert ask(question("answers"), [], environment()).text.startswith("no config")


def test_one_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    limit, started = 4.0, time.monotonic()
    found = ask(question("hangs", limit), [], environment(PID_FILE=str(tmp_path / "pids")))
    assert time.monotonic() - started < limit + 10
    assert found == Finding(status="bad", text="no answer within 4 s")
    pids = [int(pid) for pid in (tmp_path / "pids").read_text("utf-8").split()]
    assert len(pids) == 2
    until = time.monotonic() + 10  # a process that was sent SIGKILL ends a moment later
    while any(map(runs, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(map(runs, pids))


def test_what_it_raises_is_one_line() -> None:
    assert ask(question("raises"), [], environment()) == Finding(
        status="bad", text="ValueError: nobody knows; ask again"
    )
    found = ask(question("raises_of_another_process"), [], environment())
    assert found == Finding(status="bad", text="RuntimeError: OSError: no such device")


def test_a_crash_is_told_with_its_last_words() -> None:
    found = ask(question("crashes"), [], environment())
    assert found.status == "bad"
    assert found.text.startswith(f"ended with status {-signal.SIGABRT}: ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_end_from_outside_ends_the_probe_too(number: int, tmp_path: Path) -> None:
    """A launcher ends its ranks with SIGTERM; a probe on a GPU must not stay behind."""
    code = (
        "from rft import doctor; from rft.probes.probe import Probe; import sys\n"
        "doctor.PROBES = (Probe(name='it', function='tests.unit.probes.questions:hangs', limit_s=600),)\n"
        "sys.exit(doctor.main([]))"
    )
    pids = tmp_path / "pids"
    doctor = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(PID_FILE=str(pids)), stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not (pids.exists() and len(pids.read_text("utf-8").split()) == 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    doctor.send_signal(number)
    assert doctor.wait(20) != 0
    assert not any(runs(int(pid)) for pid in pids.read_text("utf-8").split())
