"""The ways to start a run: two machines (rehearsed on one), launch/one_node.sh, torchrun, accelerate launch.

All of them train under ZeRO-3 with every weight sharded, and take the same steps, also when a signal stopped the run in
between.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.runs import ROOT, rows, steps
from tests.e2e.small_run import write_small_run

NUM_STEPS = 6
ACCELERATE = (sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
TIMEOUT_S = 500
pytestmark = pytest.mark.timeout(2 * TIMEOUT_S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model, data and a config; each test trains into a folder of its own."""
    folder = tmp_path_factory.mktemp("launchers")
    write_small_run(folder)
    return folder


def start(log: Path, command: tuple[str, ...], **environment: str) -> subprocess.Popen[str]:
    """Starts a launcher; what it says goes to `log`."""
    known = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "NO_PROXY": "127.0.0.1"}
    with log.open("w") as file:
        return subprocess.Popen(
            command, cwd=ROOT, env=os.environ | known | environment, stdout=file, stderr=subprocess.STDOUT, text=True
        )


def end(log: Path, command: tuple[str, ...], **environment: str) -> tuple[int, str]:
    """Runs a launcher to its end: its exit status, and what it said."""
    launcher = start(log, command, **environment)
    try:
        return launcher.wait(timeout=TIMEOUT_S), log.read_text()
    finally:
        launcher.kill()


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.fixture(scope="module")
def straight(folder: Path) -> Path:
    """A run that two machines made, each with a cache of its own."""
    output, port = folder / "straight", free_port()
    hook = shlex.join([sys.executable, "-c", "import sys, time; time.sleep(1); open(sys.argv[1] + '/told', 'w')"])
    logs = [folder / f"machine-{rank}.log" for rank in range(2)]
    machines = [
        start(
            log,
            (
                "launch/multi_node.sh", str(folder / "run.yaml"), f"output_dir={output}",
                f"train.max_steps={NUM_STEPS}", f"data.cache_dir={folder / f'cache-{rank}'}",
                f"hooks.on_checkpoint={hook} {{checkpoint}}",
            ),
            NUM_MACHINES="2", MACHINE_RANK=str(rank), MAIN_ADDRESS="127.0.0.1", MAIN_PORT=port, GPUS_PER_NODE="1",
        )
        for rank, log in enumerate(logs)
    ]  # fmt: skip
    try:
        statuses = [machine.wait(timeout=TIMEOUT_S) for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    assert statuses == [0, 0], "\n".join(log.read_text()[-3000:] for log in logs)
    return output


def test_two_machines_with_caches_of_their_own_train_one_model(folder: Path, straight: Path):
    assert (
        "parallel         DeepSpeed ZeRO-3 on 2 ranks, from train.deepspeed" in (folder / "machine-0.log").read_text()
    )
    for rank in range(2):
        prepared = [path.name for path in (folder / f"cache-{rank}" / "prepared").iterdir() if path.is_dir()]
        assert sorted(name.split("-")[0] for name in prepared) == ["train", "val"], f"machine {rank}"
    trained = steps(straight)
    assert [row["step"] for row in trained] == list(range(1, NUM_STEPS + 1))
    assert any(row["grad_norm"] > 0 for row in trained)
    assert all(row["sampling/sampling_logp_difference/mean"] <= 1e-5 for row in trained)
    last = straight / f"checkpoint-{NUM_STEPS}"
    assert json.loads((last / "parallel.json").read_text()) == {"kind": "zero3", "num_ranks": 2}
    assert json.loads((straight / "summary.json").read_text())["stopped"] is None


def test_the_hook_runs_beside_the_training_and_is_waited_for_at_its_end(straight: Path):
    found = rows(straight / "metrics.jsonl")
    told = [row for row in found if "hooks/on_checkpoint_status" in row]
    assert [row["hooks/on_checkpoint_status"] for row in told] == [0.0, 0.0]
    assert all(row["time/hook_s"] >= 1 for row in told)
    assert told[-1]["step"] == NUM_STEPS and found[-1] == told[-1]
    for step in (3, NUM_STEPS):
        assert (straight / f"checkpoint-{step}" / "told").exists()


def facts(output: Path) -> list[tuple[Any, ...]]:
    return [(row["step"], row["loss"], row["grad_norm"], row["reward"]) for row in steps(output)]


def test_stopped_by_a_signal_and_continued_by_another_launcher_equals_uninterrupted(folder: Path, straight: Path):
    output = folder / "halved"
    settings = (str(folder / "run.yaml"), f"output_dir={output}", f"train.max_steps={NUM_STEPS}")
    launcher = start(folder / "stopped.log", ("launch/one_node.sh", *settings), NUM_GPUS="2")
    try:
        until = time.monotonic() + TIMEOUT_S
        while not (output / "metrics.jsonl").exists() and time.monotonic() < until and launcher.poll() is None:
            time.sleep(0.05)
        launcher.send_signal(signal.SIGTERM)
        status = launcher.wait(timeout=TIMEOUT_S)
    finally:
        launcher.kill()
    said = (folder / "stopped.log").read_text()
    assert status == 75, said[-3000:]
    assert "SIGTERM: the run stops at a checkpoint after this batch" in said
    stopped_at = steps(output)[-1]["step"]
    assert stopped_at < NUM_STEPS
    assert sorted(path.name for path in output.glob("checkpoint-*")) == [f"checkpoint-{stopped_at}"]
    assert not (output / f"checkpoint-{stopped_at}" / "eval.json").exists(), "there is no time for an evaluation"
    assert json.loads((output / "summary.json").read_text())["stopped"] == "SIGTERM"

    command = (*ACCELERATE, "--main_process_port", "0", "rft/train.py", *settings)
    status, said = end(folder / "continued.log", command)
    assert status == 0, said[-6000:]
    assert "note: the launcher kills the ranks 30 s after SIGTERM" in said
    assert facts(output) == facts(straight)
    assert json.loads((output / "summary.json").read_text())["stopped"] is None


@pytest.mark.slow
def test_torchrun_and_one_process_need_no_other_settings(folder: Path):
    """As many ranks as there are, one among them."""
    output = folder / "alone"
    settings = (str(folder / "run.yaml"), "train.max_steps=1", "checkpoint.save_steps=1")
    status, said = end(folder / "one.log", (sys.executable, "rft/train.py", *settings, f"output_dir={output}"))
    assert status == 0, said[-6000:]
    assert "DeepSpeed ZeRO-3 on 1 rank, from train.deepspeed" in said
    status, said = end(folder / "two.log", (*TORCHRUN, "2", "rft/train.py", *settings, f"output_dir={output}-2"))
    assert status == 0, said[-6000:]
    one, two = (steps(path)[0] for path in (output, Path(f"{output}-2")))
    assert one["reward"] == two["reward"]
    assert one["loss"] == pytest.approx(two["loss"], abs=1e-6)
    assert one["grad_norm"] == pytest.approx(two["grad_norm"], rel=1e-4)


@pytest.mark.slow
def test_a_mistake_is_one_line_and_status_2_through_the_launcher(folder: Path):
    command = ("launch/one_node.sh", str(folder / "run.yaml"), f"data.source={folder}/nothing")
    status, said = end(folder / "mistake.log", command, NUM_GPUS="2")
    assert status == 2
    errors = [line for line in said.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "data.source" in errors[0]
    assert "Traceback" not in said
