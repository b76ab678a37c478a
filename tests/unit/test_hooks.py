"""The user's own command at a checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rft.hooks import check_command, run_command


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "hook.sh"
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)
    return path


def test_the_command_gets_the_checkpoint(tmp_path: Path):
    script = tmp_path / "hook.py"
    script.write_text("import sys, pathlib; pathlib.Path(sys.argv[1], 'seen').write_text('yes')")
    checkpoint = tmp_path / "check point-3"
    checkpoint.mkdir()
    assert run_command(f"{sys.executable} {script} {{checkpoint}}", checkpoint) == 0
    assert (checkpoint / "seen").read_text() == "yes"


def test_a_command_that_can_run_passes(program: Path, monkeypatch):
    check_command(None)
    check_command(f"{program} {{checkpoint}}")
    check_command(f"'{program}' \"two words\"")
    check_command("sh -c 'echo $1' {checkpoint}")
    monkeypatch.chdir(program.parent)
    check_command("./hook.sh")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("echo 'open", "No closing quotation"),
        ("   ", "names no program"),
        ("'' {checkpoint}", "names no program"),
        ("no-such-program {checkpoint}", "no program 'no-such-program' on the PATH"),
        ("{folder}/absent.sh", "absent.sh does not exist"),
        ("{folder}", "is a folder"),
        ("{folder}/plain.txt", "plain.txt is not executable; try chmod +x"),
        ("{folder}/plain.txt/hook", "does not exist"),
    ],
)
def test_a_command_that_can_never_run_is_refused_at_the_start(tmp_path: Path, command: str, message: str):
    (tmp_path / "plain.txt").write_text("")
    with pytest.raises(ValueError) as caught:
        check_command(command.replace("{folder}", str(tmp_path)))
    assert message in str(caught.value)
    assert str(caught.value).startswith("hooks.on_checkpoint")
    assert "\n" not in str(caught.value)


def test_a_failing_command_is_reported_and_does_not_stop_the_run(tmp_path: Path, caplog):
    assert run_command(f"{sys.executable} -c 'raise SystemExit(3)'", tmp_path) == 3
    assert "status 3" in caplog.text


def test_a_program_that_vanishes_is_reported_and_does_not_stop_the_run(program: Path, caplog):
    check_command(str(program))
    program.unlink()
    assert run_command(f"{program} {{checkpoint}}", program.parent) == 127
    assert "could not be started (No such file or directory)" in caplog.text


def test_a_program_that_the_system_cannot_run_is_reported(program: Path, caplog):
    program.write_bytes(b"\x7fnot an executable")
    assert run_command(str(program), program.parent) == 127
    assert "could not be started" in caplog.text
