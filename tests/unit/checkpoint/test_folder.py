"""The folders of a run: they appear and go as a whole."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from rft.checkpoint.folder import (
    check_writable,
    complete_steps,
    discard,
    move_earlier_run,
    prune,
    remove_leftovers,
)


def make_checkpoints(output_dir: Path, *steps: int) -> None:
    for step in steps:
        (output_dir / f"checkpoint-{step}").mkdir()


def test_prune_never_removes_what_it_keeps(tmp_path: Path):
    make_checkpoints(tmp_path, 10, 9, 100)
    prune(tmp_path, keep=1, best_step=9)
    assert complete_steps(tmp_path) == [9, 100]


def test_prune_leaves_what_a_command_reads(tmp_path: Path):
    make_checkpoints(tmp_path, 1, 2, 3, 4)
    prune(tmp_path, keep=1, best_step=None, in_use={tmp_path / "checkpoint-2"})
    assert complete_steps(tmp_path) == [2, 4]


def test_a_checkpoint_where_a_signal_stopped_the_run_counts_for_nothing_later(tmp_path: Path):
    make_checkpoints(tmp_path, 2, 4, 5)
    prune(tmp_path, keep=2, best_step=None, passing=(5,))
    assert complete_steps(tmp_path) == [4, 5], "it is the newest, and a run continues from it"
    make_checkpoints(tmp_path, 6)
    prune(tmp_path, keep=2, best_step=None, passing=(5,))
    assert complete_steps(tmp_path) == [4, 6], "those of an uninterrupted run"


def test_a_kill_while_an_old_checkpoint_is_deleted_leaves_no_half_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_checkpoints(tmp_path, 1, 2)
    (tmp_path / "checkpoint-1" / "model.safetensors").write_text("")
    real = shutil.rmtree

    def killed(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        discard(tmp_path / "checkpoint-1")
    monkeypatch.setattr(shutil, "rmtree", real)
    assert complete_steps(tmp_path) == [2]
    remove_leftovers(Accelerator(cpu=True), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]


def restart(rank: int, folder: Path, port: int, rounds: int) -> None:
    """What each of two processes does at a start, several times over."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = str(port)
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    for start in range(rounds):
        output_dir = folder / f"run-{start}"
        remove_leftovers(accelerator, output_dir)
        assert not list(output_dir.iterdir()), f"rank {rank} goes on before start {start} is clean"
        accelerator.wait_for_everyone()
    accelerator.end_training()


def test_two_processes_start_on_the_leftovers_of_a_crash(tmp_path: Path):
    for start in range(2):
        leftover = tmp_path / f"run-{start}" / ".checkpoint-2.tmp" / "state"
        leftover.mkdir(parents=True)
        # Two processes that both removed them would meet on one of these.
        for number in range(1000):
            (leftover / f"file-{number}").touch()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(restart, args=(tmp_path, port, 2), nprocs=2)


def test_what_an_earlier_run_left_is_moved_away_whole(tmp_path: Path):
    output_dir = tmp_path / "run"
    for _ in range(2):
        output_dir.mkdir(exist_ok=True)
        make_checkpoints(output_dir, 2, 4)
        (output_dir / "best").symlink_to("checkpoint-4")
        for name in ("metrics.jsonl", ".lock"):
            (output_dir / name).write_text("")
        aside = move_earlier_run(output_dir)
        assert aside is not None and complete_steps(aside) == [2, 4] and (aside / "best").resolve().exists()
        assert [path.name for path in output_dir.iterdir()] == [".lock"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.earlier-1", "run.earlier-2"]


def test_where_no_run_has_been_nothing_is_moved(tmp_path: Path):
    assert move_earlier_run(tmp_path / "nothing") is None
    (tmp_path / "slurm.log").write_text("")
    assert move_earlier_run(tmp_path) is None and (tmp_path / "slurm.log").exists()


@pytest.mark.parametrize("name", ["new", "new/deeper/run", "there"])
def test_a_folder_that_can_be_written_is_not_touched(tmp_path: Path, name: str):
    (tmp_path / "there").mkdir()
    check_writable("output_dir", tmp_path / name)
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("file", "Not a directory"),
        ("file/run", "Not a directory"),
        ("dangling", "No such file or directory"),
        ("x" * 300, "File name too long"),
    ],
    ids=lambda text: text[:10],
)
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, name: str, reason: str):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=f"^output_dir = .* cannot be written: {reason}; choose another folder$"):
        check_writable("output_dir", tmp_path / name)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc takes no files on Linux")
def test_a_folder_that_takes_no_files_is_refused():
    with pytest.raises(ValueError, match="output_dir = /proc/run cannot be written"):
        check_writable("output_dir", Path("/proc/run"))
