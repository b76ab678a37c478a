"""A server with vLLM's endpoints and no model: what it says is computed from what it is asked, and it can fail."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rft.records import TurnRequest
from rft.serving.command import EXTENSION

VOCAB = 50
STOP = 1


def tokens_of(prompt: list[int], seed: int, max_tokens: int) -> list[int]:
    """A completion that only its own request can have."""
    body = [2 + (sum(prompt) + seed * 7 + place) % (VOCAB - 2) for place in range(max_tokens - 1)]
    return [*body, STOP]


def expected(request: TurnRequest) -> tuple[int, ...]:
    return tuple(tokens_of(list(request.prompt_ids), request.seed, request.max_tokens))


@dataclass(kw_only=True)
class ScriptedServer:
    """Its habits can be changed at any time."""

    port: int = 0
    version: str = "default"
    """Of its weights."""
    takes_weights: bool = True
    delay_s: float = 0.0
    nonsense: bool = False
    refuses: bool = False
    """Says that requests cannot be answered."""
    hangs: bool = False
    """Accepts requests and says nothing more, not even that it is well."""
    dies_after: int | None = None
    """Completions."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    answered: int = 0
    loaded: list[str] = field(default_factory=list)
    """Folders."""
    adapters: list[str] = field(default_factory=list)
    """Names that requests may ask for."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Laid over what /server_info says of its model."""
    _http: ThreadingHTTPServer | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """On the same port as before, with the weights of its model folder."""
        self.version = "default"
        self._http = Listening(("127.0.0.1", self.port), handler_of(self))
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        if self._http is not None:
            http, self._http = self._http, None
            http.shutdown()
            http.server_close()

    def reply(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/weight_info":
            return {"weight_version": self.version}
        if path == "/version":
            return {"version": "0.31.0"}
        if path == "/tokenize":
            return {"tokens": [5, 6]}
        if path.startswith("/server_info"):
            model = {
                "max_model_len": 64,
                "dtype": "torch.float32",
                "logprobs_mode": "processed_logprobs",
            }
            return {
                "vllm_config": {
                    "model_config": model | self.settings,
                    "cache_config": {"kv_cache_size_tokens": 1000},
                    "parallel_config": {"worker_extension_cls": EXTENSION},
                }
            }
        if path == "/collective_rpc":
            return {"results": [self.work(body["method"], *body["args"])]}
        if path == "/v1/load_lora_adapter":
            assert list(Path(body["lora_path"]).glob("adapter_model.safetensors")), "no adapter there"
            self.adapters.append(body["lora_name"])
        if path == "/v1/unload_lora_adapter":
            assert body["lora_name"] in self.adapters, "no such adapter"
            self.adapters.remove(body["lora_name"])
        if path == "/update_weight_version":
            self.version = body["new_version"]
        if path == "/reset_prefix_cache":
            return {"success": True}
        return {}

    def work(self, method: str, *arguments: str) -> dict[str, Any]:
        if method == "rft_model_shape":
            return {"vocab_size": VOCAB, "hidden_size": 8}
        files = list(Path(arguments[0]).glob("*.safetensors"))
        if method == "rft_sum_of_files":
            return {"sum": 8.0 if files else None}
        if not files or not self.takes_weights:
            return {"error": "no weights there" if self.takes_weights else "a weight that is not known"}
        self.loaded.append(arguments[0])
        return {"error": None}

    def complete(self, body: dict[str, Any]) -> Any:
        with self._lock:
            self.asked.append(body)
        time.sleep(self.delay_s)
        assert body.get("model") in (None, *self.adapters), "no such model"
        sampling = body["sampling_params"]
        found = tokens_of(body["token_ids"], sampling["seed"], sampling["max_tokens"])
        if self.nonsense:
            found = [VOCAB + 3]
        with self._lock:
            self.answered += 1
            dies = self.dies_after is not None and self.answered >= self.dies_after
        if dies:
            self.dies_after = None
            threading.Thread(target=self.stop, daemon=True).start()
        return {
            "choices": [
                {
                    "index": 0,
                    "token_ids": found,
                    "logprobs": {"content": [{"token": "", "logprob": -0.5} for _ in found]},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens_details": {"cached_tokens": 3}},
        }


class Listening(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked may have gone."""


def handler_of(server: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.handle_one({})

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            self.handle_one(json.loads(self.rfile.read(size) or b"{}"))

        def handle_one(self, body: dict[str, Any]) -> None:
            while server.hangs:
                time.sleep(0.05)
            generates = self.path == "/inference/v1/generate"
            try:
                found, status = (server.complete(body) if generates else server.reply(self.path, body)), 200
            except AssertionError as error:
                found, status = {"error": str(error)}, 500
            if generates and server.refuses:
                found, status = {"error": "the prompt is too long"}, 400
            if server._http is None:
                return  # killed: the connection breaks
            text = json.dumps(found).encode()
            with suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    return Handler


@contextmanager
def scripted(number: int) -> Iterator[list[ScriptedServer]]:
    servers = [ScriptedServer() for _ in range(number)]
    for server in servers:
        server.start()
    try:
        yield servers
    finally:
        for server in servers:
            server.hangs = False
            server.stop()
