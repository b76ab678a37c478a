"""One run per output_dir, whatever ended the one before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rft.run_lock import RunLock

ROOT = Path(__file__).parents[2]
HOLDER = (
    "import sys, time; from pathlib import Path; from rft.run_lock import RunLock\nlock = RunLock(Path(sys.argv[1]))\n"
)


def holder(output_dir: Path, then: str) -> subprocess.Popen[str]:
    """A process that holds the lock."""
    program = HOLDER + "print('holds', flush=True); sys.stdin.readline()\n" + then
    found = subprocess.Popen(
        [sys.executable, "-c", program, str(output_dir)], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert found.stdout is not None and found.stdout.readline() == "holds\n"
    return found


def test_two_runs_in_one_folder_the_second_is_refused_in_one_line(tmp_path: Path):
    first = holder(tmp_path / "run", "lock.release()")
    with pytest.raises(ValueError, match=rf"belongs to a run that is going on \(process {first.pid} on ") as caught:
        RunLock(tmp_path / "run")
    assert "\n" not in str(caught.value)
    first.communicate("\n")
    assert list((tmp_path / "run").iterdir()) == [], "nothing is left"
    RunLock(tmp_path / "run").release()


def test_a_killed_run_leaves_a_folder_that_can_be_used(tmp_path: Path):
    first = holder(tmp_path, "")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert (tmp_path / ".lock").exists()
    RunLock(tmp_path).release()
    assert not (tmp_path / ".lock").exists()


def test_a_child_process_does_not_keep_the_lock(tmp_path: Path):
    first = holder(tmp_path, "import os\nif os.fork() == 0: time.sleep(20)\nos._exit(0)")
    first.stdin.write("\n")  # type: ignore[union-attr]
    first.stdin.flush()  # type: ignore[union-attr]
    first.wait(timeout=10)
    RunLock(tmp_path).release()
