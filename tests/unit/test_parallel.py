"""How a run will be spread over its ranks is known from the config and the launcher's variables alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rft.cold_start.config import SftConfig
from rft.config import Config, load_config
from rft.parallel import ParallelMode, launch_notes, parallel_mode

ROOT = Path(__file__).parents[2]
ZERO3 = "configs/deepspeed/zero3.json"


def a_config(deepspeed: str | None) -> Config:
    config = Config()
    config.train.deepspeed = deepspeed
    return config


@pytest.mark.parametrize(
    ("deepspeed", "world_size", "kind"),
    [
        (None, 1, "single"),
        (None, 8, "ddp"),
        (ZERO3, 1, "zero3"),
        (ZERO3, 16, "zero3"),
        ("configs/deepspeed/zero2.json", 8, "zero2"),
    ],
)
def test_the_config_decides(deepspeed: str | None, world_size: int, kind: str):
    mode = parallel_mode(a_config(deepspeed), world_size, {"PATH": "/usr/bin"})
    assert (mode.kind, mode.num_ranks) == (kind, world_size)
    assert mode.uses_deepspeed == (deepspeed is not None)
    assert (mode.settings is None) == (deepspeed is None)
    assert "\n" not in mode.describe()


def test_the_file_is_found_from_any_folder_and_the_nearer_one_first(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parallel_mode(a_config(ZERO3), 2, {}).kind == "zero3"
    (tmp_path / "configs/deepspeed").mkdir(parents=True)
    (tmp_path / ZERO3).write_text(json.dumps({"zero_optimization": {"stage": 1}}))
    assert parallel_mode(a_config(ZERO3), 2, {}).kind == "zero1"


def test_the_launchers_own_settings_win_and_it_is_said():
    launcher = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "1"}
    mode = parallel_mode(a_config(ZERO3), 8, launcher)
    assert (mode.kind, mode.settings) == ("zero1", None)
    assert mode.describe() == (
        "DeepSpeed ZeRO-1 on 8 ranks, from the launcher's own options; train.deepspeed = "
        "configs/deepspeed/zero3.json is not used"
    )
    launcher["ACCELERATE_DEEPSPEED_CONFIG_FILE"] = str(ROOT / "configs/deepspeed/zero2.json")
    assert parallel_mode(a_config(None), 8, launcher).kind == "zero2"


def test_a_cold_start_has_the_same_key():
    config = SftConfig()
    assert parallel_mode(config, 2, {}).kind == "ddp"
    config.train.deepspeed = ZERO3
    assert parallel_mode(config, 2, {}) == ParallelMode(
        kind="zero3", num_ranks=2, source=f"train.deepspeed ({ZERO3})", settings=json.loads((ROOT / ZERO3).read_text())
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no file own.json in the current folder or in "),
        ("{", "own.json cannot be read as json"),
        ("[]", "own.json has no zero_optimization.stage of 0 to 3"),
        ('{"zero_optimization": {"stage": 4}}', "own.json has no zero_optimization.stage of 0 to 3"),
        ('{"zero_optimization": {"stage": 3}, "optimizer": {}}', "own.json has a section 'optimizer'"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, monkeypatch, content: str | None, message: str):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "own.json").write_text(content)
    with pytest.raises(ValueError) as caught:
        parallel_mode(a_config("own.json"), 2, {})
    assert str(caught.value).startswith("train.deepspeed: ") and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_ways_to_spread_a_model_are_refused():
    with pytest.raises(ValueError, match="the launcher asks for FSDP, which is not supported"):
        parallel_mode(a_config(ZERO3), 8, {"ACCELERATE_USE_FSDP": "true"})


RECIPES = {
    "qwen3_4b": "zero3", "qwen3_4b_128k": "zero3", "qwen3_4b_memory": "zero3", "qwen3_4b_lora": "ddp", "demo": "ddp",
}  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), RECIPES.items())
def test_the_recipes_say_what_they_need(name: str, kind: str):
    assert parallel_mode(load_config(ROOT / f"configs/{name}.yaml"), 8, {}).kind == kind


def test_a_launcher_that_kills_too_soon_is_noted():
    launched = {"TORCHELASTIC_RUN_ID": "1"}
    assert launch_notes({}) == []
    assert "kills the ranks 30 s after SIGTERM" in launch_notes(launched)[0]
    assert launch_notes(launched | {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "1800"}) == []


def test_it_costs_no_heavy_import():
    program = "import sys, rft.parallel, rft.config; print({'torch', 'accelerate', 'deepspeed'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
