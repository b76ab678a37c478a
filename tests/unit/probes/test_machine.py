"""GPUs as nvidia-smi lists them, memory, disk and port; nvidia-smi is a script here."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from rft.config import Config
from rft.probes import machine
from rft.probes.probe import GIB
from tests.tiny import tiny_qwen3

H100 = "580.95.05, 81559, 81079, NVIDIA H100 80GB HBM3"


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes an nvidia-smi that prints lines."""

    def make(*lines: str, status: int = 0) -> None:
        script = tmp_path / "bin" / "nvidia-smi"
        script.parent.mkdir(exist_ok=True)
        script.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines) + f"exit {status}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(script.parent), prepend=":")

    return make


def test_gpus_and_their_driver(nvidia_smi) -> None:
    nvidia_smi(H100, H100)
    found = machine.driver(None)
    assert (found.status, found.text) == ("ok", "2 x NVIDIA H100 80GB HBM3, driver 580.95.05")
    nvidia_smi("550.54, 81559, 81079, NVIDIA H100, with a comma")
    found = machine.driver(None)
    assert found.status == "bad" and "CUDA 13 needs 580" in found.text and "with a comma" in found.text


def test_an_nvidia_smi_without_a_gpu_or_without_a_driver_is_bad(nvidia_smi) -> None:
    nvidia_smi()
    assert machine.driver(None).status == "bad"
    nvidia_smi("NVIDIA-SMI has failed because it could not communicate with the driver", status=9)
    with pytest.raises(ValueError, match="could not communicate"):
        machine.driver(None)


def test_no_nvidia_smi_is_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.driver(None).status == "note"
    assert machine.gpu_memory(None).status == "note"
    assert machine.torch_build(None).status == "ok"


def test_memory_that_somebody_else_holds_is_bad(nvidia_smi) -> None:
    nvidia_smi(H100, H100)
    assert machine.gpu_memory(None).status == "ok"
    nvidia_smi(H100, "580.95.05, 81559, 20000, NVIDIA H100 80GB HBM3")
    found = machine.gpu_memory(None)
    assert found.status == "bad"
    assert found.text == "79, 20 GiB free of 80; another process holds memory of GPU 1"


def test_the_smaller_of_machine_and_control_group_counts(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:   64 kB\nMemFree:  1 kB\nMemAvailable:  40 kB\n")
    assert machine.memory_of_machine(tmp_path) == (40 * 1024, 64 * 1024)
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.current").write_text("30720\n")
    (group / "memory.max").write_text("max\n")
    assert machine.memory_of_machine(tmp_path) == (40 * 1024, 64 * 1024)
    (group / "memory.max").write_text("32768\n")
    assert machine.memory_of_machine(tmp_path) == (2 * 1024, 32 * 1024)


def config_of(folder: Path, **lora: int) -> Config:
    model = tiny_qwen3(tied=True)
    model.save_pretrained(folder / "model")
    config = Config(output_dir=str(folder / "not" / "there"))
    config.model.model_name_or_path = str(folder / "model")
    config.model.lora.r = lora.get("r", 0)
    return config


def test_checkpoints_that_do_not_fit_are_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(tmp_path)
    needed = machine.checkpoint_bytes(config)
    assert needed == 16 * tiny_qwen3(tied=True).num_parameters()
    assert machine.disk(config).status == "ok"
    config.checkpoint.save_total_limit = 3
    free = 4 * needed
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: machine.shutil._ntuple_diskusage(free, 0, free))
    found = machine.disk(config)
    assert found.status == "bad" and "save_total_limit" in found.text
    config.checkpoint.save_total_limit = 2
    assert machine.disk(config).status == "ok"


def test_a_checkpoint_of_adapters_holds_the_frozen_weights_twice(tmp_path: Path) -> None:
    assert machine.checkpoint_bytes(config_of(tmp_path, r=8)) == 8 * tiny_qwen3(tied=True).num_parameters()


def test_a_model_that_cannot_be_read_is_a_note(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config.model.model_name_or_path = str(tmp_path / "nothing")
    found = machine.disk(config)
    assert found.status == "note" and "is not known" in found.text
    assert machine.disk(None).status == "ok"


def test_a_container_with_little_shared_memory_is_bad_beside_a_gpu(nvidia_smi, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = machine.shutil.disk_usage
    small = usage("/")._replace(free=64 * 2**20)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: small if path == "/dev/shm" else usage(path))
    nvidia_smi(H100)
    found = machine.host_memory(None)
    assert found.status == "bad" and "--shm-size" in found.text
    monkeypatch.setenv("PATH", "")
    assert machine.host_memory(None).status == "ok"
    assert machine.memory_of_machine()[1] > GIB


def test_a_port_that_is_taken_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        number = taken.getsockname()[1]
        monkeypatch.setenv("MASTER_PORT", str(number))
        found = machine.port(None)
        assert found.status == "bad" and str(number) in found.text
        monkeypatch.setenv("RANK", "0")
        assert machine.port(None).status == "ok", "a launch uses its own port"
    monkeypatch.delenv("RANK")
    assert machine.port(None).status == "ok"
