"""A folder and a config that is changed between two runs: what may change freely, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rft.making.calls import STAGES
from tests.unit.chat.endpoint_server import Response, Server, chat
from tests.unit.making.conftest import Make
from tests.unit.making.test_create import create, digest, report_of
from tests.unit.making.writer import Writer

FREE = [
    ("filters.use=[hint, evidence, reflects, blind, options_only, lengths]", "filters.option_orders=1"),
    ("filters.most_blind_right=0.25", "filters.duplicate_ratio=0.3"),
    ("filters.exempt={hint: [neutral_preferences], blind: []}", "models.writer.endpoint.concurrency=1"),
    ("budget.attempts=1", "models.writer.price_in=7"),
    ("budget.attempts=5", "models.other={endpoint: {base_url: 'http://127.0.0.1:9', model: x}}"),
    ("splits={train: {personas: 1, questions: 2}, val: {personas: 1, questions: 1}}",),
]

PAID_FOR = [
    ("preferences_per_request=3", "preferences"),
    ("kinds.others=0.5", "preferences"),
    ("models.writer.thought_tokens=9", "personas"),
    ("stages.judges=[writer, writer]", "checks"),
]


@pytest.fixture
def faulty(server: Server, writer: Writer) -> Writer:
    """A fifth of its replies cannot be used, of every kind of request."""

    def answer(body: dict[str, Any]) -> Response:
        reply = writer.answer(body)
        return chat("{") if body["seed"] % 5 == 0 else reply

    server.answer = answer
    return writer


def test_settings_that_may_change_are_taken_and_may_be_changed_back(
    faulty: Writer, config_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Whatever a reply was made from, it is never asked for in other words."""
    config = config_file(splits={"train": {"personas": 1, "questions": 3}})
    assert create(config) == 0
    report, before = report_of(tmp_path / "made"), digest(tmp_path / "made/dataset")
    for overrides in FREE:
        assert create(config, *overrides) in (0, 1), (overrides, capsys.readouterr().err)
    assert max(faulty.seen.values()) == 1, "nothing is asked twice"
    assert create(config) == 0
    again = report_of(tmp_path / "made")
    if again["candidates"] == report["candidates"]:  # more attempts may have brought more of them
        assert digest(tmp_path / "made/dataset") == before
    assert again["splits"]["train"]["made"] == 3


@pytest.mark.parametrize(("override", "stage"), PAID_FOR)
def test_settings_that_were_paid_for_are_refused(
    writer: Writer, config_file: Make, capsys: pytest.CaptureFixture[str], override: str, stage: str
):
    config = config_file(splits={"train": {"personas": 1, "questions": 1}})
    assert create(config) == 0
    asked = len(writer.seen)
    capsys.readouterr()
    assert create(config, override) == 2
    said = capsys.readouterr().err
    assert f", on which {stage}" in said and override.partition("=")[0] in said and said.count("\n") == 1
    assert len(writer.seen) == asked


def test_what_was_made_from_a_reply_that_is_gone_is_refused_and_the_remedy_helps(
    writer: Writer, config_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = config_file(splits={"train": {"personas": 1, "questions": 1}})
    assert create(config) == 0
    calls = tmp_path / "made/calls"
    (calls / "personas.jsonl").write_text("")  # as somebody does whom a damaged line was named to
    plain = writer.PersonaReply
    writer.PersonaReply = lambda *asked: plain(*asked) | {"job": "smith"}  # type: ignore[method-assign]
    capsys.readouterr()
    assert create(config) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {calls / 'preferences.jsonl'}: p0/") and said.count("\n") == 1
    assert "delete this file and those of the stages after it" in said
    for stage in STAGES[1:]:
        (calls / f"{stage}.jsonl").unlink(missing_ok=True)
    assert create(config) == 0
