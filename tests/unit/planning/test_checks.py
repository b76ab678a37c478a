"""Settings that cannot go together, and settings that do nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from rft.config import StageConfig, load_config
from rft.planning.checks import check, without_effect
from rft.tasks.registry import longest_path
from tests.unit.planning.configs import config

CONFIGS = Path(__file__).parents[3] / "configs"


def stage(window: int, step: int) -> StageConfig:
    return StageConfig(max_prompt_length=window, until_step=step)


RUNS = sorted(path for path in CONFIGS.glob("*.yaml") if "sft" not in path.stem)


@pytest.mark.parametrize(
    ("changes", "world_size", "message"),
    [
        ({"rollout__vllm_max_model_length": 100}, 1, "does not fit rollout.vllm_max_model_length = 100"),
        ({"train__max_tokens_per_microbatch": 100}, 1, "does not fit train.max_tokens_per_microbatch = 100"),
        ({}, 3, "make it a multiple of 3"),
        ({"train__steps_per_generation": 3}, 1, "make it a multiple of 3"),
        ({"data__questions_per_context": 9}, 1, "questions_per_context = 9"),
        ({"train__steps_per_generation": 2, "checkpoint__save_steps": 5}, 1, "save_steps = 5"),
        ({"train__num_iterations": 2, "train__max_steps": 5}, 1, "max_steps = 5"),
        ({"train__importance_sampling_level": "sequence"}, 1, "GSPO"),
        ({"train__lr_scheduler_type": "polynomial", "train__learning_rate": 1e-7}, 1, "raise train.learning_rate"),
        ({"train__activation_offloading": True}, 1, "set train.gradient_checkpointing=true"),
        ({"task": "mqc"}, 1, "unknown 'mqc'"),
        ({"task_options": {"system_prompt": "Hi."}}, 1, "task mcq has no task_options; remove system_prompt"),
        ({"task": "memory", "memory__max_update_length": 2}, 1, "memory.max_update_length"),
        ({"task": "memory", "data__questions_per_context": 3}, 1, "data.questions_per_context = 3"),
        ({"data__format": "parquet"}, 1, "data.format: unknown 'parquet'"),
        ({"data__format": "json:loads"}, 1, "data.format"),
        ({"reward__function": "no_such_module:f"}, 1, "no_such_module"),
        ({"reward__weights": [1.0]}, 1, "reward.weights"),
        ({"rollout__select": "adaptive", "rollout__pilot_generations": 5}, 1, "rollout.pilot_generations = 5"),
        ({"rollout__select": "adaptive", "rollout__pilot_generations": 1}, 1, "set it to 2 or more"),
        (
            {"rollout__select": "adaptive", "rollout__pilot_generations": 2, "task": "memory"},
            1,
            "asks one question at a time, and memory does not",
        ),
        (
            {
                "rollout__select": "adaptive",
                "rollout__pilot_generations": 2,
                "rollout__max_lag": 1,
                "rollout__engine": "server",
                "rollout__servers": ["http://127.0.0.1:1"],
            },
            1,
            "set rollout.max_lag=0, or rollout.select=uniform",
        ),
        ({"task": "memory", "data__curriculum": [stage(100, 2)]}, 1, "data.curriculum needs a task"),
        ({"data__curriculum": [stage(100, 2), stage(90, 4)]}, 1, "windows of 100, 90 tokens"),
        ({"data__curriculum": [stage(10**6, 2)]}, 1, "let each be longer than the one before"),
        ({"data__curriculum": [stage(100, 4), stage(200, 4)]}, 1, "let each end later than the one before"),
        ({"data__curriculum": [stage(100, 3)], "train__num_iterations": 2}, 1, "make until_step a multiple"),
        ({"hooks__on_checkpoint": "no-such-program {checkpoint}"}, 1, "no program 'no-such-program'"),
    ],
)
def test_what_cannot_work_is_refused_with_the_fix(changes: dict[str, object], world_size: int, message: str):
    with pytest.raises(ValueError) as caught:
        check(config(**changes), world_size)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_sound_config_passes():
    check(config(), 1)
    check(config(train__steps_per_generation=2), 4)


def test_a_reply_of_a_memory_can_be_what_does_not_fit():
    long_updates = config(task="memory", memory__max_update_length=60_000)
    with pytest.raises(ValueError, match=r"data.max_prompt_length \+ memory.max_update_length = 97000"):
        check(long_updates, 1)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_every_shipped_run_is_sound_on_one_gpu_and_on_a_node(path: Path):
    shipped = load_config(path)
    check(shipped, 1)
    limit = shipped.train.max_tokens_per_microbatch
    assert limit == "auto" or longest_path(shipped) <= limit
    if path.stem.startswith("qwen3_4b"):
        check(shipped, 8)
        assert Path(shipped.output_dir).name == shipped.log.run_name == path.stem


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_every_setting_of_a_shipped_run_has_an_effect(path: Path):
    assert without_effect(load_config(path), on_cuda="qwen3" in path.stem) == []


WITHOUT_EFFECT = """\
data.num_val_clusters has no effect with data.train_split=paper, which validates on val.csv
memory.chunk_tokens has no effect with task=mcq
memory.credit has no effect with task=mcq
model.attn_implementation has no effect with train.shared_prefix=true, which has its own attention
model.lora.lora_alpha has no effect with model.lora.r=0
model.lora.lora_dropout has no effect with model.lora.r=0
model.lora.target_modules has no effect with model.lora.r=0
reward.rule has no effect unless reward.function lists `task`
rollout.vllm_kv_cache_gb has no effect on a GPU, where rollout.vllm_gpu_memory_utilization bounds the engine
train.per_device_train_batch_size has no effect with train.shared_prefix=true, where train.max_tokens_per_microbatch \
bounds a micro-batch
train.vllm_importance_sampling_clip_max has no effect with train.vllm_importance_sampling_correction=false
train.warmup_steps has no effect with train.lr_scheduler_type=constant; constant_with_warmup has a warmup"""


def test_settings_that_do_nothing_are_listed():
    idle = config(
        data__num_val_clusters=3,
        data__train_split="paper",
        memory__chunk_tokens=90,
        memory__credit="broadcast",
        model__attn_implementation="eager",
        reward__rule="paper",
        reward__function="my_rewards:exact",
        rollout__vllm_kv_cache_gb=4.0,
        train__per_device_train_batch_size=4,
        train__vllm_importance_sampling_correction=False,
        train__vllm_importance_sampling_clip_max=3.0,
        train__warmup_steps=10,
    )
    idle.model.lora.lora_alpha = 64
    idle.model.lora.lora_dropout = 0.1
    idle.model.lora.target_modules = ["q_proj"]
    assert "\n".join(without_effect(idle, on_cuda=True)) == WITHOUT_EFFECT
    assert not [line for line in without_effect(idle, on_cuda=False) if "vllm_kv_cache_gb" in line]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"train__shared_prefix": False, "train__max_tokens_per_microbatch": 9}, ["train.max_tokens_per_microbatch"]),
        ({"train__shared_prefix": False, "train__per_device_train_batch_size": 9}, []),
        ({"train__shared_prefix": False, "model__attn_implementation": "eager"}, []),
        ({"task": "memory", "memory__chunk_tokens": 90, "reward__rule": "paper"}, []),
        ({"task": "qa", "reward__rule": "paper", "reward__function": "a:b"}, ["reward.rule"]),
        ({"reward__rule": "paper", "reward__function": ["task", "a:b"]}, []),
        ({"reward__completions": "text"}, ["reward.completions"]),
        ({"reward__completions": "text", "reward__function": "a:b"}, []),
        ({"train__warmup_steps": 3, "train__lr_scheduler_type": "linear"}, []),
        ({"data__num_val_clusters": 3}, []),
        ({"train__vllm_importance_sampling_clip_max": 3.0}, []),
    ],
)
def test_a_setting_is_listed_only_where_it_does_nothing(changes: dict[str, object], expected: list[str]):
    assert [line.partition(" ")[0] for line in without_effect(config(**changes), on_cuda=False)] == expected
