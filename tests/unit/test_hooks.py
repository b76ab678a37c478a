"""The user's own command at a checkpoint."""

import sys
from pathlib import Path

import pytest

from rft.hooks import run_command


def test_the_command_gets_the_checkpoint(tmp_path: Path):
    script = tmp_path / "hook.py"
    script.write_text("import sys, pathlib; pathlib.Path(sys.argv[1], 'seen').write_text('yes')")
    checkpoint = tmp_path / "check point-3"
    checkpoint.mkdir()
    assert run_command(f"{sys.executable} {script} {{checkpoint}}", checkpoint) == 0
    assert (checkpoint / "seen").read_text() == "yes"


def test_a_failing_command_is_reported_and_does_not_stop_the_run(tmp_path: Path, caplog):
    assert run_command(f"{sys.executable} -c 'raise SystemExit(3)'", tmp_path) == 3
    assert "status 3" in caplog.text


def test_a_program_that_is_not_there(tmp_path: Path):
    with pytest.raises(ValueError, match="no program 'no-such-program'"):
        run_command("no-such-program {checkpoint}", tmp_path)
