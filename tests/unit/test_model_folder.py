"""A model's name that leads nowhere is refused at once, with the places where it was looked for."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from rft import model_folder
from rft.config import ModelConfig
from rft.model_folder import REPOSITORY, check_model_place
from rft.models import load_tokenizer, read_settings

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def refused(name: str) -> str:
    """The one line, given at once: nothing is asked for half a minute."""
    start = time.perf_counter()
    with pytest.raises(ValueError) as caught:
        check_model_place(name, None)
    assert time.perf_counter() - start < 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another folder than the repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(model_folder.time, "sleep", lambda _: None)
    return tmp_path


def test_a_config_of_a_relative_path_from_another_folder(elsewhere: Path):
    line = refused("checkpoints/demo_sft")
    assert line.startswith(f"checkpoints/demo_sft: no such folder; looked in {elsewhere}; it is {REPOSITORY}/")
    assert f"no such folder; looked in {elsewhere}; correct the path" in refused("checkpoints/nothing")


@pytest.mark.parametrize("name", ["./run", "../run", "a/b/c", "runs/last/", "~/run", "run:1", "a\\b", "models/é"])
def test_what_can_only_be_a_folder_is_not_asked_for(elsewhere: Path, name: str):
    assert f"{name}: no such folder; looked in {elsewhere}; correct the path" in refused(name)


def test_an_absolute_path_is_named_without_the_current_folder(elsewhere: Path):
    assert f"{elsewhere}/run: no such folder; looked in {elsewhere}; correct" in refused(f"{elsewhere}/run")


def test_a_folder_beside_others_of_its_kind_is_no_hub_id(elsewhere: Path):
    (elsewhere / "models" / "one").mkdir(parents=True)
    assert "no such folder; looked in" in refused("models/two")


def test_a_tilde_that_no_shell_replaced(elsewhere: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(elsewhere))
    (elsewhere / "run").mkdir()
    assert f"write {elsewhere}/run" in refused("~/run")


def test_a_file_is_no_model(elsewhere: Path):
    (elsewhere / "model.gguf").write_text("x")
    assert "model.gguf is a file; name the folder that holds it" in refused("model.gguf")


@pytest.mark.parametrize("name", ["owner/name", "gpt2"])
def test_a_hub_that_cannot_be_reached_is_one_line(elsewhere: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise httpx.ConnectError("[Errno -2] Name or service not known")

    monkeypatch.setattr(model_folder, "get_hf_file_metadata", refuse)
    line = refused(name)
    assert line.startswith(f"{name}: no such folder; looked in {elsewhere}; and the hub cannot be reached (")


def test_a_hub_that_is_forbidden_is_one_line(elsewhere: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "and HF_HUB_OFFLINE forbids the hub" in refused("owner/name")


def test_both_ways_to_a_model_ask_for_its_place(elsewhere: Path):
    config = ModelConfig(model_name_or_path="./nothing")
    with pytest.raises(ValueError, match="^model.model_name_or_path: ./nothing: no such folder"):
        read_settings(config)
    with pytest.raises(ValueError, match="^./nothing: no such folder"):
        load_tokenizer(config)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "config.json", "model-00001-of-00002.safetensors"]
)
def test_a_git_lfs_pointer_in_a_model_folder_says_so(elsewhere: Path, name: str):
    folder = elsewhere / "model"
    folder.mkdir()
    for other in ("config.json", "model.safetensors"):
        (folder / other).write_text("{}")
    check_model_place("model", None)
    (folder / name).write_text(POINTER)
    assert f"model/{name} is a Git LFS pointer, not the file it stands for; fetch" in refused("model")


@pytest.mark.parametrize("name", ["x" * 5000, "x/" * 3000, "~nobody-of-this-name/run", "a" * 300 + "/b"])
def test_a_name_that_no_path_can_have_is_one_line(elsewhere: Path, name: str):
    assert len(refused(name)) < 700
