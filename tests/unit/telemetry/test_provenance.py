"""What a result says of the tree it was measured with."""

from __future__ import annotations

import subprocess
from datetime import date
from pathlib import Path

import pytest

import rft
from rft.telemetry.provenance import git_commit, provenance


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, in place of this one."""
    (tmp_path / "rft").mkdir()
    (tmp_path / "bench" / "results").mkdir(parents=True)
    (tmp_path / "rft" / "__init__.py").write_text("")
    (tmp_path / "bench" / "results" / "demo.json").write_text("{}")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--quiet", "--message=first")
    monkeypatch.setattr(rft, "__file__", str(tmp_path / "rft" / "__init__.py"))
    return tmp_path


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True).stdout.strip()


def test_a_changed_source_is_dirty_and_a_result_is_no_change(checkout: Path):
    commit = git(checkout, "rev-parse", "HEAD")
    assert git_commit() == commit
    (checkout / "bench" / "results" / "demo.json").write_text('{"accuracy": 1}')
    (checkout / "bench" / "results" / "new.json").write_text("{}")
    (checkout / "docs").mkdir()
    (checkout / "docs" / "planning.md").write_text("| a table |")
    assert git_commit() == commit
    (checkout / "rft" / "__init__.py").write_text("x = 1\n")
    assert git_commit() == f"{commit}-dirty"


def test_a_new_file_is_a_change_too(checkout: Path):
    (checkout / "rft" / "new.py").write_text("")
    assert str(git_commit()).endswith("-dirty")


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rft, "__file__", str(tmp_path / "rft" / "__init__.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit() is None


def test_it_has_the_day_and_the_machine():
    found = provenance()
    assert date.fromisoformat(found["date"]).year >= 2026
    assert found["num_cpus"] >= 1 and found["platform"]
