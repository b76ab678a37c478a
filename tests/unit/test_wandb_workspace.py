"""The workspace for wandb, as far as its specification goes: nothing here talks to wandb."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rft import wandb_workspace
from rft.telemetry.charts import CHARTS
from rft.telemetry.trackers import shown_name

CURVES = Path(__file__).parents[2] / "docs" / "curves.md"


def test_the_specification_has_every_chart_in_the_order_of_the_page(capsys: pytest.CaptureFixture[str]):
    assert wandb_workspace.main(["team", "project", "--print"]) == 0
    printed = json.loads(capsys.readouterr().out)
    sections = printed["section"]["panelBankConfig"]["sections"]
    named = [section for section in sections if section["name"] in CHARTS]
    assert [section["name"] for section in named] == list(CHARTS)
    for section in named:
        drawn = {panel["config"]["chartTitle"]: panel["config"]["metrics"] for panel in section["panels"]}
        assert drawn == {
            chart: [shown_name(metric) for metric in metrics] for chart, metrics in CHARTS[section["name"]].items()
        }


def test_headings_of_the_page_are_those_of_the_charts():
    headings = re.findall(r"^## (.*)$", CURVES.read_text(), re.MULTILINE)
    assert [heading for heading in headings if heading in CHARTS] == list(CHARTS)


def test_without_a_login_it_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("wandb_workspaces.workspaces.Workspace.save", refuse)
    assert wandb_workspace.main(["team", "project"]) == 2
    said = capsys.readouterr().err.strip()
    assert "wandb did not take the workspace: permission denied; try `wandb login`" in said and "\n" not in said


def refuse(workspace: object) -> None:
    raise RuntimeError("permission denied\nand a page of more")
