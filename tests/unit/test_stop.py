"""A signal is remembered, not obeyed at once; the process ends by itself where it cannot wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate import Accelerator

from rft.stop import ASKS_TO_STOP, StopRequest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def handlers_restored() -> Iterator[None]:
    before = [(number, signal.getsignal(number)) for number in ASKS_TO_STOP]
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in before:
        signal.signal(number, handler)


def heard(request: StopRequest) -> bool:
    """Whether the signal arrives within two seconds."""
    until = time.monotonic() + 2
    while request.signal is None and time.monotonic() < until:
        time.sleep(0.01)
    return request.signal is not None


@pytest.mark.parametrize("number", ASKS_TO_STOP)
def test_a_signal_is_remembered(number: signal.Signals):
    request, accelerator = StopRequest(None), Accelerator(cpu=True)
    request.begin()
    assert request.on_any_rank(accelerator) is None
    os.kill(os.getpid(), number)
    assert heard(request)
    assert request.on_any_rank(accelerator) == number


def test_a_forked_child_keeps_its_own_end():
    """Python's process pools end their workers by SIGTERM, which says nothing about this process."""
    request = StopRequest(None)
    request.begin()
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    time.sleep(0.2)
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM
    time.sleep(0.2)
    assert request.signal is None


# What a run does: it works, looks, and writes. `stuck` is a computation in C, which no Python handler interrupts.
PROGRAM = """
import hashlib, sys, time
from rft.process_exit import leave, status_after
from rft.stop import StopRequest
grace, work = sys.argv[1:]
stop = StopRequest(None if grace == "none" else float(grace))
if work != "loading":
    stop.begin()
print("listening", flush=True)
if work in ("stuck", "loading"):
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
time.sleep(float(work))
stop.settle()
time.sleep(1)
leave(status_after(stop.signal))
"""


def status(grace: str, work: str, *signals: tuple[float, signal.Signals]) -> tuple[int, float, str]:
    """Exit status, seconds after the first signal, and what is said, when each signal comes after its delay."""
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, grace, work],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "listening\n"
        begin = time.monotonic()
        for delay, number in signals:
            time.sleep(delay)
            program.send_signal(number)
        _, errors = program.communicate(timeout=60)
        return program.returncode, time.monotonic() - begin, errors
    finally:
        program.kill()


@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)], ids=lambda value: value
)
def test_the_status_says_whether_to_go_on(number: signal.Signals, expected: int):
    found, seconds, said = status("30", "1.5", (0, number))
    assert found == expected
    assert seconds >= 1.5
    assert f"{number.name}: the run stops at a checkpoint" in said


def test_a_batch_that_takes_too_long_is_given_up_even_in_c():
    found, seconds, said = status("1", "stuck", (0, signal.SIGTERM))
    assert found == 75
    assert 0.9 <= seconds <= 10
    assert "did not end within train.stop_grace_s = 1 s of SIGTERM" in said


def test_the_bound_ends_with_the_batch():
    found, seconds, said = status("2", "1.5", (0, signal.SIGTERM))
    assert (found, seconds >= 2.4, "did not end" in said) == (75, True, False)


def test_a_second_sigint_ends_at_once():
    found, seconds, said = status("none", "stuck", (0, signal.SIGINT), (1.5, signal.SIGINT))
    assert found == 130
    assert 1.4 <= seconds <= 10
    assert "SIGINT again: the run ends here" in said


@pytest.mark.parametrize("second", [(0.1, signal.SIGINT), (1.2, signal.SIGTERM)], ids=["an echo", "SIGTERM twice"])
def test_other_repetitions_change_nothing(second: tuple[float, signal.Signals]):
    found, seconds, said = status("none", "2.5", (0, signal.SIGTERM), second)
    assert (found, seconds >= 2.4, "again" in said) == (75, True, False)


def test_before_the_first_batch_a_signal_ends_at_once():
    code, seconds, said = status("none", "loading", (0.0, signal.SIGTERM))
    assert code == 75 and seconds < 5
    assert "SIGTERM: the run ends before its first batch" in said
