"""What counts as a completion, and what a server says when it refuses."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from rft.records import Completion, TurnRequest
from rft.rollout.engine import GREEDY
from rft.serving.client import Server, ServerFault, problem_of
from tests.unit.serving.scripted import STOP, VOCAB, ScriptedServer, expected, scripted

REQUEST = TurnRequest(prompt_ids=(4, 5, 6), seed=9, max_tokens=3)
GOOD = Completion(token_ids=(7, 8, STOP), logprobs=(-0.1, -0.2, 0.0), finish_reason="stop", policy_version=1)


def problem(**changes: Any) -> str | None:
    return problem_of(replace(GOOD, **changes), REQUEST, [STOP], VOCAB)


def test_a_completion_of_the_request_has_no_problem():
    assert problem() is None
    assert problem(token_ids=(7, 8, 9), finish_reason="length") is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"token_ids": ()}, "0 tokens"),
        ({"token_ids": (7, 8, 9, STOP)}, "4 tokens for at most 3"),
        ({"logprobs": (-0.1,)}, "1 log-probs for 3 tokens"),
        ({"token_ids": (7, VOCAB, STOP)}, "outside of the vocabulary"),
        ({"token_ids": (7, -1, STOP)}, "outside of the vocabulary"),
        ({"logprobs": (-0.1, float("nan"), 0.0)}, "log-prob that is none"),
        ({"logprobs": (-0.1, 0.5, 0.0)}, "log-prob that is none"),
        ({"token_ids": (7,), "logprobs": (-0.1,), "finish_reason": "length"}, "cut before the limit"),
        ({"token_ids": (7, 8, 9)}, "ended without a stop token"),
        ({"finish_reason": "abort"}, "finish_reason 'abort'"),
    ],
)
def test_what_is_no_completion_says_why(changes: dict[str, Any], says: str):
    found = problem(**changes)
    assert found is not None and says in found


@pytest.fixture
def server():
    with scripted(1) as (made,):
        yield made


def complete(server: ScriptedServer, client: Server | None = None) -> Completion:
    async def ask() -> Completion:
        async with httpx.AsyncClient(trust_env=False) as http:
            found, _ = await (client or Server(server.url, 5.0, 5.0)).complete(
                http, REQUEST, GREEDY, stop_token_ids=[STOP], vocab_size=VOCAB, policy_version=1, label="a-1"
            )
            return found

    return asyncio.run(ask())


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": [{}]}, [], {"choices": [{"token_ids": None}]}])
def test_another_shape_of_answer_is_nonsense(server: ScriptedServer, body: Any):
    server.complete = lambda asked: body  # type: ignore[method-assign]
    with pytest.raises(ServerFault, match="nonsense"):
        complete(server)


def test_the_key_is_sent_and_the_environment_s_proxy_is_not_asked(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("VLLM_API_KEY", "a-key")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert Server(server.url, 5.0, 5.0).headers == {"Authorization": "Bearer a-key"}
    assert complete(server).token_ids[-1] == STOP


def test_weights_are_loaded_named_and_nothing_of_before_is_left_in_the_cache(server: ScriptedServer, tmp_path: Path):
    (tmp_path / "0.safetensors").write_bytes(b"")
    calls: list[str] = []
    real = server.reply
    server.reply = lambda path, body: (calls.append(path), real(path, body))[1]  # type: ignore[method-assign]
    Server(server.url, 5.0, 5.0).load_files(str(tmp_path), "run-1")
    assert (server.version, server.loaded) == ("run-1", [str(tmp_path)])
    assert calls == ["/collective_rpc", "/reset_prefix_cache", "/update_weight_version"], "the name comes last"


def test_a_server_that_cannot_see_the_files_says_so_and_keeps_its_version(server: ScriptedServer, tmp_path: Path):
    with pytest.raises(ServerFault, match="did not take the weights: no weights there"):
        Server(server.url, 5.0, 5.0).load_files(str(tmp_path), "run-1")
    assert server.version == "default"
    assert not Server(server.url, 5.0, 5.0).sees(str(tmp_path), 8.0)


@pytest.mark.parametrize("odd", [[], "text", {"results": []}, {"results": [None]}, {}])
def test_odd_answers_of_the_control_endpoints_are_faults(server: ScriptedServer, tmp_path: Path, odd: Any):
    server.reply = lambda path, body: odd  # type: ignore[method-assign]
    asked = Server(server.url, 5.0, 5.0)
    with pytest.raises(ServerFault):
        asked.weight_version()
    with pytest.raises(ServerFault):
        asked.load_files(str(tmp_path), "run-1")


def test_an_adapter_takes_the_place_of_the_one_before_and_requests_name_theirs(server: ScriptedServer, tmp_path: Path):
    client = Server(server.url, 5.0, 5.0, adapter=True)
    with pytest.raises(ServerFault, match="no adapter there"):
        client.load_adapter(str(tmp_path), "a-1", "a-0", "a-1/x")
    assert server.version == "default"
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    client.load_adapter(str(tmp_path), "a-1", "a-0", "a-1/x")  # there is no a-0
    assert (server.adapters, server.version) == (["a-1"], "a-1/x")
    assert complete(server, client).token_ids == expected(REQUEST)
    client.load_adapter(str(tmp_path), "a-2", "a-1", "a-2/y")
    assert (server.adapters, server.version) == (["a-2"], "a-2/y")
    with pytest.raises(ServerFault, match="no such model"):
        complete(server, client)
