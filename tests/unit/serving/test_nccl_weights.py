"""Weights over NCCL, as far as no GPU is needed: who has which rank, what is announced, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rft.serving.client import Server, ServerFault
from rft.serving.nccl_weights import NcclWeights, ServerGroup, Stream, own_address, source_of, world_size
from rft.weights import FullWeights
from tests.tiny import tiny_qwen3
from tests.unit.serving.scripted import ScriptedServer, scripted


def clients(servers: list[ScriptedServer]) -> list[Server]:
    return [Server(server.url, 5.0, 5.0) for server in servers]


def test_every_worker_of_every_server_has_a_rank_of_its_own():
    told: list[tuple[int, str, Any]] = []
    with scripted(3) as servers:
        for number, server in enumerate(servers):
            server.reply = lambda path, body, number=number: told.append((number, path, body)) or {}  # type: ignore[method-assign]
        group = ServerGroup(clients(servers), [2, 1, 4])
        group.init_weight_transfer_engine({"rank_offset": 1, "world_size": 1 + group.num_workers})
        group.start_weight_update()
        group.update_weights({"names": ["a"]})
        group.finish_weight_update()
    offsets = {number: body["init_info"]["rank_offset"] for number, path, body in told if "init_" in path}
    assert offsets == {0: 1, 1: 3, 2: 4} and group.num_workers == 7
    assert {body["init_info"]["world_size"] for _, path, body in told if "init_" in path} == {8}
    for number in range(3):
        paths = [path for at, path, _ in told if at == number]
        assert paths == [
            "/init_weight_transfer_engine", "/start_weight_update", "/update_weights", "/finish_weight_update"
        ]  # fmt: skip
    assert [body for _, path, body in told if path == "/update_weights"] == [{"update_info": {"names": ["a"]}}] * 3


def test_a_server_that_takes_no_part_is_named():
    with scripted(2) as servers:
        group = ServerGroup(clients(servers), [1, 1])
        servers[1].stop()
        with pytest.raises(ServerFault, match=servers[1].url):
            group.start_weight_update()
        servers[0].reply = lambda path, body: {}  # type: ignore[method-assign]
        with pytest.raises(ServerFault, match="how many workers"):
            world_size(Server(servers[0].url, 5.0, 5.0))
        servers[0].reply = lambda path, body: {"world_size": 4}  # type: ignore[method-assign]
        assert world_size(Server(servers[0].url, 5.0, 5.0)) == 4


def test_what_is_announced_is_what_is_sent_each_time():
    """vLLM splits the bytes by the announcement."""
    policy = tiny_qwen3(tied=True)
    stream = Stream(torch.bfloat16)
    stream.weights = FullWeights(policy)
    source = source_of(stream)
    for _ in range(2):
        sent = [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in source]
        assert [(meta.name, meta.dtype, meta.shape) for meta in source.metadata()] == sent
        assert {dtype for _, dtype, _ in sent} == {torch.bfloat16}
        with torch.no_grad():
            policy.model.norm.weight += 1
    moved = dict(iter(source))["model.norm.weight"]
    assert torch.equal(moved, policy.model.norm.weight.to(torch.bfloat16))


def test_a_group_that_fails_is_forgotten(monkeypatch: pytest.MonkeyPatch):
    made: list[list[str]] = []

    class Engine:
        fails = False

        def send_weights(self) -> None:
            if self.fails:
                raise ServerFault("gone")

    def meet(self: NcclWeights, servers: list[Server]) -> Engine:
        made.append([server.url for server in servers])
        return Engine()

    monkeypatch.setattr(NcclWeights, "_meet", meet)
    nccl = NcclWeights(0, torch.float32)
    one, two = Server("http://a:1", 1.0, 1.0), Server("http://b:1", 1.0, 1.0)
    nccl.send([], [one, two])
    nccl.send([], [one, two])
    assert made == [["http://a:1", "http://b:1"]], "a group is kept while its members are"
    nccl.send([], [one])
    Engine.fails = True
    with pytest.raises(ServerFault):
        nccl.send([], [one])
    Engine.fails = False
    nccl.send([], [one])
    assert made[1:] == [["http://a:1"], ["http://a:1"]]


def test_servers_on_this_machine_find_it_without_a_network(monkeypatch: pytest.MonkeyPatch):
    assert own_address([Server("http://127.0.0.1:1", 1.0, 1.0)]) == "127.0.0.1"
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    assert own_address([Server("http://127.0.0.1:1", 1.0, 1.0), Server("http://10.0.0.7:1", 1.0, 1.0)]) == "10.0.0.1"
