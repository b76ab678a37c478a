"""A server that is not for this run is one line, before anything is sent to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import Qwen3Config

from rft.serving.client import Server
from rft.serving.handshake import PROBE_TEXT, ServerFacts, check_server, meet
from rft.serving.worker import shape_of
from rft.telemetry.provenance import installed_version
from tests.unit.data.builder import TEMPLATES, make_tokenizer
from tests.unit.serving.scripted import scripted

TOKENIZER = make_tokenizer(TEMPLATES["chatml"])
SETTINGS = Qwen3Config(vocab_size=50, hidden_size=8)
GOOD = ServerFacts(
    version=str(installed_version("vllm")), window=64, dtype="float32", logprobs_mode="processed_logprobs",
    extension="rft.serving.worker.WorkerExtension", kv_cache_tokens=1000, shape=shape_of(SETTINGS),
    probe_ids=tuple(TOKENIZER(PROBE_TEXT, add_special_tokens=False)["input_ids"]),
)  # fmt: skip


def check(facts: ServerFacts) -> None:
    check_server("http://a:1", facts, SETTINGS, TOKENIZER, 64, torch.float32)


def test_the_run_s_own_server_passes():
    check(GOOD)
    check(replace(GOOD, window=1000, probe_ids=None, version=f"{GOOD.version}+cpu"))


def test_adapters_need_room_and_whole_weights_need_none():
    def with_adapters(facts: ServerFacts, rank: int | None) -> None:
        check_server("http://a:1", facts, SETTINGS, TOKENIZER, 64, torch.float32, rank)

    with_adapters(replace(GOOD, lora_rank=8), 8)
    for facts, rank, says in [
        (GOOD, 8, "no room for adapters of rank 8"),
        (replace(GOOD, lora_rank=8), 9, "no room for adapters of rank 9"),
        (replace(GOOD, lora_rank=8), None, "room for adapters, and rollout.lora is merged"),
    ]:
        with pytest.raises(ValueError, match=says):
            with_adapters(facts, rank)


def test_weights_over_nccl_need_a_server_that_was_started_for_them():
    def over_nccl(facts: ServerFacts) -> None:
        check_server("http://a:1", facts, SETTINGS, TOKENIZER, 64, torch.float32, weight_transfer="nccl")

    over_nccl(replace(GOOD, weight_transfer="nccl"))
    check(replace(GOOD, weight_transfer="nccl"))
    with pytest.raises(ValueError, match="no way for weights over NCCL"):
        over_nccl(GOOD)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"version": "0.30.0"}, "vllm 0.30.0, here it is"),
        ({"shape": shape_of(SETTINGS) | {"vocab_size": 60}}, "another model"),
        ({"probe_ids": (1, 2)}, "another tokenizer"),
        ({"window": 63}, "a window of 63 tokens, the run needs 64"),
        ({"dtype": "bfloat16"}, "weights in bfloat16, the trainer's are float32"),
        ({"logprobs_mode": "raw_logprobs"}, "log-probs of mode raw_logprobs"),
        ({"extension": None}, "no way for weights"),
    ],
)
def test_what_differs_is_named(changes: dict[str, Any], says: str):
    with pytest.raises(ValueError, match=r"^rollout.servers: http://a:1 has .*; start it with rft/serve.py") as caught:
        check(replace(GOOD, **changes))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_facts_are_read_from_the_server():
    with scripted(1) as (server,):
        found = meet(Server(server.url, 5.0, 5.0), 5.0)
        assert (found.window, found.dtype, found.kv_cache_tokens, found.probe_ids) == (64, "float32", 1000, (5, 6))
        assert found.shape == {"vocab_size": 50, "hidden_size": 8}
        server.settings = {"max_model_len": None}
        with pytest.raises(ValueError, match="has not what a run needs"):
            meet(Server(server.url, 5.0, 5.0), 5.0)


def test_nobody_there_is_one_line():
    with pytest.raises(ValueError, match=r"^rollout.servers: http://127.0.0.1:9 does not answer .*rft/serve.py"):
        meet(Server("http://127.0.0.1:9", 5.0, 5.0), 0.0)
