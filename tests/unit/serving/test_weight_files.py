"""Weights as files: everything arrives as it was, whole, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rft.config import Config, RolloutConfig
from rft.serving import weight_files
from rft.serving.weight_files import WeightFiles, weight_folder


def test_every_tensor_arrives_and_the_version_before_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weight_files, "FILE_BYTES", 100)  # several files
    files = WeightFiles(tmp_path / "weights", writes=True, dtype=torch.float32)
    shared = torch.arange(60, dtype=torch.float32)
    weights = {
        "a": shared.view(6, 10),
        "b": shared.view(6, 10).T,
        "c": shared[10:20],
        "d": torch.ones(3, dtype=torch.bfloat16),
    }
    files.write(iter(weights.items()), 1)
    files.write(((name, tensor + 1) for name, tensor in weights.items()), 2)
    found: dict[str, torch.Tensor] = {}
    paths = sorted(files.of_version(2).glob("*.safetensors"))
    for path in paths:
        found |= load_file(path)
    assert len(paths) > 1 and set(found) == set(weights)
    for name, tensor in weights.items():
        assert torch.equal(found[name], (tensor + 1).float()) and found[name].dtype == torch.float32
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["2"]
    files.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_rank_that_does_not_write_draws_the_whole_stream(tmp_path: Path):
    drawn: list[str] = []

    def stream():
        for name in "abc":
            drawn.append(name)
            yield name, torch.zeros(1)

    WeightFiles(tmp_path / "weights", writes=False, dtype=torch.float32).write(stream(), 1)
    assert drawn == ["a", "b", "c"] and list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed(tmp_path: Path):
    (tmp_path / "weights" / "7").mkdir(parents=True)
    WeightFiles(tmp_path / "weights", writes=True, dtype=torch.float32)
    assert list((tmp_path / "weights").iterdir()) == []


def test_the_probe_touches_no_generator(tmp_path: Path):
    before = torch.random.get_rng_state()
    folder, total = WeightFiles(tmp_path / "weights", writes=True, dtype=torch.float32).write_probe()
    (path,) = folder.glob("*.safetensors")
    assert float(load_file(path)["probe"].sum()) == total
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("servers", "chosen", "begins"),
    [
        (["http://127.0.0.1:1", "http://localhost:2"], None, "/dev/shm/rft-"),
        (["http://127.0.0.1:1", "http://10.0.0.7:2"], None, "OUT/.weights"),
        (["http://127.0.0.1:1"], "OUT/mine", "OUT/mine/rft-"),
    ],
)
def test_the_folder_is_in_memory_only_where_every_server_is_here(
    tmp_path: Path, servers: list[str], chosen: str | None, begins: str
):
    here = None if chosen is None else chosen.replace("OUT", str(tmp_path))
    config = Config(output_dir=str(tmp_path), rollout=RolloutConfig(servers=servers, weight_folder=here))
    assert str(weight_folder(config)).startswith(begins.replace("OUT", str(tmp_path)))
    assert weight_folder(config) == weight_folder(config)


def test_what_a_user_has_in_the_folder_stays(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    rollout = RolloutConfig(servers=["http://127.0.0.1:1"], weight_folder=str(tmp_path / "mine"))
    files = WeightFiles(
        weight_folder(Config(output_dir=str(tmp_path / "run"), rollout=rollout)), writes=True, dtype=torch.float32
    )
    files.write([("a", torch.ones(2))], 1)
    files.remove()
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    other = Config(output_dir=str(tmp_path / "other"), rollout=rollout)
    assert weight_folder(other) != files.folder, "two runs do not meet there"
