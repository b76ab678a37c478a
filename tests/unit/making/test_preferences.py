"""What is true of a persona, asked for a few at a time: each request knows those before it, and fails by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rft.making.config import MakingConfig
from rft.making.estimate import estimate
from rft.making.prompts import PROMPTS
from rft.making.rounds import candidates_of_first_round
from tests.unit.chat.endpoint_server import Response, Server, chat, error
from tests.unit.making.conftest import Make
from tests.unit.making.test_create import create, report_of, rows_of
from tests.unit.making.writer import Writer

ONE_KIND = {
    "stereotypical_pref": 0, "anti_stereotypical_pref": 0, "health_and_medical_conditions": 0, "therapy_background": 0,
    "ask_to_forget": 0, "sensitive_info": 0,
}  # fmt: skip
SETTINGS: dict[str, Any] = {
    "kinds": ONE_KIND,
    "splits": {"train": {"personas": 1, "questions": 2}},
    "budget": {"candidates_per_persona": 25},
}
KIND = "neutral_preferences"


@pytest.fixture
def one_kind(config_file: Make) -> Path:
    return config_file(**SETTINGS)


def asked_for(server: Server) -> list[dict[str, Any]]:
    """The requests for preferences, in the order in which they came."""
    return [body for body in server.asked if body["response_format"]["json_schema"]["name"] == "PreferencesReply"]


def prompt_of(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def broken_where(server: Server, writer: Writer, is_broken: Callable[[str], bool], odd: Response) -> None:
    def answer(body: dict[str, Any]) -> Response:
        is_one = body["response_format"]["json_schema"]["name"] == "PreferencesReply" and is_broken(prompt_of(body))
        return odd if is_one else writer.answer(body)

    server.answer = answer


def test_a_long_list_comes_in_parts_that_know_of_each_other(
    server: Server, writer: Writer, one_kind: Path, tmp_path: Path
):
    assert create(one_kind) == 0
    rows = rows_of(tmp_path / "made", "preferences")
    assert [(row["id"], len(row["value"]["items"])) for row in rows] == [
        (f"p0/{KIND}/0", 10), (f"p0/{KIND}/1", 10), (f"p0/{KIND}/2", 5),
    ]  # fmt: skip
    assert [row["parents"] for row in rows] == [
        ["p0"], ["p0", f"p0/{KIND}/0"], ["p0", f"p0/{KIND}/0", f"p0/{KIND}/1"],
    ]  # fmt: skip
    assert len({row["seed"] for row in rows}) == 3
    asked = asked_for(server)
    assert [body["max_tokens"] for body in asked] == [1800, 1800, 1050]
    said: list[str] = []
    for body, row in zip(asked, rows, strict=True):
        assert ("These are listed already" in prompt_of(body)) == bool(said)
        assert all(f"- {line}" in prompt_of(body) for line in said)
        said += [f"{item['topic']}: {item['preference']}" for item in row["value"]["items"]]
    (raw,) = (tmp_path / "made/dataset").rglob("raw_data_*.json")
    assert len(json.loads(raw.read_text())["preferences"][KIND]) == 25
    (conflicts,) = rows_of(tmp_path / "made", "conflicts")
    assert conflicts["parents"] == [row["id"] for row in rows]
    talks = rows_of(tmp_path / "made", "conversations")
    assert {parent for row in talks for parent in row["parents"]} <= {"p0", *(row["id"] for row in rows)}
    asked_before = len(server.asked)
    assert create(one_kind) == 0 and len(server.asked) == asked_before


def test_a_part_that_fails_leaves_the_others(server: Server, writer: Writer, one_kind: Path, tmp_path: Path):
    """Also when more attempts are allowed later: what the others were told is no longer changed."""
    broken_where(
        server, writer, lambda prompt: "List 10 things" in prompt and "listed already" in prompt, chat('{"it')
    )  # fmt: skip
    assert create(one_kind, "budget.attempts=2") in (0, 1)
    rows = rows_of(tmp_path / "made", "preferences")
    assert [(row["id"][-1], row["attempt"], row["failure"]) for row in rows] == [
        ("0", 0, None), ("1", 0, "not_json"), ("1", 1, "not_json"), ("2", 0, None),
    ]  # fmt: skip
    dropped = report_of(tmp_path / "made")["candidates"]["dropped"]
    assert dropped.get("preferences: not_json", 0) <= 10
    server.answer, asked_before = writer.answer, len(server.asked)
    for attempts in (1, 3):
        assert create(one_kind, f"budget.attempts={attempts}") in (0, 1)
    assert len(server.asked) == asked_before
    assert report_of(tmp_path / "made")["candidates"]["dropped"] == dropped


def test_a_list_goes_on_where_the_run_was_stopped(
    server: Server, writer: Writer, one_kind: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    one_kind.write_text(one_kind.read_text().replace("timeout: 20", "timeout: 20\n      max_retries: 0"))
    broken_where(server, writer, lambda prompt: "listed already" in prompt, error(503, "busy"))
    assert create(one_kind) == 75
    assert "1 requests of preferences got no answer" in capsys.readouterr().err
    server.answer = writer.answer
    assert create(one_kind) == 0
    kept = [row for row in rows_of(tmp_path / "made", "preferences") if row["failure"] is None]
    assert [row["id"][-1] for row in kept] == ["0", "1", "2"]
    assert max(writer.seen.values()) == 1


def test_other_sizes_are_other_requests(
    writer: Writer, one_kind: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert create(one_kind) == 0
    assert create(one_kind, "preferences_per_request=5") == 2
    assert "made with other settings (preferences_per_request), on which preferences, " in capsys.readouterr().err
    assert create(one_kind, "preferences_per_request=5", "on_change=restart") == 0
    assert len(rows_of(tmp_path / "made", "preferences")) == 5


def test_a_folder_of_an_earlier_version_is_refused_or_made_anew(
    writer: Writer, one_kind: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Then a list was one request, and neither the key nor the field of the prompt was there."""
    assert create(one_kind) == 0
    file = tmp_path / "made/calls/settings.json"
    settings = json.loads(file.read_text())
    del settings["preferences"]["preferences_per_request"]
    settings["preferences"]["prompts.preferences"] = PROMPTS["preferences"].replace("{said}", "")
    file.write_text(json.dumps(settings))
    before = {path.name: path.read_bytes() for path in file.parent.iterdir()}
    capsys.readouterr()
    assert create(one_kind) == 2
    said = capsys.readouterr().err
    assert "made with other settings (preferences_per_request, prompts.preferences)" in said and said.count("\n") == 1
    assert {path.name: path.read_bytes() for path in file.parent.iterdir()} == before
    assert create(one_kind, "on_change=restart") == 0
    assert (file.parent / "preferences.jsonl.before").read_bytes() == before["preferences.jsonl"]


