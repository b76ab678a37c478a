"""A user's mistake: one clear line, exit status 2, and no model load (the model folder has no weights at all)."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from transformers import Qwen3Config

import rft.train
from rft.config import load_config, to_dict
from tests.unit.checkpoint.builder import write_checkpoint
from tests.unit.data.builder import TEMPLATES, make_history, make_row, make_tokenizer, write_csv, write_dataset

ROOT = Path(__file__).parents[2]
HISTORY = Path(make_row(1, 0)["chat_history_32k_link"])


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A data set, a model without weights, and a config that would train."""
    write_dataset(tmp_path / "data", {"train": range(1, 7), "val": range(7, 9), "benchmark": (9,)})
    make_tokenizer(TEMPLATES["chatml"]).save_pretrained(tmp_path / "model")
    Qwen3Config(
        vocab_size=512, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1,
        max_position_embeddings=2048,
    ).save_pretrained(tmp_path / "model")  # fmt: skip
    config = {
        "output_dir": str(tmp_path / "out"),
        "model": {"model_name_or_path": str(tmp_path / "model")},
        "data": {
            "source": str(tmp_path / "data"),
            "num_val_clusters": 2,
            "max_prompt_length": 1024,
            "cache_dir": str(tmp_path / "cache"),
        },
        "rollout": {"questions_per_batch": 4, "num_generations": 2, "max_completion_length": 16},
        "train": {"max_steps": 1},
        "log": {"report_to": "none"},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def drop_column(folder: Path) -> None:
    path = folder / "data/benchmark/text/train.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    write_csv(folder / "data", "train", [{k: v for k, v in row.items() if k != "correct_answer"} for row in rows])


def edit_row(**changes: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        write_csv(folder / "data", "train", [make_row(1, 0), make_row(2, 0, **changes)])

    return edit


def write_bytes(content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "data" / HISTORY).write_bytes(content) and None


def remove_history(folder: Path) -> None:
    (folder / "data" / HISTORY).unlink()


def duplicate_row(folder: Path) -> None:
    write_csv(folder / "data", "train", [make_row(1, 0), make_row(2, 0), make_row(1, 0)])


def nothing(_: Path) -> None: ...


def remove_tokenizer(folder: Path) -> None:
    (folder / "model" / "tokenizer.json").unlink()


def make_experts(folder: Path) -> None:
    path = folder / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "qwen3_moe", "num_experts": 4}))


HISTORY_TEXT = json.dumps(make_history(1), ensure_ascii=False)

