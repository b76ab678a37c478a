"""Checkpoints: whole or absent, loadable as they are, pruned, and refused where a resume would not be exact."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate import Accelerator
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rft import checkpoint
from rft.checkpoint import (
    TrainerState,
    check_writable,
    complete_steps,
    find_resumable,
    prune,
    read_state,
    remove_leftovers,
    saved_config,
)
from rft.config import Config, to_dict
from rft.config_parser import differing_keys
from rft.parallel import Kind, ParallelMode

ALONE = ParallelMode(kind="single", num_ranks=1)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"a": 0, "b": 1, "</s>": 2}, unk_token="a")), eos_token="</s>"
    )


@pytest.fixture
def model() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, head_dim=8, tie_word_embeddings=True, bos_token_id=None, eos_token_id=2,
        )
    )  # fmt: skip


def a_config(output_dir: Path) -> Config:
    config = Config(output_dir=str(output_dir))
    config.checkpoint.save_total_limit = 2
    return config


@pytest.fixture
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


def test_a_checkpoint_loads_with_from_pretrained(tmp_path: Path, accelerator, model, tokenizer):
    prepared = accelerator.prepare(model)
    saved = checkpoint.save(
        a_config(tmp_path), accelerator, prepared, tokenizer, TrainerState(step=3), {"eval.json": "{}"}
    )
    assert saved == tmp_path / "checkpoint-3"
    loaded = AutoModelForCausalLM.from_pretrained(saved, dtype="float32")
    assert loaded.config.tie_word_embeddings
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    assert AutoTokenizer.from_pretrained(saved).eos_token == "</s>"
    assert (saved / "eval.json").read_text() == "{}"
    assert checkpoint.read_state(saved) == TrainerState(step=3)
    assert json.loads((saved / "parallel.json").read_text()) == {"kind": "whole", "num_ranks": 1}


def test_the_training_state_comes_back(tmp_path: Path, accelerator, model, tokenizer):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    prepared, optimizer = accelerator.prepare(model, optimizer)

    def step() -> None:
        prepared(input_ids=torch.arange(6)[None], labels=torch.arange(6)[None]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    saved = checkpoint.save(a_config(tmp_path), accelerator, prepared, tokenizer, TrainerState(step=1), {})
    step()
    expected = {name: weight.clone() for name, weight in model.state_dict().items()}
    accelerator.load_state(str(saved / "state"))
    step()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, expected[name]), name


def test_best_is_linked_and_kept_beside_the_latest(tmp_path: Path, accelerator, model, tokenizer):
    config = a_config(tmp_path)
    for step in (1, 2, 3, 4):
        checkpoint.save(config, accelerator, model, tokenizer, TrainerState(step=step, best_step=1), {})
    assert complete_steps(tmp_path) == [1, 3, 4]
    assert (tmp_path / "best").resolve() == (tmp_path / "checkpoint-1").resolve()


def test_a_half_written_checkpoint_is_never_loaded(tmp_path: Path, accelerator, model, tokenizer, monkeypatch):
    config = a_config(tmp_path)
    checkpoint.save(config, accelerator, model, tokenizer, TrainerState(step=1), {})

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(accelerator, "save_state", full_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(config, accelerator, model, tokenizer, TrainerState(step=2), {})
    assert (tmp_path / ".checkpoint-2.tmp").exists()
    assert find_resumable(config, ALONE) == tmp_path / "checkpoint-1"
    assert (tmp_path / ".checkpoint-2.tmp").exists()
    remove_leftovers(accelerator, tmp_path)
    assert not (tmp_path / ".checkpoint-2.tmp").exists()
    assert find_resumable(config, ALONE) == tmp_path / "checkpoint-1"


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


def write_checkpoint(output_dir: Path, saved: dict[str, Any], step: int = 1) -> Path:
    """What a resumed run reads at its start, and nothing else."""
    folder = output_dir / f"checkpoint-{step}"
    (folder / "state").mkdir(parents=True)
    (folder / "rft_config.yaml").write_text(yaml.safe_dump(saved, sort_keys=False))
    (folder / "trainer_state.json").write_text(json.dumps({"step": step, "batch_index": step, "best_accuracy": None}))
    return folder


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
    assert find_resumable(config, ALONE) == folder
    config.train.learning_rate = 1.0
    config.model.lora.r = 8
    assert "other values of model.lora.r, train.learning_rate;" in refused(config)
    config.checkpoint.resume = "never"
    assert find_resumable(config, ALONE) is None


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


def test_a_checkpoint_of_an_earlier_version_still_resumes_where_nothing_changed(tmp_path: Path):
    folder = write_checkpoint(tmp_path, config_of_before(tmp_path))
    config = a_config(tmp_path)
    config.data.num_val_clusters = 60
    assert find_resumable(config, ALONE) == folder
    assert saved_config(folder)["data"]["num_val_clusters"] == 60
    assert read_state(folder) == TrainerState(step=1, batch_index=1)


def test_a_checkpoint_of_an_earlier_version_says_what_differs_in_new_names(tmp_path: Path):
    write_checkpoint(tmp_path, config_of_before(tmp_path))
    config = a_config(tmp_path)
    config.data.format = "jsonl"
    assert "other values of data.format, data.num_val_clusters;" in refused(config)


def saved_by(output_dir: Path, kind: str, num_ranks: int) -> Path:
    folder = write_checkpoint(output_dir, to_dict(a_config(output_dir)))
    (folder / "parallel.json").write_text(json.dumps({"kind": kind, "num_ranks": num_ranks}))
    return folder


@pytest.mark.parametrize(
    ("kind", "num_ranks", "message"),
    [
        (
            "zero3",
            4,
            "was saved by 8 ranks under ZeRO-3, and this start has 4 ranks under ZeRO-3;",
        ),
        ("zero2", 8, "was saved by 8 ranks under ZeRO-3, and this start has 8 ranks under ZeRO-2;"),
        ("ddp", 8, "was saved by 8 ranks under ZeRO-3, and this start has 8 ranks without DeepSpeed;"),
    ],
)
def test_a_state_that_deepspeed_spread_otherwise_is_refused(tmp_path: Path, kind: Kind, num_ranks: int, message: str):
    folder, config = saved_by(tmp_path, "zero3", 8), a_config(tmp_path)
    assert message in refused(config, ParallelMode(kind=kind, num_ranks=num_ranks))
    assert find_resumable(config, ParallelMode(kind="zero3", num_ranks=8)) == folder
    (folder / "parallel.json").unlink()
    assert find_resumable(config, ParallelMode(kind=kind, num_ranks=num_ranks)) == folder, "an earlier version's"


def test_a_whole_state_resumes_on_any_number_of_ranks_without_deepspeed(tmp_path: Path):
    folder, config = saved_by(tmp_path, "whole", 8), a_config(tmp_path)
    assert find_resumable(config, ParallelMode(kind="ddp", num_ranks=2)) == folder
    assert find_resumable(config, ALONE) == folder
    message = refused(config, ParallelMode(kind="zero3", num_ranks=8))
    assert "was saved by 8 ranks without DeepSpeed, and this start has 8 ranks under ZeRO-3;" in message


def test_where_deepspeed_was_asked_for_may_change(tmp_path: Path):
    folder, config = saved_by(tmp_path, "zero3", 8), a_config(tmp_path)
    config.train.deepspeed = "another/zero3.json"
    config.train.stop_grace_s = None
    config.train.ddp_timeout = 60
    assert find_resumable(config, ParallelMode(kind="zero3", num_ranks=8)) == folder


@pytest.mark.parametrize("name", ["rft_config.yaml", "trainer_state.json"])
def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path, name: str):
    (write_checkpoint(tmp_path, to_dict(a_config(tmp_path))) / name).unlink()
    assert f"checkpoint-1 has no {name}" in refused(a_config(tmp_path))


def test_a_saved_config_that_was_spoiled_is_refused(tmp_path: Path):
    (write_checkpoint(tmp_path, {}) / "rft_config.yaml").write_text("train: [\n")
    assert "rft_config.yaml is not valid yaml" in refused(a_config(tmp_path))


def test_an_empty_folder_is_a_fresh_start(tmp_path: Path, accelerator: Accelerator):
    assert find_resumable(a_config(tmp_path / "nothing"), ALONE) is None
    remove_leftovers(accelerator, tmp_path / "nothing")


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


def test_prune_never_removes_what_it_keeps(tmp_path: Path):
    for step in (10, 9, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    prune(tmp_path, keep=1, best_step=9)
    assert complete_steps(tmp_path) == [9, 100]


def test_prune_leaves_what_a_command_reads(tmp_path: Path):
    for step in (1, 2, 3, 4):
        (tmp_path / f"checkpoint-{step}").mkdir()
    prune(tmp_path, keep=1, best_step=None, in_use={tmp_path / "checkpoint-2"})
    assert complete_steps(tmp_path) == [2, 4]


def test_differing_keys_are_dotted():
    left, right = to_dict(Config()), to_dict(Config())
    right["model"]["lora"]["r"] = 8
    right["train"]["max_steps"] = 7
    del left["train"]["replay"]
    right["train"]["replay"] = "samples"
    assert differing_keys(left, right) == ["model.lora.r", "train.max_steps", "train.replay"]
