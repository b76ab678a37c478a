"""Real vLLM servers, started by the project's own command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.e2e.runs import ROOT


class VllmServer:
    """One server on a port of its own, which it keeps over restarts.

    Args:
        config: the yaml file of the run.
        folder: for its log.
    """

    def __init__(self, config: Path, folder: Path, *overrides: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = [sys.executable, "rft/serve.py", str(config), *overrides, "--port", str(self.port)]
        self.log = folder / f"server-{self.port}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self, limit_s: float = 240) -> None:
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            assert self.is_running(), self.log.read_text()[-4000:]
            try:
                if httpx.get(f"{self.url}/health", timeout=5, trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                time.sleep(0.5)
        raise AssertionError(f"the server did not come up: {self.log.read_text()[-4000:]}")

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """The API and its engine, without a word."""
        if self.process is not None and self.is_running():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def vllm_servers(number: int, config: Path, folder: Path, *overrides: str) -> Iterator[list[VllmServer]]:
    servers = [VllmServer(config, folder, *overrides) for _ in range(number)]
    for server in servers:
        server.start()
    try:
        for server in servers:
            server.wait()
        yield servers
    finally:
        for server in servers:
            server.kill()


def through(servers: list[VllmServer]) -> tuple[str, str]:
    """The overrides of a run that uses them."""
    return "rollout.engine=server", f"rollout.servers=[{','.join(server.url for server in servers)}]"