CASES: dict[str, tuple[Callable[[Path], None], str, list[str]]] = {
    "unknown key": (nothing, "did you mean 'train.learning_rate'", ["train.learnig_rate=1"]),
    "missing column": (drop_column, "correct_answer", []),
    "absent history": (remove_history, HISTORY.name, []),
    "empty history": (write_bytes(b""), HISTORY.name, []),
    "no messages": (write_bytes(b'{"metadata": {}, "chat_history": []}'), HISTORY.name, []),
    "truncated history": (write_bytes(HISTORY_TEXT.encode()[:200]), HISTORY.name, []),
    "other encoding": (write_bytes(HISTORY_TEXT.encode("utf-16")), HISTORY.name, []),
    "three options": (edit_row(incorrect_answers='["x", "y"]'), "train.csv", []),
    "duplicated row": (duplicate_row, "train.csv", []),
    "long prompt": (nothing, "data.max_prompt_length", ["data.max_prompt_length=64"]),
    "window": (nothing, "rollout.vllm_max_model_length", ["rollout.vllm_max_model_length=1030"]),
    "positions": (nothing, "2048 positions", ["data.max_prompt_length=4000"]),
    "no data": (nothing, "data.source", ["data.source=./nowhere"]),
    "no model": (nothing, "model.model_name_or_path", ["model.model_name_or_path=./nowhere"]),
    "no tokenizer": (remove_tokenizer, "no tokenizer can be made of what", []),
    "mixture of experts": (make_experts, "is a mixture of 4 experts", []),
    "renamed key": (nothing, "is now 'data.num_val_clusters'", ["data.num_val_personas=2"]),
    "out of range": (nothing, "config key 'rollout.top_p'", ["rollout.top_p=1.5"]),
    "schedule": (nothing, "'linear', 'cosine'", ["train.lr_scheduler_type=cosine_with_min_lr"]),
    "task": (nothing, "task: unknown 'mqc'", ["task=mqc"]),
    "format": (nothing, "data.format: unknown 'parquet'", ["data.format=parquet"]),
    "reward": (nothing, "no_such_module", ["reward.function=no_such_module:f"]),
    "hook": (nothing, "no program 'no-such-program'", ["hooks.on_checkpoint=no-such-program"]),
    "output_dir": (nothing, "run.yaml cannot be written: Not a directory", ["output_dir={folder}/run.yaml"]),
    "lora target": (nothing, "ends in query", ["model.lora.r=4", "model.lora.target_modules=[query]"]),
    "attention": (nothing, "spda", ["train.shared_prefix=false", "model.attn_implementation=spda"]),
    "truncated sampling": (nothing, "would be biased", ["rollout.top_p=0.9"]),
    "truncated sampling by rank": (nothing, "would be biased", ["rollout.top_k=20"]),
    "KV cache": (nothing, "rollout.vllm_kv_cache_gb = 1e-06 holds no sequence", ["rollout.vllm_kv_cache_gb=1e-6"]),
    "replay": (nothing, "train.replay: ", ["train.replay={folder}/nothing"]),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line_and_status_2(name: str, run_folder: Path, capsys: pytest.CaptureFixture[str]):
    spoil, message, overrides = CASES[name]
    spoil(run_folder)
    capsys.readouterr()
    overrides = [override.replace("{folder}", str(run_folder)) for override in overrides]
    assert rft.train.main([str(run_folder / "run.yaml"), *overrides]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (run_folder / "out").exists()


def test_a_changed_config_on_resume_is_one_line_and_status_2(run_folder: Path, capsys: pytest.CaptureFixture[str]):
    saved = to_dict(load_config(run_folder / "run.yaml", ["train.learning_rate=1e-3"]))
    checkpoint = write_checkpoint(run_folder / "out", saved)
    leftover = run_folder / "out/.checkpoint-2.tmp"
    leftover.mkdir()
    capsys.readouterr()
    assert rft.train.main([str(run_folder / "run.yaml")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert [line for line in errors if line.startswith("error:")] == [
        f"error: {checkpoint} was made with other values of train.learning_rate; restore them, choose another "
        "output_dir, or set checkpoint.resume=never"
    ]
    assert leftover.exists()


def test_the_script_itself_exits_with_status_2_and_no_traceback(run_folder: Path):
    finished = subprocess.run(
        [sys.executable, "rft/train.py", str(run_folder / "run.yaml"), "train.learnig_rate=1"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 2
    assert finished.stderr.count("\n") == 1
    assert finished.stderr.startswith("error: unknown config key 'train.learnig_rate'")


def test_dry_run_prints_the_plan_of_data_that_are_here(run_folder: Path, capsys: pytest.CaptureFixture[str]):
    assert rft.train.main([str(run_folder / "run.yaml"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "questions_per_batch: 4" in printed
    assert "18 to train on" in printed
    assert not (run_folder / "out").exists()


OWN_FORMAT = """
from rft.data.dataset import Dataset, Split
from rft.records import Context, Message, Question

class Notes(Dataset):
    splits, eval_split, name = ("train", "test"), "test", "notes"

    def split(self, name):
        questions = [
            Question(question_id=f"{name}/{number}", context_id="note", cluster=str(number), query="What is it?",
                     correct_answer="red", incorrect_answers=("blue", "green", "white"))
            for number in range(5)
        ]
        return Split(name=name, questions=tuple(questions))

    def context(self, context_id):
        return Context(context_id=context_id, messages=(Message(role="user", content="It is red."),))
"""


def test_dry_run_of_a_format_of_ones_own(run_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    (run_folder / "own_notes.py").write_text(OWN_FORMAT)
    monkeypatch.syspath_prepend(str(run_folder))
    command = [str(run_folder / "run.yaml"), "data.format=own_notes:Notes", "--dry-run"]
    assert rft.train.main(command) == 0
    assert "5 to train on" in capsys.readouterr().out
    assert rft.train.main([*command, "data.source=somebody/notes"]) == 0
    printed = capsys.readouterr().out
    assert "1 optimizer steps, 1 optimizer steps per rollout batch" in printed
    assert "not counted      somebody/notes: not on this machine" in printed
    assert rft.train.main([*command, "data.format=own_notes:Nothing"]) == 2
    assert "own_notes has no Nothing" in capsys.readouterr().err


def test_settings_without_effect_are_noted_once(run_folder: Path, capsys: pytest.CaptureFixture[str]):
    assert rft.train.main([str(run_folder / "run.yaml"), "memory.chunk_tokens=90", "--dry-run"]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note:")]
    assert notes == ["note: memory.chunk_tokens has no effect with task=mcq"]


def test_the_papers_config_passes_a_dry_run_anywhere(capsys: pytest.CaptureFixture[str]):
    assert rft.train.main([str(ROOT / "configs/qwen3_4b.yaml"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "32 questions" in printed
    assert "= 512" in printed


@pytest.mark.parametrize("ranks", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("name", ["qwen3_4b", "qwen3_4b_128k", "qwen3_4b_lora", "qwen3_4b_memory"])
def test_the_recipes_go_on_1_to_16_ranks(name: str, ranks: int, capsys: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", str(ranks))
    assert rft.train.main([str(ROOT / f"configs/{name}.yaml"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    spread = "DeepSpeed ZeRO-3 on" if name != "qwen3_4b_lora" else "DDP on" if ranks > 1 else "one process"
    assert f"parallel         {spread}" in printed


@pytest.mark.parametrize(
    ("name", "message"), [("no.json", "no file no.json"), ("{folder}/run.yaml", "cannot be read as json")]
)
def test_deepspeed_settings_that_cannot_be_used(
    run_folder: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
):
    named = f"train.deepspeed={name.replace('{folder}', str(run_folder))}"
    assert rft.train.main([str(run_folder / "run.yaml"), named, "--dry-run"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert message in line


def test_a_state_spread_over_other_ranks_is_one_line_and_status_2(run_folder: Path, capsys: pytest.CaptureFixture[str]):
    saved = to_dict(load_config(run_folder / "run.yaml"))
    write_checkpoint(run_folder / "out", saved, kind="zero3", num_ranks=8)
    assert rft.train.main([str(run_folder / "run.yaml")]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert "was saved by 8 ranks under ZeRO-3, and this start has 1 rank without DeepSpeed; start it as" in line
