"""A small server of an OpenAI-compatible endpoint's kind, on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Response = tuple[int, str | bytes] | tuple[int, str | bytes, dict[str, str]]
"""Status and body, and headers besides those that are always sent."""


@dataclass(kw_only=True)
class Server:
    """Answers with `answers` in turn, the last one again and again, or by `answer`; keeps what it was asked."""

    url: str
    answers: list[Response] = field(default_factory=list)
    answer: Callable[[dict[str, Any]], Response] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    """Of what was asked, by lower-case names."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def respond(self, body: dict[str, Any]) -> Response:
        if self.answer is not None:
            return self.answer(body)
        with self.lock:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def serving() -> Iterator[Server]:
    """Listens on a free port until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.asked.append({"path": self.path} | body)
            made.authorizations.append(self.headers["Authorization"])
            made.headers.append({name.lower(): value for name, value in self.headers.items()})
            status, text, *more = made.respond(body)
            sent = text.encode() if isinstance(text, str) else text
            headers = {
                "Content-Type": "application/json" if sent.startswith((b"{", b"[")) else "text/html",
                "Content-Length": str(len(sent)),
                "retry-after-ms": "1",
            }
            self.send_response(status)
            for name, value in (headers | (more[0] if more else {})).items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):  # whoever asked may have gone
                self.wfile.write(sent)

        def log_message(self, *arguments: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Server(url=f"http://127.0.0.1:{http.server_port}/v1")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


@contextmanager
def scripted_endpoint(monkeypatch: pytest.MonkeyPatch, key: str | None = None) -> Iterator[Server]:
    """`serving`, as a client in this process reaches it: without a proxy, and with this key or none."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    with serving() as made:
        yield made


def chat(text: Any, finish_reason: str | None = "stop", usage: bool = True) -> tuple[int, str]:
    """A chat completion; `text` is the message's content, whatever it is."""
    body: dict[str, Any] = {
        "id": "1", "object": "chat.completion", "created": 0, "model": "m",
        "choices": [
            {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text}}
        ],
    }  # fmt: skip
    if usage:
        body["usage"] = {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16}
    return 200, json.dumps(body)


def error(status: int, message: str, **more: Any) -> tuple[int, str]:
    return status, json.dumps({"error": {"message": message, "type": "x", "code": status} | more})


def stream(*pieces: str, finish_reason: str | None = "stop", end: str = "data: [DONE]\n\n") -> Response:
    """A completion as server-sent events, one for each piece of the text."""
    chunks: list[dict[str, Any]] = [
        {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces
    ]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason}]})
    chunks.append({"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 4}})
    events = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    return 200, ": waiting\n\n" + events + end, {"Content-Type": "text/event-stream"}
