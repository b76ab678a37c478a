"""The user's own command at a checkpoint, beside the training."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from pathlib import Path

import pytest

from rft.hooks import CheckpointHook, HookResult, check_command, environment_of_one_process


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "hook.sh"
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)
    return path


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


def command_of(tmp_path: Path, body: str) -> str:
    """A command that runs Python code, which finds the checkpoint's path in `checkpoint`."""
    script = tmp_path / "hook.py"
    script.write_text(f"import os, pathlib, sys, time\ncheckpoint = pathlib.Path(sys.argv[1])\n{body}\n")
    return shlex.join([sys.executable, str(script), "{checkpoint}"])


def result_of(command: str, checkpoint: Path) -> HookResult:
    """How the command ends for one checkpoint."""
    hook = CheckpointHook(command)
    hook.start(checkpoint)
    (result,) = hook.finish(30)
    assert result.checkpoint == checkpoint
    return result


def test_the_command_gets_the_checkpoint(tmp_path: Path):
    checkpoint = tmp_path / "check point-3"
    checkpoint.mkdir()
    assert result_of(command_of(tmp_path, "(checkpoint / 'seen').write_text('yes')"), checkpoint).status == 0
    assert (checkpoint / "seen").read_text() == "yes"


WAIT = """
(checkpoint / "started").touch()
while not (checkpoint / "go").exists():
    time.sleep(0.01)
"""


def checkpoints(tmp_path: Path, number: int) -> list[Path]:
    folders = [tmp_path / f"checkpoint-{step}" for step in range(1, number + 1)]
    for folder in folders:
        folder.mkdir()
    return folders


def until(path: Path) -> None:
    for _ in range(3000):
        if path.exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} never appears")


def test_nobody_waits_for_it_and_the_newest_checkpoint_has_the_next_turn(tmp_path: Path, caplog):
    first, second, third = checkpoints(tmp_path, 3)
    hook = CheckpointHook(command_of(tmp_path, WAIT))
    begin = time.monotonic()
    hook.start(first)
    assert time.monotonic() - begin < 2
    until(first / "started")
    assert hook.poll() == []
    hook.start(second)
    assert hook.in_use() == {first, second}
    hook.start(third)
    assert "left out for checkpoint-2: the command for checkpoint-1 still runs" in caplog.text
    assert hook.in_use() == {first, third}
    (first / "go").touch()
    (third / "go").touch()
    ended = hook.finish(30)
    assert [(result.checkpoint, result.status) for result in ended] == [(first, 0), (third, 0)]
    assert not (second / "started").exists()
    assert hook.in_use() == frozenset()
    assert hook.poll() == [], "each end is told once"


def test_a_finished_run_waits_no_longer_than_it_was_told_to(tmp_path: Path, caplog):
    first, second = checkpoints(tmp_path, 2)
    hook = CheckpointHook(command_of(tmp_path, WAIT + "(checkpoint / 'over').touch()"))
    hook.start(first)
    hook.start(second)
    begin = time.monotonic()
    assert hook.finish(0.3) == []
    assert 0.3 <= time.monotonic() - begin < 3
    assert "for checkpoint-1 still runs after 0.3 s" in caplog.text
    assert "did not run for checkpoint-2" in caplog.text
    # It is left to itself, and comes to its end.
    (first / "go").touch()
    until(first / "over")


def test_without_a_command_nothing_happens(tmp_path: Path):
    hook = CheckpointHook(None)
    hook.start(tmp_path)
    assert (hook.in_use(), hook.poll(), hook.finish(1)) == (frozenset(), [], [])


def test_the_command_is_no_rank_of_the_run_and_hears_no_signal_to_it(tmp_path: Path, monkeypatch):
    launchers = {
        "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "8", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500",
        "ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3", "TORCHELASTIC_RUN_ID": "1",
        "RFT_STATUS_FILE": str(tmp_path / "status"),
    }  # fmt: skip
    for name, value in launchers.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert environment_of_one_process()["WANDB_API_KEY"] == "secret"
    body = "import json; (checkpoint / 'seen').write_text(json.dumps([dict(os.environ), os.getsid(0)]))"
    assert result_of(command_of(tmp_path, body), tmp_path).status == 0
    environment, session = json.loads((tmp_path / "seen").read_text())
    assert not launchers.keys() & environment.keys()
    assert environment["PATH"] == os.environ["PATH"]
    assert session != os.getsid(0)


def test_a_failing_command_is_reported_and_does_not_stop_the_run(tmp_path: Path, caplog):
    assert result_of(command_of(tmp_path, "raise SystemExit(3)"), tmp_path).status == 3
    assert "status 3" in caplog.text
    assert result_of(command_of(tmp_path, "os.kill(os.getpid(), 9)"), tmp_path).status == 137


def test_a_program_that_vanishes_is_reported_and_does_not_stop_the_run(program: Path, caplog):
    check_command(str(program))
    program.unlink()
    assert result_of(f"{program} {{checkpoint}}", program.parent).status == 127
    assert "could not be started (No such file or directory)" in caplog.text


def test_a_program_that_the_system_cannot_run_is_reported(program: Path, caplog):
    program.write_bytes(b"\x7fnot an executable")
    assert result_of(str(program), program.parent).status == 127
    assert "could not be started" in caplog.text
