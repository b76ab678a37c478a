"""What an endpoint is asked and answers, against a small server of its kind on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rft.rollout.endpoint import Endpoint, Reply
from rft.types import Message

KEY = "sk-a-key-of-the-test"
MESSAGES = [Message(role="system", content="Keep a memory."), Message(role="user", content="I hum jazz. Café?")]


@dataclass(kw_only=True)
class Server:
    """Answers with `answers` in turn, the last one again and again; keeps what it was asked."""

    url: str
    answers: list[tuple[int, str]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.asked.append({"path": self.path} | body)
            made.authorizations.append(self.headers["Authorization"])
            status, text = made.answers.pop(0) if len(made.answers) > 1 else made.answers[0]
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if text.startswith(("{", "[")) else "text/html")
            self.send_header("Content-Length", str(len(text.encode())))
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Server(url=f"http://127.0.0.1:{http.server_port}/v1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    http.shutdown()
    http.server_close()
    thread.join()


def chat(text: str | None, finish_reason: str = "stop", usage: bool = True) -> tuple[int, str]:
    body: dict[str, Any] = {
        "id": "1", "object": "chat.completion", "created": 0, "model": "m",
        "choices": [
            {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text}}
        ],
    }  # fmt: skip
    if usage:
        body["usage"] = {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16}
    return 200, json.dumps(body)


def failure(status: int, message: str) -> tuple[int, str]:
    return status, json.dumps({"error": {"message": message, "type": "x", "code": status}})


def ask(server: Server, max_retries: int = 0) -> Reply:
    endpoint = Endpoint(server.url, "some/model", timeout=20.0, max_retries=max_retries)
    try:
        return endpoint.reply(MESSAGES, max_tokens=7)
    finally:
        endpoint.client.close()


def test_a_reply_and_what_was_asked_for_it(server: Server):
    server.answers = [chat("- Likes jazz, café.")]
    assert ask(server) == Reply(text="- Likes jazz, café.", cut_off=False, prompt_tokens=12, completion_tokens=4)
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
    assert ask(server) == Reply(text="", cut_off=False, prompt_tokens=0, completion_tokens=0)


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
