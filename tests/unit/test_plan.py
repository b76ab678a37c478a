"""Cross-field checks and the size of a run."""

from pathlib import Path

import pytest

from rft.config import Config, load_config
from rft.plan import check, describe, make_plan

CONFIGS = Path(__file__).parents[2] / "configs"


def config(**changes: object) -> Config:
    result = Config()
    result.rollout.questions_per_batch = 8
    result.rollout.num_generations = 4
    for dotted, value in changes.items():
        section, key = dotted.split("__")
        assert hasattr(getattr(result, section), key)
        setattr(getattr(result, section), key, value)
    return result


@pytest.mark.parametrize(
    ("changes", "world_size", "message"),
    [
        ({"rollout__vllm_max_model_length": 100}, 1, "does not fit rollout.vllm_max_model_length = 100"),
        ({"rollout__num_generations": 1}, 1, "at least 2"),
        ({}, 3, "make it a multiple of 3"),
        ({"train__steps_per_generation": 3}, 1, "make it a multiple of 3"),
        ({"data__questions_per_history": 9}, 1, "questions_per_history = 9"),
        ({"train__steps_per_generation": 2, "checkpoint__save_steps": 5}, 1, "save_steps = 5"),
        ({"train__num_iterations": 2, "train__max_steps": 5}, 1, "max_steps = 5"),
        ({"rollout__temperature": 0.0}, 1, "temperature must be positive"),
        ({"train__importance_sampling_level": "sequence"}, 1, "GSPO"),
        ({"rollout__questions_per_batch": 0}, 1, "questions_per_batch must be positive"),
        ({"train__per_device_train_batch_size": 0}, 1, "per_device_train_batch_size must be positive"),
        ({"train__num_train_epochs": 0.0}, 1, "set one of them"),
    ],
)
def test_what_cannot_work_is_refused_with_the_fix(changes: dict[str, object], world_size: int, message: str):
    with pytest.raises(ValueError, match=message):
        check(config(**changes), world_size)


def test_a_sound_config_passes():
    check(config(), 1)
    check(config(train__steps_per_generation=2), 4)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("qwen3_4b*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_run_is_sound_on_one_gpu_and_on_a_node(path: Path):
    shipped = load_config(path)
    check(shipped, 1)
    check(shipped, 8)
    assert Path(shipped.output_dir).name == shipped.log.run_name == path.stem
    assert shipped.longest_path <= shipped.train.max_tokens_per_microbatch


def test_epochs_drop_the_last_incomplete_batch():
    plan = make_plan(config(train__num_train_epochs=2.0, train__steps_per_generation=2), 1, num_questions=30)
    assert (plan.num_batches, plan.num_steps) == (6, 12)


def test_max_steps_wins_over_epochs():
    plan = make_plan(config(train__max_steps=10, train__num_iterations=2), 1, num_questions=30)
    assert (plan.num_batches, plan.num_steps) == (5, 10)


def test_too_few_questions_for_a_batch():
    with pytest.raises(ValueError, match="7 training questions"):
        make_plan(config(), 1, num_questions=7)


def test_the_plan_names_its_numbers():
    text = describe(make_plan(config(train__max_steps=10), 2, num_questions=30), config(), 2)
    assert "8 questions" in text
    assert "16 completions on each of 2 ranks" in text
    assert "10 steps" in text
