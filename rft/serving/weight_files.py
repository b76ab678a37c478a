"""The trainer's side of weights as files: written once per sync, kept until the next one."""

from __future__ import annotations

import hashlib
import shutil
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import torch
from safetensors.torch import save_file
from torch import Tensor

from rft import progress
from rft.config import Config, LoraConfig
from rft.rollout.adapter_files import write_adapter

SHARED_MEMORY = Path("/dev/shm")  # nosec B108: a folder of its own in it, with a name of the run
FILE_BYTES = 2**30
"""Of tensors in one file, about: what is held in memory twice while it is written."""


def weight_folder(config: Config) -> Path:
    """A folder of this run's own, the same after a kill, so that nothing is left behind: in the one that the config
    names; else in shared memory where every server is on this machine."""
    chosen, output_dir = config.rollout.weight_folder, Path(config.output_dir).absolute()
    own = f"rft-{hashlib.sha256(str(output_dir).encode()).hexdigest()[:12]}"
    if chosen is not None:
        return Path(chosen).absolute() / own
    if SHARED_MEMORY.is_dir() and all(is_here(url) for url in config.rollout.servers):
        return SHARED_MEMORY / own
    return output_dir / ".weights"


def is_here(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


class WeightFiles:
    """
    Args:
        folder: of all versions; what is in it is removed.
        writes: whether this process writes at all; the others only draw the stream, which may be a collective.
        dtype: of the servers' weights; the trainer's may be float32.
        lora: the adapter that is written, where no whole weights are.
    """

    def __init__(self, folder: Path, *, writes: bool, dtype: torch.dtype, lora: LoraConfig | None = None) -> None:
        self.folder = folder
        self.dtype = dtype
        self.writes = writes
        self.lora = lora
        if writes:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)

    def of_version(self, version: int) -> Path:
        return self.folder / str(version)

    def write(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Writes every weight as a version of its own, and removes the one before."""
        target, part = self.of_version(version), self.folder / "part"
        if not self.writes:
            deque(weights, maxlen=0)  # to draw them is a collective
            return
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        if self.lora is not None:
            write_adapter(part, weights, self.lora)
        else:
            self._write_model(part, weights)
        part.rename(target)
        for older in self.folder.iterdir():
            if older != target:
                shutil.rmtree(older)

    def _write_model(self, part: Path, weights: Iterable[tuple[str, Tensor]]) -> None:
        held: dict[str, Tensor] = {}
        number = size = 0
        for name, tensor in weights:
            held[name] = tensor.to(self.dtype) if tensor.is_floating_point() else tensor
            size += held[name].numel() * held[name].element_size()
            if size >= FILE_BYTES:
                number, size = write_file(part, number, held), 0
        if held:
            write_file(part, number, held)

    def write_probe(self) -> tuple[Path, float]:
        """One small tensor; the folder, and the tensor's sum."""
        folder = self.folder / "probe"
        folder.mkdir(parents=True, exist_ok=True)
        tensor = torch.linspace(0, 1, 16, dtype=torch.float64)
        write_file(folder, 0, {"probe": tensor})
        return folder, float(tensor.sum())

    def remove(self) -> None:
        if self.writes:
            shutil.rmtree(self.folder, ignore_errors=True)


def write_file(folder: Path, number: int, held: dict[str, Tensor]) -> int:
    """Writes and empties `held`; returns the number of the next file."""
    # Copies of their own: safetensors takes no tensors that share memory, and no strides.
    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in held.items()},
              folder / f"{number:05d}.safetensors")  # fmt: skip
    held.clear()
    progress.moved()
    return number + 1
