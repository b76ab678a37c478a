"""What part `learning` of bench/gpu.py rests on: commands that stop in time, steps that are kept, a named model."""

from __future__ import annotations

import importlib
import json
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from rft.cold_start.config import SftConfig
from rft.config import Config, load_config, parse_config
from tests.unit.data.builder import TEMPLATES, make_tokenizer

ROOT = Path(__file__).parents[2]

STOPS_WHEN_ASKED = """
import signal, sys, time
def stop(*_):
    print("saved", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
time.sleep(60)
"""
GOES_ON = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print("heard", flush=True))
print("ready", flush=True)
for _ in range(600):
    time.sleep(0.1)
"""


@pytest.fixture
def learning(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr("sys.path", [str(ROOT / "bench"), *__import__("sys").path])
    return importlib.import_module("gpu_parts.learning")


@pytest.fixture
def commands(learning: ModuleType) -> ModuleType:
    return importlib.import_module("gpu_parts.commands")


def report(tmp_path: Path, seconds: float = 100.0) -> object:
    common = importlib.import_module("gpu_parts.common")
    return common.Report(tmp_path / "gpu.jsonl", "learning", toy=True, seconds=seconds)


# ------------------------------------------------------------------------------------------------------- commands


def test_a_command_passes_on_its_words_and_its_status(commands: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    ended = commands.run_command(["-c", "print('one'); print('two'); raise SystemExit(3)"], seconds=60)
    assert (ended.status, ended.lines) == (3, ["one", "two"]) and capsys.readouterr().out == "one\ntwo\n"


def test_a_command_is_asked_to_stop_at_its_time(commands: ModuleType) -> None:
    ended = commands.run_command(["-c", STOPS_WHEN_ASKED], seconds=3)
    assert (ended.status, ended.lines) == (75, ["ready", "saved"])


def test_a_command_that_goes_on_is_killed(commands: ModuleType) -> None:
    begin = time.monotonic()
    ended = commands.run_command(["-c", GOES_ON], seconds=3, kill_after=1)
    assert (ended.status, ended.lines) == (-9, ["ready", "heard"]) and time.monotonic() - begin < 30


def test_a_progress_bar_does_not_hide_a_line(commands: ModuleType, learning: ModuleType) -> None:
    printed = (
        r"""print("50%|####\r" + " " * 9 + "\r{'loss': '0.5', 'epoch': '0.1'}"); print("{'train_runtime': '7.5'}")"""
    )
    ended = commands.run_command(["-c", printed], seconds=60)
    assert learning.printed_metrics(ended.lines) == [{"loss": "0.5", "epoch": "0.1"}, {"train_runtime": "7.5"}]


# ---------------------------------------------------------------------------------------------------------- steps


def test_a_finished_step_is_told_again_and_not_done_again(learning: ModuleType, tmp_path: Path) -> None:
    written = report(tmp_path)
    steps = learning.Learning(written, tmp_path, tmp_path, learning.TOY)
    results = iter([{"stopped": "SIGTERM", "steps": 3}, {"stopped": None, "steps": 5}])
    done = [steps.once("grpo", lambda: next(results), lasts=lambda found: not found["stopped"]) for _ in range(3)]
    assert [found["steps"] for found in done] == [3, 5, 5] and done[1] == done[2]
    lines = [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]
    assert [(line["step"], line["steps"]) for line in lines] == [("grpo", 3), ("grpo", 5), ("grpo", 5)]


def test_nothing_begins_without_time(learning: ModuleType, tmp_path: Path) -> None:
    steps = learning.Learning(report(tmp_path, seconds=40), tmp_path, tmp_path, learning.TOY)
    assert 25 < steps.report.seconds_left() < 40, "some is left for its last words"
    with pytest.raises(SystemExit, match=r"no time is left for rft/train.py; the same command goes on"):
        steps.command("rft/train.py", keep=60.0)


def test_a_failed_command_ends_the_part(learning: ModuleType, tmp_path: Path) -> None:
    steps = learning.Learning(report(tmp_path), tmp_path, tmp_path, learning.TOY)
    with pytest.raises(SystemExit, match="-c: status 4"):
        steps.command("-c", "raise SystemExit(4)")


def test_a_cold_start_that_was_stopped_counts_up_to_its_last_whole_checkpoint(
    learning: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="stopped before its first checkpoint; give the part more time"):
        learning.cold_start_in(tmp_path)
    for step, files in ((50, ["trainer_state.json"]), (100, ["trainer_state.json"]), (150, [])):
        (tmp_path / f"checkpoint-{step}").mkdir()
        for name in files:
            (tmp_path / f"checkpoint-{step}" / name).touch()
    assert learning.cold_start_in(tmp_path) == tmp_path / "checkpoint-100"
    (tmp_path / "sft_config.json").touch()
    assert learning.cold_start_in(tmp_path) == tmp_path


def test_a_curve_has_few_points(learning: ModuleType) -> None:
    numbers = importlib.import_module("gpu_parts.training_numbers")
    assert numbers.curve([0.1, 0.2]) == [0.1, 0.2]
    long = numbers.curve([step / 50 for step in range(50)])
    assert len(long) == 17 and long[0] == 0.02 and long[-1] == 0.97


# ---------------------------------------------------------------------------------------------------------- model


def test_without_a_model_one_line_says_what_to_give(
    learning: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RFT_BENCH_MODEL", raising=False)
    with pytest.raises(SystemExit, match="not run: name a model .* --model FOLDER"):
        learning.given_model()
    monkeypatch.setenv("RFT_BENCH_MODEL", str(tmp_path))
    with pytest.raises(SystemExit, match="not run: .* has no config.json and 0 .gguf files"):
        learning.given_model()
    (tmp_path / "small.gguf").touch()
    assert learning.given_model() == tmp_path / "small.gguf"
    (tmp_path / "config.json").touch()
    assert learning.given_model() == tmp_path


def test_the_tokenizer_ends_replies_as_the_models_settings_say(learning: ModuleType) -> None:
    smollm = importlib.import_module("smollm")
    tokenizer = make_tokenizer(TEMPLATES["chatml"])
    start, end, pad = (tokenizer.convert_tokens_to_ids(token) for token in ("<|im_start|>", "<|im_end|>", "</s>"))
    tokenizer.eos_token = "<|im_start|>"
    smollm.take_special_tokens(tokenizer, SimpleNamespace(eos_token_id=end, pad_token_id=pad))
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (end, pad) != (start, pad)


# -------------------------------------------------------------------------------------------------------- configs


def test_training_and_cold_start_leave_the_same_out() -> None:
    cold: SftConfig = parse_config(SftConfig, ROOT / "configs/gpu/learning_sft.yaml", [])
    train = load_config(ROOT / "configs/gpu/learning.yaml")
    assert isinstance(train, Config)
    assert cold.data.max_prompt_length == train.data.max_prompt_length
    assert cold.data.source != train.data.source and cold.target.reply == "trace"
