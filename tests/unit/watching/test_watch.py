"""Ranks look after each other: one that dies, fails or hangs ends the others within seconds, with a line that names it.

The ranks are real processes, and as small as can be.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from rft.watching.watch import SILENT_S, Watch, launched

ROOT = Path(__file__).parents[3]
BOUND_S = 10.0

RANK = """
import sys, time
from pathlib import Path
from rft import progress
from rft.process_exit import leave_at_once
from rft.progress import PROGRESS
from rft.watching import watch
folder, rank, stall, work = sys.argv[1:]
watch.LOOK_S, watch.SILENT_S, watch.WRITE_S, watch.OTHERS_SPEAK_S = 0.3, 2.0, 0.5, 1.0
mine = watch.Watch(Path(folder), run="r", rank=int(rank), num_ranks=2, stall_timeout_s=float(stall) or None)
mine.start()
assert mine.sees(1 - int(rank))
PROGRESS.step = 11
print("watches", flush=True)
def works():
    while True:
        progress.moved()
        time.sleep(0.1)
try:
    with progress.phase("update"):
        if work == "fails":
            time.sleep(1.5)
            raise RuntimeError("the loss is\\nnot finite")
        if work == "works":
            works()
        if work == "ends":
            mine.say_that_this_rank_ends()
            leave_at_once(0)
        time.sleep(60)
except RuntimeError as error:
    leave_at_once(mine.fault(error))
