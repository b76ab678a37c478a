"""A finished run ends with its own status, also while a thread of gloo still holds a tensor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rft.process_exit import OUTPUT_CLOSED, USERS_MISTAKE, refused

ROOT = Path(__file__).parents[2]

# Rank 0 is over while its collective waits for rank 1. The first exit handler runs last and keeps the interpreter for
# two seconds: gloo's thread, which alone holds the tensor, has to wait for it, and still waits when Python finalizes.
RANK_0 = """
import atexit, ctypes, sys
atexit.register(ctypes.PyDLL(None).sleep, 2)
import torch, torch.distributed as dist
from rft.process_exit import leave
dist.init_process_group("gloo", init_method=sys.argv[1], rank=0, world_size=2)
dist.barrier()
dist.all_reduce(torch.ones(1000), async_op=True)
atexit.register(lambda: print("handlers run", flush=True))
print("over")
leave(7)
"""

RANK_1 = """
import os, sys, time
import torch, torch.distributed as dist
dist.init_process_group("gloo", init_method=sys.argv[1], rank=1, world_size=2)
dist.barrier()
sys.stdin.readline()
time.sleep(0.5)
dist.all_reduce(torch.ones(1000))
os._exit(0)
"""


def test_a_thread_that_holds_a_tensor_does_not_abort_the_process(tmp_path: Path):
    address = f"file://{tmp_path}/group"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = (sys.executable, "-c")
    other = subprocess.Popen((*command, RANK_1, address), cwd=ROOT, env=environment, stdin=subprocess.PIPE, text=True)
    rank_0 = subprocess.Popen((*command, RANK_0, address), cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert rank_0.stdout is not None and other.stdin is not None
    try:
        said = "".join(iter(rank_0.stdout.readline, "handlers run\n"))
        other.stdin.write("\n")
        other.stdin.flush()
        assert rank_0.wait(timeout=120) == 7
        assert said == "over\n"
    finally:
        rank_0.kill()
        other.kill()


def test_the_first_rank_of_a_machine_says_the_mistake_and_the_others_leave_it_to_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    started = time.monotonic()
    assert refused(ValueError("two\nlines")) == USERS_MISTAKE
    assert time.monotonic() - started < 1 and capsys.readouterr().err == "error: two lines\n"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert refused(ValueError("only here"), wait_s=0.5) == USERS_MISTAKE
    assert time.monotonic() - started >= 0.5 and capsys.readouterr().err == "error: only here\n"


def test_a_launcher_s_end_is_silent_for_the_others():
    """The launcher ends them with SIGTERM while they wait."""
    command = (sys.executable, "-c", "from rft.process_exit import refused; print('waits', flush=True); refused('')")
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"LOCAL_RANK": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stderr is not None
        other.stdout.readline()
        other.terminate()
        assert other.wait(timeout=10) == -signal.SIGTERM
        assert other.stderr.read() == b""


@pytest.mark.parametrize("length", [1, 99_999])
def test_a_closed_output_ends_a_command_quietly(length: int):
    code = (
        "import sys; from rft.process_exit import status_of; sys.stdin.readline(); "
        f"sys.exit(status_of(lambda: print('x' * {length}) or 0))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert process.communicate(b"\n", timeout=60)[1] == b""
    assert process.returncode == OUTPUT_CLOSED


@pytest.mark.parametrize("name", ["audit", "doctor", "evaluate", "make_data", "memory_cli", "plan", "report", "review"])
def test_every_command_that_prints_ends_so(name: str):
    assert "status_of(main)" in (ROOT / "rft" / f"{name}.py").read_text()
