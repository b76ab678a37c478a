"""The control of the evaluation as a check of the audit, behind a small endpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.auditing.builder import audit_of, cases_of, over
from tests.unit.chat.endpoint_server import Response, Server, chat, scripted_endpoint


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with scripted_endpoint(monkeypatch) as made:
        yield made


def find_marked(body: dict[str, Any]) -> Response:
    """The letter of the option that says so."""
    text = body["messages"][-1]["content"]
    letter = re.search(r"\(?([a-d])\)[^\n]*really", text)
    return chat(f"\\boxed{{{letter.group(1)}}}" if letter else "none")


def write_data(folder: Path, mark: str) -> None:
    """Questions without a context: one option of each may be marked."""
    lines = [
        {"query": f"Which is it, {n}?", "answer": f"answer {mark} {n}", "cluster": f"c{n}", "split": "test",
         "incorrect_answers": [f"answer other {n} {k}" for k in range(3)]}
        for n in range(30)
    ]  # fmt: skip
    folder.mkdir()
    (folder / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_model_that_finds_the_right_option_alone(tmp_path: Path, server: Server) -> None:
    server.answer = find_marked
    write_data(tmp_path / "data", "really")
    report = audit_of(
        tmp_path / "data",
        f"compare.endpoint.base_url={server.url}",
        "compare.endpoint.model=small",
        "compare.endpoint.max_retries=0",
    )
    (case,) = cases_of(report, "options_only_leak")
    assert case.detail.startswith("small, options alone: right in 100.0% of 30 questions")
    assert "options_only_leak" in over(report)
    assert not any(line.startswith("options_only_leak") for line in report.skipped)
    assert not any("Which is it" in json.dumps(asked) for asked in server.asked)


def test_without_a_model_it_is_said_to_be_skipped(tmp_path: Path) -> None:
    write_data(tmp_path / "data", "plain")
    report = audit_of(tmp_path / "data")
    assert cases_of(report, "options_only_leak") == []
    assert any(line.startswith("options_only_leak: no model is asked") for line in report.skipped)
