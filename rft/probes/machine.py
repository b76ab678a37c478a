"""What the machine offers: GPUs, memory, disk, a port. Each function is a probe (`rft.probes.probe.Probe`)."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rft.config import Config
from rft.probes.probe import GIB, Finding

OLDEST_DRIVER = 580
"""The first one for CUDA 13, which the lock's torch is built with."""
OLDEST_CAPABILITY = (8, 0)
"""The first GPUs with bfloat16."""
SHARE_FREE = 0.9
"""Of a GPU's memory: with less, somebody else's process holds what a run would need."""
DEFAULT_PORT = 29500
"""Where torchrun and accelerate let ranks meet when nothing else is said."""
LEAST_SHARED_MEMORY = GIB
"""Bytes of /dev/shm that NCCL and vLLM do with; containers often start with 64 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A line of nvidia-smi.

    Example:
        Gpu(name="NVIDIA H100 80GB HBM3", driver="580.95.05", total=81_559, free=81_079)
    """

    name: str
    driver: str
    total: int
    """MiB"""
    free: int
    """MiB"""


def list_gpus() -> list[Gpu] | None:
    """The GPUs of this machine; None without nvidia-smi.

    Raises:
        ValueError: nvidia-smi fails.
    """
    if shutil.which("nvidia-smi") is None:
        return None
    query = "--query-gpu=driver_version,memory.total,memory.free,name"
    done = subprocess.run(
        ["nvidia-smi", query, "--format=csv,noheader,nounits"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ValueError(f"nvidia-smi failed: {(done.stdout + done.stderr).strip()}")
    return [read_gpu(line) for line in done.stdout.splitlines() if line.strip()]


def read_gpu(line: str) -> Gpu:
    driver, total, free, name = (part.strip() for part in line.split(",", 3))
    return Gpu(name=name, driver=driver, total=int(total), free=int(free))


def driver(config: Config | None) -> Finding:
    """GPUs and driver, as nvidia-smi lists them."""
    gpus = list_gpus()
    if gpus is None:
        return Finding(status="note", text="no nvidia-smi here: only a CPU is used")
    if not gpus:
        return Finding(status="bad", text="nvidia-smi lists no GPU")
    text = f"{len(gpus)} x {gpus[0].name}, driver {gpus[0].driver}"
    if int(gpus[0].driver.partition(".")[0]) < OLDEST_DRIVER:
        return Finding(status="bad", text=f"{text}; CUDA 13 needs {OLDEST_DRIVER} or later")
    return Finding(status="ok", text=text)


def torch_build(config: Config | None) -> Finding:
    """torch, the CUDA it was built for, and whether every GPU computes."""
    import torch

    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    text = f"torch {torch.__version__}, {built}"
    if not torch.cuda.is_available():
        broken = bool(list_gpus())
        return Finding(status="bad" if broken else "ok", text=f"{text}, sees no GPU" if broken else text)
    for index in range(torch.cuda.device_count()):
        capability = torch.cuda.get_device_capability(index)
        if capability < OLDEST_CAPABILITY:
            return Finding(status="bad", text=f"{text}; GPU {index} has no bfloat16 (compute capability {capability})")
        ones = torch.ones(256, 256, dtype=torch.bfloat16, device=f"cuda:{index}")
        if not bool((ones @ ones == 256).all()):
            return Finding(status="bad", text=f"{text}; GPU {index} computes a wrong product")
    return Finding(status="ok", text=f"{text}, {torch.cuda.device_count()} GPUs compute")


def gpu_memory(config: Config | None) -> Finding:
    """Free memory of every GPU."""
    gpus = list_gpus() or []
    if not gpus:
        return Finding(status="note", text="no GPU")
    free = ", ".join(f"{gpu.free / 1024:.0f}" for gpu in gpus)
    text = f"{free} GiB free of {gpus[0].total / 1024:.0f}"
    taken = [str(index) for index, gpu in enumerate(gpus) if gpu.free < SHARE_FREE * gpu.total]
    if taken:
        return Finding(status="bad", text=f"{text}; another process holds memory of GPU {', '.join(taken)}")
    return Finding(status="ok", text=text)


def host_memory(config: Config | None) -> Finding:
    """Memory that processes of this machine, or of this container, can still have."""
    free, total = memory_of_machine()
    text = f"{free / GIB:.0f} of {total / GIB:.0f} GiB available"
    # Only its size is read.
    shared = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else 0  # nosec B108
    if list_gpus() and shared < LEAST_SHARED_MEMORY:
        return Finding(
            status="bad",
            text=f"{text}; /dev/shm has {shared / GIB:.2f} GiB, start the container with --shm-size=16g or --ipc=host",
        )
    return Finding(status="ok", text=text)


def memory_of_machine(root: Path = Path("/")) -> tuple[int, int]:
    """Bytes available and in all, the smaller of the machine's and the control group's (version 2).

    Args:
        root: under which /proc and /sys are.
    """
    found = re.findall(r"^(\w+):\s+(\d+) kB$", (root / "proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    kilobytes = {name: int(value) for name, value in found}
    free, total = kilobytes["MemAvailable"] * 1024, kilobytes["MemTotal"] * 1024
    try:
        group = root / "sys/fs/cgroup"
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no control group, or `max`: no limit
        return free, total
    return min(free, max(0, limit - used)), min(total, limit)


def disk(config: Config | None) -> Finding:
    """Room for the checkpoints of a run."""
    from rft.checkpoint.folder import nearest_existing

    folder = Path(config.output_dir if config else ".").absolute()
    free = shutil.disk_usage(nearest_existing(folder)).free
    text = f"{free / GIB:.0f} GiB free at {folder}"
    if config is None:
        return Finding(status="ok", text=text)
    try:
        needed = checkpoint_bytes(config)
    except ValueError as error:
        return Finding(status="note", text=f"{text}; what checkpoints take is not known: {error}")
    kept = config.checkpoint.save_total_limit
    text += f"; a checkpoint takes {needed / GIB:.2g} GiB"
    # The latest ones, the best one, and the one that is being written.
    if free < (kept + 2) * needed:
        return Finding(
            status="bad",
            text=f"{text}, and {kept} are kept besides the best and the one being written; free some, lower "
            "checkpoint.save_total_limit or choose another output_dir",
        )
    return Finding(status="ok", text=text)


def checkpoint_bytes(config: Config) -> int:
    """Bytes of one checkpoint, within a tenth.

    A trained number takes 16: AdamW's float32 copy and two means, and the weight itself twice, once for transformers
    and once to continue from. (Without DeepSpeed the float32 copy is the weight.) With LoRA all but adapters are
    frozen, and only the last two are kept of them.

    Raises:
        ValueError: the model's config.json cannot be read.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from rft.models import read_settings, resolve_dtype

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(read_settings(config.model))
    weights = model.num_parameters()
    return weights * (2 * resolve_dtype(config.model).itemsize if config.model.lora.r else 16)


def port(config: Config | None) -> Finding:
    """The port where ranks meet."""
    if "RANK" in os.environ:
        return Finding(status="ok", text=f"{os.environ.get('MASTER_PORT')} is in use by this launch")
    number = int(os.environ.get("MASTER_PORT", DEFAULT_PORT))
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", number))
        except OSError as error:
            remedy = "name another one with --main_process_port or --master-port"
            return Finding(status="bad", text=f"{number} cannot be used ({error.strerror}); {remedy}")
    return Finding(status="ok", text=f"{number} is free")
