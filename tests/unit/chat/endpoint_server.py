"""A small server of an OpenAI-compatible endpoint's kind, on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Response = tuple[int, str]
"""Status and body."""


@dataclass(kw_only=True)
class Server:
    """Answers with `answers` in turn, the last one again and again, or by `answer`; keeps what it was asked."""

    url: str
    answers: list[Response] = field(default_factory=list)
    answer: Callable[[dict[str, Any]], Response] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)

    def respond(self, body: dict[str, Any]) -> Response:
        if self.answer is not None:
            return self.answer(body)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def serving() -> Iterator[Server]:
    """Listens on a free port until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.asked.append({"path": self.path} | body)
            made.authorizations.append(self.headers["Authorization"])
            status, text = made.respond(body)
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
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
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
