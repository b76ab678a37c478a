"""Kinds of question that a filter does not judge: nobody is asked, nothing is dropped, and the report says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.making.conftest import Make
from tests.unit.making.test_create import create, report_of, rows_of
from tests.unit.making.writer import Writer

HALF_SECRETS = {
    "stereotypical_pref": 0, "anti_stereotypical_pref": 0, "neutral_preferences": 10, "therapy_background": 0,
    "health_and_medical_conditions": 0, "ask_to_forget": 0, "sensitive_info": 10, "others": 0, "updated": 0,
}  # fmt: skip
SETTINGS: dict[str, Any] = {
    "kinds": HALF_SECRETS,
    "splits": {"train": {"personas": 1, "questions": 12}},
    "budget": {"candidates_per_persona": 60},
}


@pytest.fixture
def careful(writer: Writer) -> Writer:
    writer.fault = "careful"
    return writer


def asked_about(made: Path, name: str) -> set[str]:
    """The slots whose question a judge read for this filter."""
    return {
        row["id"].rpartition("/")[0] for row in rows_of(made, "checks") if row["id"].split("/")[-1].startswith(name)
    }


def controls_of(made: Path, name: str) -> dict[str, dict[str, Any]]:
    found = report_of(made)["splits"]["train"]["controls"]
    return {row["group"]: row for row in found if row["control"] == name}


def test_a_careful_judge_leaves_the_secrets_in_and_they_count_in_no_control(
    careful: Writer, config_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert create(config_file(**SETTINGS)) == 0
    made = tmp_path / "made"
    split = report_of(made)["splits"]["train"]
    assert split["by_kind"] == {"neutral_preferences": 6, "sensitive_info": 6}
    names = ["hint", "evidence", "reflects", "blind", "options_only"]
    assert split["not_judged"] == {name: {"sensitive_info": 6} for name in names}
    judged = controls_of(made, "options_only")
    assert (judged["all"]["rows"], judged["all"]["not_judged"]) == (6, 6)
    secrets = judged["pref_type=sensitive_info"]
    assert (secrets["rows"], secrets["not_judged"], secrets["share"], secrets["allowed"]) == (0, 6, None, None)
    assert all(row["not_judged"] == 0 and row["balanced"] for row in controls_of(made, "longest").values())
    assert controls_of(made, "longest")["all"]["rows"] == 12
    plain = {row["id"].rpartition("/")[0] for row in rows_of(made, "conversations") if len(row["parents"]) == 2}
    assert asked_about(made, "blind") == asked_about(made, "options_only") <= plain
    said = capsys.readouterr().out
    assert (
        "  6 of sensitive_info not judged by hint, evidence, reflects, blind, options_only\n" in said
        and "out of balance" not in said
    )
    json.loads((made / "report.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_whoever_wants_them_judged_says_so_and_loses_them(careful: Writer, config_file: Make, tmp_path: Path):
    config = config_file(**SETTINGS)
    assert create(config, "filters.exempt={blind: [], options_only: []}") == 1
    report = report_of(tmp_path / "made")
    assert report["splits"]["train"]["missing"] == {"sensitive_info": 6}
    assert report["candidates"]["dropped"]["answerable_without_history"] >= 6
    assert set(report["splits"]["train"]["not_judged"]) == set(), "there is none"
    # Without `blind` they are in, and out of balance.
    assert create(config, "filters.exempt.options_only=[]") == 1
    judged = controls_of(tmp_path / "made", "options_only")
    assert judged["pref_type=sensitive_info"]["share"] == 1.0 and not judged["pref_type=sensitive_info"]["balanced"]
    assert judged["pref_type=sensitive_info"]["not_judged"] == 0
    # What was asked before is not asked again, whatever is exempt now.
    assert create(config) == 0
    assert max(careful.seen.values()) == 1


def test_any_kind_may_be_left_out_of_any_filter(writer: Writer, config_file: Make, tmp_path: Path):
    writer.fault = "hints"
    settings = SETTINGS | {"kinds": HALF_SECRETS | {"sensitive_info": 0}}
    assert create(config_file(**settings), "filters.exempt.hint=[neutral_preferences]") == 0
    made = tmp_path / "made"
    assert report_of(made)["splits"]["train"]["not_judged"] == {"hint": {"neutral_preferences": 12}}
    assert not asked_about(made, "hint") and asked_about(made, "evidence")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("filters.exempt.blind=[secrets]", "config key 'filters.exempt.blind': Input should be 'stereotypical_pref'"),
        ("filters.exempt.lengths=[sensitive_info]", "unknown config key 'filters.exempt.lengths'"),
    ],
)
def test_what_cannot_be_exempt_is_one_line(
    writer: Writer, config_file: Make, capsys: pytest.CaptureFixture[str], override: str, words: str
):
    assert create(config_file(**SETTINGS), override) == 2
    assert words in capsys.readouterr().err and not writer.seen
