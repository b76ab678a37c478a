"""The command: its model loads, and mistakes cost one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rft import sft
from rft.models import stop_token_ids

ROOT = Path(__file__).parents[3]


def test_cold_start_makes_a_model_that_loads(config_file: Path) -> None:
    assert sft.main([str(config_file)]) == 0
    out = config_file.parent / "out"
    model = AutoModelForCausalLM.from_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert model.config.vocab_size == len(tokenizer)
    assert stop_token_ids(model.generation_config, tokenizer) == (tokenizer.eos_token_id,)
    torch.testing.assert_close(model.lm_head.weight, model.model.embed_tokens.weight)
    assert tokenizer.apply_chat_template(
        [{"role": "user", "content": "music"}], tokenize=False, add_generation_prompt=True
    ) == ("<|im_start|>user\nmusic<|im_end|>\n<|im_start|>assistant\n")
    # A second run starts from the first one's model, with its tokenizer.
    again = ["model.model_name_or_path=" + str(out), "train.max_steps=1", f"output_dir={out}_again"]
    assert sft.main([str(config_file), *again]) == 0
    second = AutoTokenizer.from_pretrained(f"{out}_again")
    assert second.get_vocab() == tokenizer.get_vocab()


ENDS = {"ann": "2031", "bob": "2032", "eve": "2033"}


def write_leases(folder: Path, *, options: bool) -> Path:
    """Two texts with two questions each, in the jsonl layout."""
    folder.mkdir()
    contexts = [{"context_id": name, "text": f"The lease of {name} ends in {year}."} for name, year in ENDS.items()]
    questions = [
        {"context_id": name, "query": f"{word} does it end?", "answer": year}
        | ({"incorrect_answers": ["1999", "2000"]} if options else {})
        for name, year in ENDS.items()
        for word in ("When", "Which year")
    ]
    for name, lines in {"contexts": contexts, "questions": questions}.items():
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


LEASES = ["data.format=jsonl", "data.num_val_clusters=1", "target.reply=letter", "train.max_steps=1"]


def test_cold_start_on_letters_reads_any_layout(config_file: Path, tmp_path: Path) -> None:
    data, out = write_leases(tmp_path / "data", options=True), tmp_path / "out"
    assert sft.main([str(config_file), *LEASES, f"data.source={data}", f"output_dir={out}"]) == 0
    vocabulary = AutoTokenizer.from_pretrained(out).get_vocab()
    assert {"When", " lease", "\\boxed{c}"} <= vocabulary.keys()


def test_data_that_the_replies_cannot_be_written_for_cost_one_line(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, offered = (write_leases(tmp_path / str(options), options=options) for options in (False, True))
    assert sft.main([str(config_file), *LEASES, f"data.source={plain}"]) == 2
    assert capsys.readouterr().err.startswith("error: target.reply: letter needs options, and question questions/")
    for reply in ("trace", "memory"):
        assert sft.main([str(config_file), *LEASES, f"data.source={offered}", f"target.reply={reply}"]) == 2
        assert capsys.readouterr().err.startswith(
            f"error: target.reply: {reply} needs data written by rft/make_data.py"
        )


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("train.lerning_rate=1", "did you mean 'train.learning_rate'?"),
        ("data.source=nowhere/to be/found", "is not a folder"),
        ("model.model_name_or_path=nowhere/to/be/found", "model.model_name_or_path: cannot read nowhere/to/be/found"),
        ("data.max_prompt_length=300", "data.max_prompt_length is 300; raise it"),
    ],
)
def test_user_mistakes_end_with_one_line(
    config_file: Path, capfd: pytest.CaptureFixture[str], override: str, problem: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr("rft.cold_start.train.train", refuse)
    assert sft.main([str(config_file), override]) == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and problem in errors[0]


def refuse(*_: Any) -> Callable[[], None]:
    raise AssertionError("nothing may be trained")


def test_two_ranks_under_zero3_from_the_config_alone(config_file: Path, tmp_path: Path) -> None:
    """The same sequences in the same order as one rank that accumulates two micro-batches: the same model."""
    assert sft.main([str(config_file), f"output_dir={tmp_path / 'start'}", "train.max_steps=1"]) == 0
    common = [str(config_file), f"model.model_name_or_path={tmp_path / 'start'}", "train.max_steps=2"]
    settings = ["train.deepspeed=configs/deepspeed/zero3.json", f"output_dir={tmp_path / 'two'}"]
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "rft/sft.py",
            *common, *settings, "train.per_device_train_batch_size=1",
        ],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-6000:]
    assert "parallel         DeepSpeed ZeRO-3 on 2 ranks, from train.deepspeed" in done.stdout
    assert sft.main([*common, f"output_dir={tmp_path / 'one'}"]) == 0
    start, one, two = (
        AutoModelForCausalLM.from_pretrained(tmp_path / name).state_dict() for name in ("start", "one", "two")
    )
    assert any(not torch.equal(start[name], one[name]) for name in start)
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-5)
