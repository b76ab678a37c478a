"""What a start continues from: the newest whole checkpoint of the same run, or one line that says why not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator

from rft.checkpoint.resume import check_same_data, choose_whole, find_resumable, saved_config
from rft.checkpoint.state import TrainerState, read_state
from rft.config import Config, to_dict
from rft.config_parser import differing_keys
from rft.parallel import Kind, ParallelMode
from tests.unit.checkpoint.builder import a_config, seal, write_checkpoint

ALONE = ParallelMode(kind="single", num_ranks=1)


def found(config: Config, mode: ParallelMode = ALONE) -> Path | None:
    candidate = find_resumable(config, mode)
    return candidate.checkpoint if candidate else None


def refused(config: Config, mode: ParallelMode = ALONE) -> str:
    with pytest.raises(ValueError) as caught:
        find_resumable(config, mode)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_changed_recipe_is_refused_by_name(tmp_path: Path):
    config = a_config(tmp_path)
    folder = write_checkpoint(tmp_path, to_dict(config))
    config.train.max_steps = 500
    config.train.max_idle_steps = 3
    config.log.run_name = "longer"
    config.eval.num_questions = 10
    assert found(config) == folder
    config.train.learning_rate = 1.0
    config.model.lora.r = 8
    assert "other values of model.lora.r, train.learning_rate;" in refused(config)
    config.checkpoint.resume = "never"
    assert found(config) is None


def config_of_before(output_dir: Path) -> dict[str, Any]:
    """What a run saved before contexts and clusters had these names, and with fewer keys."""
    saved = to_dict(a_config(output_dir))
    data = saved["data"]
    data["questions_per_history"], data["num_val_personas"] = data.pop("questions_per_context"), 60
    del data["num_val_clusters"], data["format"], data["options"]
    for key in ("function", "weights", "completions"):
        del saved["reward"][key]
    del saved["task_options"], saved["train"]["max_idle_steps"], saved["train"]["replay"], saved["log"]["save_samples"]
    saved["eval"]["split"] = "val"
    return saved


def test_a_config_of_an_earlier_version_still_resumes_where_nothing_changed(tmp_path: Path):
    folder = write_checkpoint(tmp_path, config_of_before(tmp_path))
    config = a_config(tmp_path)
    config.data.num_val_clusters = 60
    assert found(config) == folder
    assert saved_config(folder)["data"]["num_val_clusters"] == 60
    assert read_state(folder) == TrainerState(step=1, batch_index=1)


def test_a_config_of_an_earlier_version_says_what_differs_in_new_names(tmp_path: Path):
    write_checkpoint(tmp_path, config_of_before(tmp_path))
    config = a_config(tmp_path)
    config.data.format = "jsonl"
    assert "other values of data.format, data.num_val_clusters;" in refused(config)


def test_a_checkpoint_of_an_earlier_version_is_refused_by_name(tmp_path: Path):
    folder = write_checkpoint(tmp_path, to_dict(a_config(tmp_path)))
    (folder / "files.json").unlink()
    (folder / "state" / "custom_checkpoint_0.pkl").touch()
    message = refused(a_config(tmp_path))
    assert "checkpoint-1: saved by an earlier version" in message and "checkpoint.resume=never" in message


@pytest.mark.parametrize(
    ("kind", "num_ranks", "message"),
    [
        ("zero3", 4, "was saved by 8 ranks under ZeRO-3, and this start has 4 ranks under ZeRO-3;"),
        ("zero2", 8, "was saved by 8 ranks under ZeRO-3, and this start has 8 ranks under ZeRO-2;"),
        ("ddp", 8, "was saved by 8 ranks under ZeRO-3, and this start has 8 ranks without DeepSpeed;"),
    ],
)
def test_a_state_that_deepspeed_spread_otherwise_is_refused(tmp_path: Path, kind: Kind, num_ranks: int, message: str):
    config = a_config(tmp_path)
    folder = write_checkpoint(tmp_path, to_dict(config), kind="zero3", num_ranks=8)
    assert message in refused(config, ParallelMode(kind=kind, num_ranks=num_ranks))
    assert found(config, ParallelMode(kind="zero3", num_ranks=8)) == folder


def test_a_whole_state_resumes_on_any_number_of_ranks_without_deepspeed(tmp_path: Path):
    config = a_config(tmp_path)
    folder = write_checkpoint(tmp_path, to_dict(config), kind="whole", num_ranks=8)
    assert found(config, ParallelMode(kind="ddp", num_ranks=2)) == folder
    assert found(config) == folder
    message = refused(config, ParallelMode(kind="zero3", num_ranks=8))
    assert "was saved by 8 ranks without DeepSpeed, and this start has 8 ranks under ZeRO-3;" in message


def test_where_deepspeed_was_asked_for_may_change(tmp_path: Path):
    config = a_config(tmp_path)
    folder = write_checkpoint(tmp_path, to_dict(config), kind="zero3", num_ranks=8)
    config.train.deepspeed = "another/zero3.json"
    config.train.stop_grace_s = None
    config.train.stall_timeout_s = None
    config.train.ddp_timeout = 60
    assert found(config, ParallelMode(kind="zero3", num_ranks=8)) == folder


# ------------------------------------------------------------------------------------------------ damaged checkpoints


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {
    "cut optimizer": (lambda folder: cut(folder / "state/optimizer.bin"), "state/optimizer.bin has "),
    "no optimizer": (lambda folder: (folder / "state/optimizer.bin").unlink(), "state/optimizer.bin is missing"),
    "cut trainer_state": (lambda folder: cut(folder / "trainer_state.json"), "trainer_state.json has "),
    "no trainer_state": (lambda folder: (folder / "trainer_state.json").unlink(), "trainer_state.json is missing"),
    "no state": (lambda folder: shutil.rmtree(folder / "state"), "state is missing"),
    "no config": (lambda folder: (folder / "rft_config.yaml").unlink(), "rft_config.yaml is missing"),
    "no parallel.json": (lambda folder: (folder / "parallel.json").unlink(), "parallel.json is missing"),
    "empty folder": (lambda folder: (shutil.rmtree(folder), folder.mkdir()), "rft_config.yaml is missing"),
    "no manifest": (lambda folder: (folder / "files.json").unlink(), "files.json is missing"),
    "cut manifest": (lambda folder: cut(folder / "files.json"), "files.json is damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path: Path, name: str):
    config = a_config(tmp_path)
    earlier, newest = (write_checkpoint(tmp_path, to_dict(config), step) for step in (2, 4))
    damage, said = DAMAGES[name]
    damage(newest)
    candidate = find_resumable(config, ALONE)
    assert candidate is not None and candidate.checkpoint == earlier
    (note,) = candidate.passed_over
    assert note.startswith(f"checkpoint-4: {said}")
    damage(earlier)
    message = refused(config)
    assert "no checkpoint in" in message and "checkpoint-2: " in message and "checkpoint-4: " in message


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_changed_byte_is_found_and_the_one_before_is_used(tmp_path: Path):
    config, accelerator = a_config(tmp_path), Accelerator(cpu=True)
    earlier, newest = (write_checkpoint(tmp_path, to_dict(config), step) for step in (2, 4))
    flip_a_byte(newest / "state/optimizer.bin")
    candidate = choose_whole(config, ALONE, accelerator)
    assert candidate is not None and candidate.checkpoint == earlier
    assert candidate.passed_over == ("checkpoint-4: state/optimizer.bin is not what was saved",)
    flip_a_byte(earlier / "rft_config.yaml")
    with pytest.raises(ValueError, match="no checkpoint in .* is whole"):
        choose_whole(config, ALONE, accelerator)


def test_a_saved_config_that_was_spoiled_is_refused(tmp_path: Path):
    folder = write_checkpoint(tmp_path, {})
    (folder / "rft_config.yaml").write_text("train: [\n")
    seal(folder)
    assert "rft_config.yaml is not valid yaml" in refused(a_config(tmp_path))


def test_other_data_are_refused(tmp_path: Path):
    folder = write_checkpoint(tmp_path, {})
    check_same_data(folder, "what an earlier version did not write down")
    state = json.loads((folder / "trainer_state.json").read_text())
    (folder / "trainer_state.json").write_text(json.dumps(state | {"data": "0f3a"}))
    check_same_data(folder, "0f3a")
    with pytest.raises(ValueError, match="checkpoint-1 was trained on other data than data.source has now"):
        check_same_data(folder, "77aa")


def test_an_empty_folder_is_a_fresh_start(tmp_path: Path):
    assert found(a_config(tmp_path / "nothing")) is None


def test_differing_keys_are_dotted():
    left, right = to_dict(Config()), to_dict(Config())
    right["model"]["lora"]["r"] = 8
    right["train"]["max_steps"] = 7
    del left["train"]["replay"]
    right["train"]["replay"] = "samples"
    assert differing_keys(left, right) == ["model.lora.r", "train.max_steps", "train.replay"]
