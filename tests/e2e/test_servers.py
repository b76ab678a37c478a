"""Rollouts by real vLLM servers: the same learning, whatever happens to a server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.curves_page import undescribed
from tests.e2e.runs import ROOT, launch, rows, steps
from tests.e2e.servers import VllmServer, through
from tests.e2e.small_run import write_small_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("servers")
    write_small_run(folder)
    return folder


@pytest.fixture(scope="module")
def servers(folder: Path) -> Iterator[list[VllmServer]]:
    """Two for the whole file; none is started before a test asks for it."""
    made = [VllmServer(folder / "run.yaml", folder, "rollout.vllm_kv_cache_gb=0.1") for _ in range(2)]
    yield made
    for server in made:
        server.kill()


@pytest.fixture
def one(servers: list[VllmServer]) -> list[VllmServer]:
    return all_up(servers[:1])


@pytest.fixture
def two(servers: list[VllmServer]) -> list[VllmServer]:
    return all_up(servers)


def all_up(servers: list[VllmServer]) -> list[VllmServer]:
    """Starts those that no test has started, or that one has killed."""
    absent = [server for server in servers if not server.is_running()]
    for server in absent:
        server.start()
    for server in absent:
        server.wait()
    return servers


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    """One rank without a launcher, whose own status can be read."""
    command = [sys.executable, "rft/train.py", str(folder / "run.yaml"), *overrides]
    environment = os.environ | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=400)
    return process.returncode, output


ONE_RANK = "train.deepspeed=null"


@pytest.mark.slow
def test_one_server_trains_as_the_engine_in_the_trainer_does(folder: Path, one: list[VllmServer]):
    local, served = folder / "local", folder / "served"
    short = ("train.max_steps=3", ONE_RANK, "log.rollouts_per_step=8", "eval.at_start=true")
    status, output = finish(start(folder, f"output_dir={local}", *short))
    assert status == 0, output
    status, output = finish(start(folder, f"output_dir={served}", *short, *through(one)))
    assert status == 0, output
    assert "1 servers with vllm" in output
    left, right = steps(local), steps(served)
    assert len(right) == 3 and any(row["grad_norm"] > 0 for row in right)
    assert all(row["sampling/sampling_logp_difference/mean"] <= 1e-5 for row in right)
    assert all(row["engine/prefix_cache_hit_rate"] > 0.5 for row in right)
    # The same seeds draw the same tokens: rewards and losses are those of the engine in the trainer.
    assert [row["reward"] for row in right] == [row["reward"] for row in left]
    assert [row["grad_norm"] for row in right] == pytest.approx([row["grad_norm"] for row in left], rel=1e-3)
    assert not list(served.glob(".weights*")), "nothing is left behind"


@pytest.mark.slow
def test_two_ranks_under_zero3_share_two_servers(folder: Path, two: list[VllmServer]):
    output = folder / "zero3"
    launch(
        folder, f"output_dir={output}", "train.max_steps=3", *through(two),
        accelerate=("cpu.yaml", "--num_processes", "2"),
    )  # fmt: skip
    trained = steps(output)
    assert [row["step"] for row in trained] == [1, 2, 3]
    assert all(row["sampling/sampling_logp_difference/mean"] <= 1e-5 for row in trained)
    assert (output / "checkpoint-3").is_dir()


@pytest.mark.slow
def test_a_server_that_is_killed_in_a_rollout_leaves_its_work_to_the_other(folder: Path, two: list[VllmServer]):
    output = folder / "killed"
    process = start(folder, f"output_dir={output}", "train.max_steps=6", ONE_RANK, *through(two))
    wait_for_step(output, 2)
    two[1].kill()
    status, said = finish(process)
    assert status == 0, said
    assert [row["step"] for row in steps(output)] == [1, 2, 3, 4, 5, 6]
    assert "its requests go to other servers" in said
    assert all(row["sampling/sampling_logp_difference/mean"] <= 1e-5 for row in steps(output))


@pytest.mark.slow
def test_with_all_of_them_killed_the_run_keeps_what_it_has_and_goes_on_later(folder: Path, two: list[VllmServer]):
    output = folder / "none"
    settings = (f"output_dir={output}", "train.max_steps=6", ONE_RANK, "rollout.server_timeout_s=5")
    process = start(folder, *settings, *through(two))
    wait_for_step(output, 1)
    for server in two:
        server.kill()
    status, said = finish(process)
    assert status == 75, said
    (line,) = [line for line in said.splitlines() if line.startswith("stopped: ")]
    assert "no server of rollout.servers has answered for 5 s" in line
    done = steps(output)[-1]["step"]
    assert (output / f"checkpoint-{done}").is_dir()
    all_up(two)
    status, said = finish(start(folder, *settings, *through(two)))
    assert status == 0, said
    assert [row["step"] for row in steps(output)] == [1, 2, 3, 4, 5, 6]


def test_one_step_ahead_a_killed_run_goes_on_as_one_that_was_not(folder: Path, one: list[VllmServer]):
    """One server: what runs at the same time on it is then the same in both runs."""
    straight, killed = folder / "straight", folder / "ahead-killed"
    settings = ("train.max_steps=6", "rollout.max_lag=1", ONE_RANK, "log.rollouts_per_step=8", *through(one))
    status, said = finish(start(folder, f"output_dir={straight}", *settings))
    assert status == 0, said
    process = start(folder, f"output_dir={killed}", *settings)
    until = time.monotonic() + 120
    while not (killed / "checkpoint-3" / "ahead.jsonl").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    kept = rows(killed / "checkpoint-3" / "ahead.jsonl")
    assert len(kept) == 64 and {row["age"] for row in kept} == {1}
    status, said = finish(start(folder, f"output_dir={killed}", *settings))
    assert status == 0, said
    left, right = steps(straight), steps(killed)
    for trained in (left, right):
        assert [row["step"] for row in trained] == [1, 2, 3, 4, 5, 6]
        assert [row["sampling/lag"] for row in trained] == [0, 1, 1, 1, 1, 1]
        assert all(row.get("sampling/canary_logp_difference", 0.0) <= 1e-5 for row in trained)
        assert undescribed(name for row in trained for name in row if name != "step") == []
        assert all(row["engine/idle_s"] >= 0 and row["time/generation_s"] >= 0 for row in trained)
    assert [row["reward"] for row in left] == [row["reward"] for row in right]
    asked = [[row["question_id"] for row in rows(run / "rollouts.jsonl")] for run in (straight, killed)]
    assert asked[0] == asked[1], "no question is left out or asked twice"
    weights = [load_file(run / "checkpoint-6" / "model.safetensors") for run in (straight, killed)]
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor, weights[1][name], atol=1e-6), name


@pytest.mark.slow
def test_two_ranks_one_step_ahead_wait_for_each_other_before_weights_go_out(folder: Path, two: list[VllmServer]):
    """Without ZeRO-3 nothing else would hold the first rank back."""
    output = folder / "ahead-ranks"
    launch(
        folder, f"output_dir={output}", "train.max_steps=4", "checkpoint.save_steps=4", "rollout.max_lag=1", ONE_RANK,
        *through(two), accelerate=("cpu.yaml", "--num_processes", "2"),
    )  # fmt: skip
    trained = steps(output)
    assert [row["step"] for row in trained] == [1, 2, 3, 4]
    assert [row["sampling/lag"] for row in trained] == [0, 1, 1, 1]
    assert all(row.get("sampling/canary_logp_difference", 0.0) <= 1e-5 for row in trained)


def wait_for_step(output: Path, step: int) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if (output / "metrics.jsonl").exists() and any(row["step"] >= step for row in steps(output)):
            return
        time.sleep(0.05)
    raise AssertionError(f"step {step} was not reached")
