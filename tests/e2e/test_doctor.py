"""rft/doctor.py on this machine: by itself, and as the ranks of a launch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rft import doctor

ROOT = Path(__file__).parents[2]
on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="what a machine without a GPU says")


@on_cpu
@pytest.mark.slow
def test_two_ranks_of_a_launch_and_every_probe():
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "rft/doctor.py",
        "configs/demo.yaml",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = dict(re.findall(r"^\S+ rank 0: (?:ok|note) {2,4}(\S+(?: \S+)?)  +(.+)$", done.stdout, re.MULTILINE))
    assert list(lines) == [probe.name for probe in doctor.PROBES], done.stdout
    assert "rank 1" not in done.stdout, "the second rank takes part, and has nothing to add"
    assert "over 2 ranks with gloo" in lines["ranks"]
    assert re.search(r"a checkpoint takes 0\.\d+ GiB", lines["disk"])
    assert lines["vLLM"].startswith("vllm ") and lines["vLLM"].endswith("generates")


@on_cpu
def test_alone_it_makes_its_own_ranks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(doctor, "PROBES", doctor.PROBES[:1])
    assert doctor.main([]) == 0
    assert "over 2 ranks with gloo" in capsys.readouterr().out


def test_a_bad_line_is_exit_status_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    function = "tests.unit.probes.questions:raises"
    monkeypatch.setattr(doctor, "PROBES", (doctor.Probe(name="it", function=function, limit_s=60),))
    assert doctor.main([]) == 2
    assert capsys.readouterr().out == "bad   it           ValueError: nobody knows; ask again\n"


def test_a_config_with_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str]):
    assert doctor.main(["configs/demo.yaml", "train.learning_rat=1"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert "train.learning_rate" in captured.err
