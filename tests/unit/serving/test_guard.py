"""The key of a server is asked for on every path that can read or change anything."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from rft.serving.guard import KeyOnEveryPath

PATHS = ["/collective_rpc", "/update_weight_version", "/reset_prefix_cache", "/server_info", "/inference/v1/generate"]


def client() -> TestClient:
    async def answer(request: object) -> PlainTextResponse:
        return PlainTextResponse("done")

    app = Starlette(routes=[Route(path, answer, methods=["GET", "POST"]) for path in (*PATHS, "/health")])
    app.add_middleware(KeyOnEveryPath)
    return TestClient(app)


@pytest.mark.parametrize("path", PATHS)
def test_without_the_key_nothing_is_done(path: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    asks = client()
    assert asks.post(path).status_code == 401
    assert asks.post(path, headers={"Authorization": "Bearer other"}).status_code == 401
    assert asks.post(path, headers={"Authorization": "Bearer secret"}).text == "done"
    assert asks.get("/health").text == "done"


def test_without_a_key_everything_is_open(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    assert client().post("/collective_rpc").text == "done"