@pytest.mark.parametrize(("first", "then"), [(1, 3), (3, 1)])
def test_options_that_could_not_be_rewritten_stay_when_the_attempts_change(
    server: Server, writer: Writer, config_file: Make, tmp_path: Path, first: int, then: int
):
    writer.fault = "leans"

    def answer(body: dict[str, Any]) -> Response:
        is_rewriting = "Four answers to the question" in prompt_of(body)
        return chat("{") if is_rewriting and body["seed"] % 3 else writer.answer(body)

    server.answer = answer
    config = config_file(splits={"train": {"personas": 1, "questions": 4}})
    assert create(config, f"budget.attempts={first}") in (0, 1)
    rows = rows_of(tmp_path / "made", "options")
    assert {row["failure"] for row in rows} >= {"not_json"}
    report = report_of(tmp_path / "made")
    assert create(config, f"budget.attempts={then}") in (0, 1)
    after = rows_of(tmp_path / "made", "options")
    assert after[: len(rows)] == rows
    if report["complete"]:
        assert after == rows and report_of(tmp_path / "made") == report


def test_the_estimate_counts_every_part(load: Callable[..., MakingConfig]):
    def preferences(size: int) -> Any:
        config = load(f"preferences_per_request={size}", **SETTINGS)
        return next(part for part in estimate(config, PROMPTS, candidates_of_first_round(config))
                    if part.stage == "preferences")  # fmt: skip

    parts = [preferences(size) for size in (60, 10, 5, 1)]
    assert [part.requests for part in parts] == [1, 3, 5, 25]
    assert len({part.completion_tokens for part in parts}) == 1
    assert all(later.prompt_tokens > before.prompt_tokens for before, later in pairwise(parts))
