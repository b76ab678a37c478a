"""A finished run ends with its own status, also while a thread of gloo still holds a tensor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
