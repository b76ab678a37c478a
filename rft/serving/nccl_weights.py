"""Weights from GPU to GPU (rollout.weight_transfer=nccl): vLLM's own transfer, to all servers in one broadcast.

The first rank and every worker of every server are one NCCL group. Weights are drawn as `named_full_weights` gives
them, one module at a time from ZeRO-3's shards, and sent while the next ones are gathered; nothing is written. A group
ends with any of its members, so a server that was started again is in none: it waits for the next sync, which makes a
new group.

Not run yet: it takes two GPUs, one that trains and one that serves. What needs none is tested (tests/unit/serving).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from rft.serving.client import Server, ServerFault
from rft.serving.weight_files import is_here

BACKEND = "nccl"
"""vLLM's name of it."""


class ServerGroup:
    """The servers of one NCCL group as vLLM's transfer wants a client: it calls them all at once.

    Args:
        sizes: workers of each server.
    """

    def __init__(self, servers: Sequence[Server], sizes: Sequence[int]) -> None:
        self.servers = list(servers)
        self.sizes = list(sizes)

    @property
    def num_workers(self) -> int:
        return sum(self.sizes)

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Each server's workers have the ranks after those of the servers before it; the trainer's is 0."""
        offsets = [init_info["rank_offset"] + sum(self.sizes[:number]) for number in range(len(self.sizes))]
        self._call("/init_weight_transfer_engine", [{"init_info": init_info | {"rank_offset": at}} for at in offsets])

    def start_weight_update(self) -> None:
        self._call("/start_weight_update", [{}] * len(self.servers))

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self._call("/update_weights", [{"update_info": update_info}] * len(self.servers))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self._call("/finish_weight_update", [{}] * len(self.servers))

    def _call(self, path: str, bodies: Sequence[dict[str, Any]]) -> None:
        def call(server: Server, body: dict[str, Any]) -> None:
            server.post(path, body, server.load_timeout_s)

        with ThreadPoolExecutor(len(self.servers)) as threads:
            list(threads.map(call, self.servers, bodies))


class Stream:
    """A stream of weights that is drawn anew for each sync, as vLLM's transfer wants a source.

    Args:
        dtype: of the servers' weights.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.weights: Iterable[tuple[str, Tensor]] = ()
        """Can be iterated again and again; every rank draws all of it."""
        self._known: list[tuple[str, torch.dtype, tuple[int, ...]]] | None = None

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self.weights:
            yield name, tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def metadata(self) -> list[Any]:
        """Name, type and shape of each weight. The first time the stream is drawn for them; they do not change."""
        from vllm.distributed.weight_transfer.base import ParamMeta

        if self._known is None:
            self._known = [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in self]
        return [ParamMeta(name, dtype, shape) for name, dtype, shape in self._known]


class NcclWeights:
    """The way of a run's weights to its servers. Every rank has one; the first rank's sends.

    Args:
        rank: of this process.
        dtype: of the servers' weights.
    """

    def __init__(self, rank: int, dtype: torch.dtype) -> None:
        self.rank = rank
        self.stream = Stream(dtype)
        self._group: list[str] | None = None
        """Addresses of the servers that the present group was made with."""
        self._engine: Any = None

    def send(self, weights: Iterable[tuple[str, Tensor]], servers: Sequence[Server]) -> None:
        """Sends all weights to these servers. A collective of the trainer's ranks.

        Args:
            servers: those that are up, the same on every rank.

        Raises:
            ServerFault: one of them did not take part; no group is left then.
        """
        self.stream.weights = weights
        addresses = [server.url for server in servers]
        try:
            if addresses != self._group:
                self._engine = self._meet(servers)
                self._group = addresses
            self._engine.send_weights()
        except Exception:
            self.forget_group()
            raise

    def forget_group(self) -> None:
        """A member of the group is gone, or was started again: the next `send` makes a new one."""
        self._group = self._engine = None

    def _meet(self, servers: Sequence[Server]) -> Any:
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo, NCCLTrainerWeightTransferEngine

        sizes = [world_size(server) for server in servers] if self.rank == 0 else [1] * len(servers)
        group = ServerGroup(servers, sizes)
        info = NCCLTrainerInitInfo(
            master_address=own_address(servers),
            master_port=free_port() if self.rank == 0 else 0,
            world_size=1 + group.num_workers,
            rank=self.rank,
        )
        return NCCLTrainerWeightTransferEngine.trainer_init(info, client=group, source=source_of(self.stream))


def source_of(stream: Stream) -> Any:
    """The stream under the class that vLLM asks for."""
    from vllm.distributed.weight_transfer.base import WeightSource

    class Source(WeightSource):
        def metadata(self) -> list[Any]:
            return stream.metadata()

        def __iter__(self) -> Iterator[tuple[str, Tensor]]:
            return iter(stream)

    return Source()


def world_size(server: Server) -> int:
    """Workers of a server: its tensor-parallel size times its data-parallel one."""
    found = server.get("/get_world_size")
    if not isinstance(found, dict) or not isinstance(found.get("world_size"), int):
        raise ServerFault(f"{server.url} does not say how many workers it has")
    return int(found["world_size"])


def own_address(servers: Sequence[Server]) -> str:
    """Where the servers find this machine."""
    if all(is_here(server.url) for server in servers):
        return "127.0.0.1"
    return os.environ.get("MASTER_ADDR") or socket.gethostbyname(socket.gethostname())


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        return int(free.getsockname()[1])