"""


@dataclass
class Ended:
    status: int
    seconds: float
    said: str


def start(folder: Path, rank: int, work: str, stall: float = 0, launcher: bool = False) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | ({"TORCHELASTIC_RUN_ID": "x"} if launcher else {})
    return subprocess.Popen(
        [sys.executable, "-c", RANK, str(folder), str(rank), str(stall), work],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def two_ranks(folder: Path, first: str, second: str, stall: float = 0) -> list[subprocess.Popen[str]]:
    ranks = [start(folder, 0, first, stall), start(folder, 1, second, stall)]
    for rank in ranks:
        assert rank.stdout is not None and rank.stdout.readline() == "watches\n"
    wait_until_known(folder, first, second)
    return ranks


def wait_until_known(folder: Path, *works: str) -> None:
    """Until the ranks have written that they are in the update, and have read that of each other."""
    until = time.monotonic() + BOUND_S
    waiting = [folder / ".ranks" / f"{rank}.json" for rank, work in enumerate(works) if work != "ends"]
    while any(json.loads(path.read_text())["phase"] != "update" for path in waiting):
        assert time.monotonic() < until
        time.sleep(0.02)
    time.sleep(0.6)  # two looks


def end(rank: subprocess.Popen[str], since: float) -> Ended:
    try:
        _, said = rank.communicate(timeout=BOUND_S)
    finally:
        rank.kill()
    return Ended(status=rank.returncode, seconds=time.monotonic() - since, said=said)


def test_a_rank_that_is_killed_ends_the_other_within_seconds(tmp_path: Path):
    ranks, since = two_ranks(tmp_path, "waits", "waits"), time.monotonic()
    ranks[1].kill()
    ended = end(ranks[0], since)
    assert ended.status == 70 and ended.seconds < BOUND_S
    (line,) = ended.said.split("\n\n") if "\n\n" in ended.said else [ended.said.strip()]
    assert line.startswith(
        f"rank 0 ends: rank 1 (process {ranks[1].pid}) was killed in update of step 12; there is no "
    )
    ranks[1].communicate()


def test_a_rank_that_fails_says_why_last_and_the_other_names_it(tmp_path: Path):
    ranks, since = two_ranks(tmp_path, "waits", "fails"), time.monotonic()
    failed, other = end(ranks[1], since), end(ranks[0], since)
    assert failed.status == other.status == 70
    assert (
        failed.said.strip()
        .splitlines()[-1]
        .startswith("error: rank 1 failed in update of step 12: RuntimeError: the loss is not finite; there is no ")
    )
    assert "rank 0 ends: rank 1 failed in update of step 12: RuntimeError: the loss is not finite" in other.said
    assert "Traceback" not in other.said


def test_both_fail_and_one_cause_is_told(tmp_path: Path):
    ranks, since = two_ranks(tmp_path, "fails", "fails"), time.monotonic()
    said = [end(rank, since).said for rank in ranks]
    assert sum("Traceback" in text for text in said) == 1
    assert sum("error: rank" in text for text in said) == 1


def test_a_stopped_rank_is_named_by_the_other_after_the_stall_time(tmp_path: Path):
    ranks, since = two_ranks(tmp_path, "waits", "works", stall=3), time.monotonic()
    ranks[1].send_signal(signal.SIGSTOP)
    ended = end(ranks[0], since)
    assert ended.status == 75 and 3 < ended.seconds < BOUND_S
    assert (
        "rank 0: nothing has moved on any rank for 3 s (train.stall_timeout_s); it is in update of step 12"
        in ended.said
    )
    assert f"rank 1 (process {ranks[1].pid} on " in ended.said and "in update of step 12: it is stopped" in ended.said
    assert ranks[1].wait(timeout=2) == -signal.SIGKILL, "a stopped process hears nothing else"
    assert "Current thread" in (tmp_path / "stalled-rank-0.txt").read_text()
    ranks[1].communicate()


def test_all_say_where_they_hang(tmp_path: Path):
    ranks, since = two_ranks(tmp_path, "waits", "waits", stall=3), time.monotonic()
    for number, rank in enumerate(ranks):
        ended = end(rank, since)
        assert ended.status == 75
        assert f"rank {number}: nothing has moved on any rank for" in ended.said
        assert "waits for" in ended.said


def test_a_rank_that_works_keeps_the_others_waiting(tmp_path: Path):
    ranks = two_ranks(tmp_path, "waits", "works", stall=2)
    time.sleep(2)
    assert [rank.poll() for rank in ranks] == [None, None]
    for rank in ranks:
        rank.kill()
        rank.communicate()


def test_a_rank_that_ends_as_it_should_ends_nobody(tmp_path: Path):
    ranks = two_ranks(tmp_path, "works", "ends")
    ranks[1].communicate()
    time.sleep(1.5)
    assert ranks[0].poll() is None
    ranks[0].kill()
    ranks[0].communicate()


def test_a_launcher_that_is_killed_ends_its_ranks(tmp_path: Path):
    """Under torchrun or accelerate launch; a run from a shell goes on without the shell."""
    parent = subprocess.Popen(
        [
            sys.executable, "-c",
            "import subprocess, sys; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); sys.stdin.read()",
            sys.executable, "-c", RANK, str(tmp_path), "0", "0", "works",
        ],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "TORCHELASTIC_RUN_ID": "x"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    other = start(tmp_path, 1, "works")
    assert parent.stdout is not None and parent.stderr is not None
    parent.stdout.readline()
    assert parent.stdout.readline() == "watches\n"
    parent.send_signal(signal.SIGKILL)
    assert f"the launcher (process {parent.pid}) is gone; the run stops as at SIGTERM" in parent.stderr.read()
    other.kill()
    other.communicate()
    parent.communicate()


def test_what_an_earlier_start_left_is_not_taken_for_a_rank(tmp_path: Path):
    earlier = Watch(tmp_path, run="earlier", rank=1, num_ranks=2, stall_timeout_s=None)
    earlier._write(error="RuntimeError: of before")
    now = Watch(tmp_path, run="now", rank=0, num_ranks=2, stall_timeout_s=None)
    now.start()
    try:
        assert not (tmp_path / ".ranks" / "1.json").exists()
        assert SILENT_S > 0 and now._first_to_fail() is None
    finally:
        now.close()
    assert not (tmp_path / ".ranks").exists()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, False), ({"TORCHELASTIC_RUN_ID": "none"}, True), ({"ACCELERATE_MIXED_PRECISION": "no"}, True)],
)
def test_only_a_launcher_is_missed(variables: dict[str, str], expected: bool):
    assert launched(variables) is expected
