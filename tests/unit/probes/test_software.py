"""Versions against a lock, and servers that answer or do not."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest

from rft.config import Config, ModelConfig, RolloutConfig
from rft.probes import software
from tests.unit.serving.scripted import scripted


def lock(folder: Path, *lines: str) -> Path:
    """A folder with the same lock for either variant."""
    for name in ("cpu.txt", "cuda.txt"):
        (folder / name).write_text("# made by hand\n" + "\n".join(lines) + "\n")
    return folder


def test_the_lock_of_this_environment() -> None:
    found = software.versions(None)
    assert found.status == "ok", found.text


def test_a_wrong_lock_is_bad_and_the_packages_are_named(tmp_path: Path) -> None:
    numpy = version("numpy")
    right = f"numpy=={numpy}  # via somebody"
    assert software.versions(None, lock(tmp_path, right)).status == "ok"
    found = software.versions(None, lock(tmp_path, right, "pydantic==0.1 ; sys_platform == 'linux'", "no-such==2"))
    assert found.status == "bad"
    assert f"pydantic {version('pydantic')} (0.1)" in found.text and "no-such missing (2)" in found.text
    assert "numpy" not in found.text and "launch/setup.sh" in found.text
    found = software.versions(None, lock(tmp_path, *(f"no-such-{number}==1" for number in range(9))))
    assert "and 5 more" in found.text


def test_a_builds_own_mark_is_no_difference() -> None:
    assert software.same_version("2.13.0+cpu", "2.13.0")
    assert software.same_version("2.13.0", "2.13.0")
    assert not software.same_version("2.13.0", "2.13.0+cu130")
    assert not software.same_version("2.13.1", "2.13.0")
    assert not software.same_version(None, "2.13.0")


def test_without_locks_there_is_nothing_to_compare(tmp_path: Path) -> None:
    assert software.versions(None, tmp_path).status == "note"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_a_server_that_answers_anything_is_reachable() -> None:
    class Refuses(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    assert software.reach(f"http://127.0.0.1:{server.server_port}", "").status == "ok"
    server.shutdown()
    server.server_close()


def test_a_server_that_does_not_answer_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "REACH_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        found = software.reach(f"http://127.0.0.1:{silent.getsockname()[1]}", "there is a cache")
    assert found.status == "note" and found.text == "not reachable (ReadTimeout): there is a cache"


def test_what_is_not_used_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "reach", lambda *_: pytest.fail("asked"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert software.wandb(None).status == "note"
    config = Config()
    config.log.report_to = "none"
    assert software.wandb(config).status == "ok"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert software.hub(None).status == "note"


def test_a_config_that_cannot_be_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    config = Config()
    assert software.settings(config).status == "ok"
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(ValueError, match="questions_per_batch"):
        software.settings(config)
    assert software.settings(None).status == "note"


def test_servers_are_asked_where_the_config_has_some() -> None:
    assert software.servers(None).text == software.servers(Config()).text == "not used by this config"
    demo = Path(__file__).parents[3] / "checkpoints" / "demo_sft"
    config = Config(
        model=ModelConfig(model_name_or_path=str(demo)),
        rollout=RolloutConfig(engine="server", servers=["http://127.0.0.1:9"]),
    )
    found = software.servers(config)
    assert found.status == "bad" and "http://127.0.0.1:9 does not answer" in found.text
    with scripted(1) as (server,):
        config.rollout.servers = [server.url]
        found = software.servers(config)
    assert found.status == "bad" and "start it with rft/serve.py and this run's config" in found.text
