"""Saving: checkpoints load as they are, are whole or absent, and hold finite numbers only."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM, AutoTokenizer

from rft.checkpoint.folder import complete_steps, remove_leftovers
from rft.checkpoint.manifest import find_changed, find_missing, list_files, read_manifest
from rft.checkpoint.resume import find_resumable
from rft.checkpoint.room import NoRoom
from rft.checkpoint.save import add_results, save
from rft.checkpoint.state import TrainerState, read_state
from rft.parallel import ParallelMode
from tests.unit.checkpoint.builder import a_config, make_model, make_tokenizer

ALONE = ParallelMode(kind="single", num_ranks=1)
TOKENIZER = make_tokenizer()


@pytest.fixture
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


def test_a_checkpoint_loads_with_from_pretrained(tmp_path: Path, accelerator: Accelerator):
    model = make_model()
    prepared = accelerator.prepare(model)
    state = TrainerState(step=3, wall_seconds=1.5, passing_steps=(1,), data="a")
    saved = save(a_config(tmp_path), accelerator, prepared, TOKENIZER, state, {"eval.json": "{}"})
    assert saved == tmp_path / "checkpoint-3"
    loaded = AutoModelForCausalLM.from_pretrained(saved, dtype="float32")
    assert loaded.config.tie_word_embeddings
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    assert AutoTokenizer.from_pretrained(saved).eos_token == "</s>"
    assert (saved / "eval.json").read_text() == "{}"
    assert read_state(saved) == state
    assert json.loads((saved / "parallel.json").read_text()) == {"kind": "whole", "num_ranks": 1}


def test_every_file_is_in_the_manifest(tmp_path: Path, accelerator: Accelerator):
    state = TrainerState(step=1)
    saved = save(a_config(tmp_path), accelerator, accelerator.prepare(make_model()), TOKENIZER, state, {})
    records = read_manifest(saved)
    assert [record.name for record in records] == list_files(saved)
    assert {"model.safetensors", "state/model.safetensors", "trainer_state.json"} <= {record.name for record in records}
    assert find_missing(saved, records) is None and find_changed(saved, records) is None
    add_results(saved, TrainerState(step=1, best_step=1), {"eval.json": "{}"})
    assert find_changed(saved, read_manifest(saved)) is None and "eval.json" in list_files(saved)
    assert (tmp_path / "best").resolve() == saved


def test_the_training_state_comes_back(tmp_path: Path, accelerator: Accelerator):
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    prepared, optimizer = accelerator.prepare(model, optimizer)

    def step() -> None:
        prepared(input_ids=torch.arange(6)[None], labels=torch.arange(6)[None]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    saved = save(a_config(tmp_path), accelerator, prepared, TOKENIZER, TrainerState(step=1), {})
    step()
    expected = {name: weight.clone() for name, weight in model.state_dict().items()}
    accelerator.load_state(str(saved / "state"))
    step()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, expected[name]), name


def test_best_is_linked_and_kept_beside_the_latest(tmp_path: Path, accelerator: Accelerator):
    model = make_model()
    for step in (1, 2, 3, 4):
        save(a_config(tmp_path), accelerator, model, TOKENIZER, TrainerState(step=step, best_step=1), {})
    assert complete_steps(tmp_path) == [1, 3, 4]
    assert (tmp_path / "best").resolve() == (tmp_path / "checkpoint-1").resolve()


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def full_disk_as_safetensors_has_it(*_: object, **__: object) -> None:
    raise RuntimeError("unexpected pos 3162048 vs 3161940")


@pytest.mark.parametrize("fails", [full_disk, full_disk_as_safetensors_has_it])
def test_a_full_disk_is_one_line_and_leaves_the_last_checkpoint(
    tmp_path: Path, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch, fails: object
):
    config, model = a_config(tmp_path), make_model()
    save(config, accelerator, model, TOKENIZER, TrainerState(step=1), {})
    monkeypatch.setattr(accelerator, "save_state", fails)
    free = iter([10**9] + [100] * 9)
    monkeypatch.setattr("rft.checkpoint.room.free_bytes", lambda folder: next(free))
    with pytest.raises(NoRoom, match=r"^no room on .* for a checkpoint: 1e-07 GB are free; free some and start again"):
        save(config, accelerator, model, TOKENIZER, TrainerState(step=2), {})
    assert (tmp_path / ".checkpoint-2.tmp").exists()
    for _ in range(2):
        candidate = find_resumable(config, ALONE)
        assert candidate is not None and candidate.checkpoint == tmp_path / "checkpoint-1"
        remove_leftovers(accelerator, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_a_checkpoint_that_will_not_fit_is_not_begun(
    tmp_path: Path, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
):
    config, model = a_config(tmp_path), make_model()
    save(config, accelerator, model, TOKENIZER, TrainerState(step=1), {})
    monkeypatch.setattr("rft.checkpoint.room.free_bytes", lambda folder: 5000)
    with pytest.raises(NoRoom, match=r"[\d.e-]+ GB are needed and 5e-06 GB are free"):
        save(config, accelerator, model, TOKENIZER, TrainerState(step=2), {})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_another_fault_while_saving_keeps_its_name(
    tmp_path: Path, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(accelerator, "save_state", full_disk_as_safetensors_has_it)
    with pytest.raises(RuntimeError, match="unexpected pos"):
        save(a_config(tmp_path), accelerator, make_model(), TOKENIZER, TrainerState(step=2), {})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path, accelerator: Accelerator, number: float):
    config, model = a_config(tmp_path), make_model()
    save(config, accelerator, model, TOKENIZER, TrainerState(step=1), {})
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 2] = number
    with pytest.raises(RuntimeError, match=r"the weight model\.layers\.1\.mlp\.up_proj\.weight has numbers"):
        save(config, accelerator, model, TOKENIZER, TrainerState(step=2), {})
    assert complete_steps(tmp_path) == [1]
