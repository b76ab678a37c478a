"""What an endpoint is asked and answers, against a small server of its kind on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from rft.chat.endpoint import ChatReply, Endpoint, Pace
from rft.records import Message
from tests.unit.chat.endpoint_server import Server, chat, serving

KEY = "sk-a-key-of-the-test"
MESSAGES = [Message(role="system", content="Keep a memory."), Message(role="user", content="I hum jazz. Café?")]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving() as made:
        yield made


def failure(status: int, message: str) -> tuple[int, str]:
    return status, json.dumps({"error": {"message": message, "type": "x", "code": status}})


def ask(server: Server, max_retries: int = 0) -> ChatReply:
    endpoint = Endpoint(server.url, "some/model", timeout=20.0, max_retries=max_retries)
    try:
        return endpoint.reply(MESSAGES, max_tokens=7)
    finally:
        endpoint.client.close()


def test_a_reply_and_what_was_asked_for_it(server: Server):
    server.answers = [chat("- Likes jazz, café.")]
    assert ask(server) == ChatReply(text="- Likes jazz, café.", cut_off=False, prompt_tokens=12, completion_tokens=4)
    assert server.asked == [
        {
            "path": "/v1/chat/completions",
            "model": "some/model",
            "messages": [
                {"role": "system", "content": "Keep a memory."},
                {"role": "user", "content": "I hum jazz. Café?"},
            ],
            "max_tokens": 7,
            "temperature": 0.0,
        }
    ]
    assert server.authorizations == [f"Bearer {KEY}"]


def test_a_reply_at_its_limit_is_cut_off(server: Server):
    server.answers = [chat("- Likes ja", finish_reason="length")]
    assert ask(server).cut_off


def test_a_reply_without_text_and_usage_is_empty(server: Server):
    server.answers = [chat(None, usage=False)]
    assert ask(server) == ChatReply(text="", cut_off=False, prompt_tokens=0, completion_tokens=0)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_passing_error_is_tried_again(server: Server, status: int):
    server.answers = [failure(status, "busy"), failure(status, "busy"), chat("- Likes jazz.")]
    assert ask(server, max_retries=2).text == "- Likes jazz."
    assert len(server.asked) == 3


def test_retries_end(server: Server):
    server.answers = [failure(500, "broken")]
    with pytest.raises(ValueError, match="broken"):
        ask(server, max_retries=1)
    assert len(server.asked) == 2


def test_a_refused_request_is_not_tried_again(server: Server):
    server.answers = [failure(400, "too\nlong"), chat("- Likes jazz.")]
    with pytest.raises(ValueError, match="too long"):
        ask(server, max_retries=3)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_an_error_is_one_line_that_names_url_and_model_and_not_the_key(server: Server, status: int):
    server.answers = [failure(status, "not\n  today")]
    with pytest.raises(ValueError) as caught:
        ask(server)
    message = str(caught.value)
    assert message.startswith(f"{server.url}, model some/model: Error code: {status}")
    assert "not today" in message or "not\\n  today" in message
    assert "\n" not in message and KEY not in message
    assert caught.value.__suppress_context__, "the traceback would show the request"


def test_a_key_that_the_server_repeats_is_left_out(server: Server):
    server.answers = [failure(401, f"no such key: {KEY}")]
    with pytest.raises(ValueError) as caught:
        ask(server)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        "<html>Welcome</html>",  # an address without /v1
        '{"choices": []}',
        '{"choices": null, "error": {"message": "overloaded"}}',
        "{oops",
        "[]",
    ],
)
def test_an_answer_that_is_no_chat_completion_is_one_line(server: Server, body: str):
    server.answers = [(200, body)]
    with pytest.raises(ValueError, match=f"{server.url}, model some/model: "):
        ask(server)


def test_nothing_listens(server: Server):
    server.url = "http://127.0.0.1:1/v1"
    with pytest.raises(ValueError, match="http://127.0.0.1:1/v1, model some/model: Connection error"):
        ask(server)


def test_an_endpoint_of_one_s_own_needs_no_key(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    server.answers = [chat("- Likes jazz.")]
    assert ask(server).text == "- Likes jazz."
    assert server.authorizations == ["Bearer none"]


@pytest.mark.parametrize(
    "key",
    [None, ""],
)
def test_no_key_and_no_endpoint_is_said_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch, key: str | None):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ValueError, match="set OPENAI_API_KEY, or name the endpoint"):
        Endpoint(None, "some/model")


def test_a_model_that_takes_the_newer_limit_only_is_asked_with_that(server: Server):
    message = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    server.answers = [failure(400, message), chat("Jazz."), chat("Tea.")]
    endpoint = Endpoint(server.url, "o9", max_retries=0, options={"reasoning_effort": "low"})
    try:
        assert [endpoint.reply(MESSAGES, max_tokens=7, temperature=None).text for _ in range(2)] == ["Jazz.", "Tea."]
    finally:
        endpoint.client.close()
    limits = [(body.get("max_tokens"), body.get("max_completion_tokens")) for body in server.asked]
    assert limits == [(7, None), (None, 7), (None, 7)]
    assert all("temperature" not in body and body["reasoning_effort"] == "low" for body in server.asked)


def test_requests_keep_their_pace():
    pace = Pace(0.05)
    begun = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        passed = sorted(pool.map(lambda _: (pace.wait(), time.monotonic())[1], range(4)))
    assert passed[-1] - begun >= 0.15
    assert all(later - sooner >= 0.03 for sooner, later in pairwise(passed))
    assert timed(Pace(0.0)) < 0.05


def timed(pace: Pace) -> float:
    begun = time.monotonic()
    for _ in range(20):
        pace.wait()
    return time.monotonic() - begun
