"""Whether the ranks of a launch reach each other: one all-reduce. A probe (`rft.probes.probe.Probe`)."""

from __future__ import annotations

import os
import socket
import time
from datetime import timedelta
from typing import Any

import torch
import torch.multiprocessing as mp
from torch import distributed

from rft.config import Config
from rft.probes.probe import Finding

NUM_ELEMENTS = 2**24
"""Float32 numbers that are added up: 64 MiB."""
TIMEOUT = timedelta(seconds=90)


def all_reduce(config: Config | None) -> Finding:
    """Among the ranks of the launch; without a launcher, among one process per GPU of this machine, or two on a CPU."""
    if "RANK" in os.environ:
        return reduce_once(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_RANK"]))
    size = torch.cuda.device_count() or 2
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    findings: Any = mp.get_context("spawn").SimpleQueue()
    mp.spawn(reduce_in_process, args=(size, findings), nprocs=size)
    finding: Finding = findings.get()
    return finding


def reduce_in_process(rank: int, size: int, findings: Any) -> None:
    finding = reduce_once(rank, size, rank)
    if rank == 0:
        findings.put(finding)


def reduce_once(rank: int, size: int, local_rank: int) -> Finding:
    """This rank's part; collective.

    Args:
        local_rank: which GPU of the machine is used.
    """
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(local_rank)
    distributed.init_process_group(backend, rank=rank, world_size=size, timeout=TIMEOUT)
    device = "cuda" if backend == "nccl" else "cpu"
    distributed.all_reduce(torch.ones(1, device=device))  # connections are made at first use
    values = torch.full((NUM_ELEMENTS,), float(rank + 1), device=device)
    started = time.perf_counter()
    distributed.all_reduce(values)
    right = bool((values == size * (size + 1) / 2).all())  # waits for the GPU
    seconds = time.perf_counter() - started
    distributed.destroy_process_group()
    text = f"all-reduce of {values.nbytes >> 20} MiB over {size} ranks with {backend} in {seconds:.3f} s"
    return Finding(status="ok" if right else "bad", text=text if right else f"{text}, with a wrong sum")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
