"""Each model has a key of its own, by the name of a variable; no key is ever written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rft.make_data import main
from tests.unit.chat.endpoint_server import Response, Server, error
from tests.unit.making.conftest import Make
from tests.unit.making.test_create import create
from tests.unit.making.writer import Writer

WRITER_KEY, JUDGE_KEY = "sk-the-writers-key-0123456789", "sk-the-judges-key-9876543210"
ONE = {"train": {"personas": 1, "questions": 2}}


@pytest.fixture
def two_models(server: Server, config_file: Make, monkeypatch: pytest.MonkeyPatch) -> Path:
    def model(name: str, **more: Any) -> dict[str, Any]:
        return {"endpoint": {"base_url": server.url, "model": name, "max_retries": 0} | more}

    monkeypatch.setenv("WRITER_KEY", WRITER_KEY)
    monkeypatch.setenv("JUDGE_KEY", JUDGE_KEY + "\n")
    models = {"writer": model("w", api_key_env="WRITER_KEY"), "judge": model("j", api_key_env="JUDGE_KEY")}
    return config_file(splits=ONE, models=models, stages={"judges": ["judge"]})


def everything_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    return written + captured.out + captured.err


def test_each_model_is_sent_its_own_key_and_none_is_written(
    server: Server, writer: Writer, two_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def answer(body: dict[str, Any]) -> Response:
        key = WRITER_KEY if body["model"] == "w" else JUDGE_KEY
        if body["seed"] % 7 == 0:
            return error(500, f"no worker for {key}")
        return error(400, f"the prompt of {key} is odd") if body["seed"] % 7 == 1 else writer.answer(body)

    server.answer = answer
    assert main(["llm", "validate", str(two_models)]) == 0
    for attempts in (1, 4):
        assert create(two_models, f"budget.attempts={attempts}") in (0, 1, 75)
    assert main(["llm", "preview", str(two_models), "budget.attempts=4"]) in (0, 75)
    sent = {
        (body["model"], authorization) for body, authorization in zip(server.asked, server.authorizations, strict=True)
    }  # fmt: skip
    assert sent == {("w", f"Bearer {WRITER_KEY}"), ("j", f"Bearer {JUDGE_KEY}")}
    said = everything_said(tmp_path, capsys)
    assert "is odd" in said and "[key]" in said
    assert WRITER_KEY not in said and JUDGE_KEY not in said


def test_a_key_that_is_refused_is_not_repeated(
    server: Server, two_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    server.answers = [error(401, f"Incorrect API key provided: {WRITER_KEY}")]
    assert create(two_models) == 2
    said = everything_said(tmp_path, capsys)
    assert "Incorrect API key provided: [key]" in said and WRITER_KEY not in said


@pytest.mark.parametrize("action", ["validate", "preview", "create"])
def test_a_variable_that_is_not_set_is_one_line_before_anything_is_asked(
    server: Server, two_models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, action: str,
    tmp_path: Path,
):  # fmt: skip
    for value in (None, "", " \n"):
        monkeypatch.delenv("JUDGE_KEY") if value is None else monkeypatch.setenv("JUDGE_KEY", value)
        assert main(["llm", action, str(two_models)]) == 2
        said = capsys.readouterr().err
        assert (
            said.startswith("error: models.judge.endpoint.api_key_env: JUDGE_KEY is not set") and said.count("\n") == 1
        )
    assert not server.asked and not (tmp_path / "made").exists()
    assert main(["llm", "validate", str(two_models), "stages.judges=[writer]"]) == 0, "nobody asks the judge"


def test_a_model_may_be_sent_no_key(
    server: Server, writer: Writer, config_file: Make, monkeypatch: pytest.MonkeyPatch
):  # fmt: skip
    monkeypatch.setenv("OPENAI_API_KEY", WRITER_KEY)
    assert create(config_file(splits=ONE), "models.writer.endpoint.api_key_env=null") == 0
    assert set(server.authorizations) == {"Bearer none"}


@pytest.mark.parametrize(
    "override",
    [
        f"models.writer.endpoint.api_key_env={WRITER_KEY}",
        f"models.writer.endpoint.api_key={WRITER_KEY}",
        f"models.writer.api_key={WRITER_KEY}",
    ],
)
def test_a_key_in_a_config_is_refused_and_not_repeated(
    server: Server, config_file: Make, capsys: pytest.CaptureFixture[str], override: str
):
    assert main(["llm", "validate", str(config_file()), override]) == 2
    said = capsys.readouterr().err
    assert WRITER_KEY not in said and said.count("\n") == 1 and "api_key" in said
    assert not server.asked


def test_keys_that_change_are_no_other_settings(
    server: Server, writer: Writer, two_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert create(two_models) == 0
    monkeypatch.setenv("OTHER_KEY", "sk-other")
    asked = len(server.asked)
    assert create(two_models, "models.judge.endpoint.api_key_env=OTHER_KEY") == 0
    assert len(server.asked) == asked
    settings = (tmp_path / "made/calls/settings.json").read_text()
    assert "api_key" not in settings and json.loads(settings)["checks"]["models.judge.endpoint.model"] == "j"
