"""A small data set's config, and the endpoint that it asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rft.config_parser import parse_config
from rft.making.config import MakingConfig
from tests.unit.chat.endpoint_server import Server, scripted_endpoint
from tests.unit.making.writer import Writer

SMALL: dict[str, Any] = {
    "splits": {
        "train": {"personas": 1, "questions": 6},
        "val": {"personas": 1, "questions": 4},
        "benchmark": {"personas": 1, "questions": 4},
    },
    "budget": {"candidates_per_persona": 60},
    "history": {"windows": {"32k": 1500}},
    "conversation_words": 20,
    "option_words": 20,
    "filters": {"option_orders": 2},
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with scripted_endpoint(monkeypatch) as made:
        yield made


@pytest.fixture
def writer(server: Server) -> Writer:
    """The model behind the endpoint; set its fault before it is asked."""
    made = Writer()
    server.answer = made.answer
    return made


Make = Callable[..., Path]


@pytest.fixture
def config_file(server: Server, tmp_path: Path) -> Make:
    """Writes a config that asks the endpoint and makes OUT; keywords are laid over `SMALL`."""

    def make(out: str = "made", **changes: Any) -> Path:
        endpoint = {"base_url": server.url, "model": "scripted", "concurrency": 4, "timeout": 20}
        models = {"writer": {"endpoint": endpoint, "price_in": 1.0, "price_out": 2.0}}
        tree = {"output_dir": str(tmp_path / out), "models": models} | SMALL | changes
        path = tmp_path / f"{out}.yaml"
        path.write_text(yaml.safe_dump(tree))
        return path

    return make


@pytest.fixture
def load(config_file: Make) -> Callable[..., MakingConfig]:
    def read(*overrides: str, **changes: Any) -> MakingConfig:
        found: MakingConfig = parse_config(MakingConfig, config_file(**changes), list(overrides))
        return found

    return read
