"""Inside a vLLM server: VLLM_API_KEY on every path. vLLM's own check leaves out those that change weights."""

from __future__ import annotations

import os

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from vllm.entrypoints.serve.middleware.authenticate import AuthenticationMiddleware

OPEN_PATHS = ("/health", "/ping")


class KeyOnEveryPath:
    """An ASGI middleware (`vllm ... --middleware`): status 401 without the key, where there is one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        key = os.environ.get("VLLM_API_KEY")
        self.check = AuthenticationMiddleware(app, [key]) if key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_request = scope["type"] in ("http", "websocket")
        asks = self.check is not None and is_request and scope["path"] not in OPEN_PATHS
        if asks and self.check is not None and not self.check.verify_token(Headers(scope=scope)):
            await JSONResponse({"error": "Unauthorized"}, status_code=401)(scope, receive, send)
        else:
            await self.app(scope, receive, send)
