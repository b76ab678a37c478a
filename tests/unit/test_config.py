"""Configuration: bases, overrides, and what a user's mistake is answered with."""

from pathlib import Path

import pytest

from rft.config import Config, load_config, to_dict

REPOSITORY = Path(__file__).parents[2]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_need_no_key(tmp_path: Path):
    assert load_config(write(tmp_path, "empty.yaml", "train: {}\n")) == Config()


def test_base_is_refined_and_overrides_win(tmp_path: Path):
    write(tmp_path, "base.yaml", "train: {seed: 1, learning_rate: 1e-4}\nrollout: {num_generations: 8}\n")
    path = write(tmp_path, "run.yaml", "base: base.yaml\ntrain: {seed: 2}\n")
    config = load_config(path, ["rollout.num_generations=4", "model.lora.r=16"])
    assert (config.train.seed, config.train.learning_rate) == (2, 1e-4)
    assert (config.rollout.num_generations, config.model.lora.r) == (4, 16)


@pytest.mark.parametrize("text", ["1e-6", "1.0e-6", "0.000001"])
def test_a_learning_rate_is_a_number_however_written(tmp_path: Path, text: str):
    path = write(tmp_path, "run.yaml", f"train:\n  learning_rate: {text}\n")
    assert load_config(path).train.learning_rate == 1e-6
    assert load_config(path, [f"train.learning_rate={text}"]).train.learning_rate == 1e-6


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.learnig_rate=1", "did you mean 'train.learning_rate'"),
        ("trian.seed=1", "did you mean 'train'"),
        ("model.lora.rank=1", "unknown config key 'model.lora.rank'"),
        ("train.seed=abc", "'train.seed'.*integer.*'abc'"),
        ("data.window=64k", "'data.window'.*'32k' or '128k'"),
        ("data=3", "'data' is a section"),
        ("train.seed", "section.key=value"),
        ("train.seed=[1", "not valid yaml"),
    ],
)
def test_a_mistake_is_one_line_that_helps(tmp_path: Path, override: str, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        load_config(write(tmp_path, "run.yaml", "train: {}\n"), [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("- 1\n", "mappings"), ("train: [\n", "not valid yaml"), ("base: run.yaml\n", "comes back to itself")],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, message: str):
    path = write(tmp_path, "run.yaml", text)
    with pytest.raises(ValueError, match=message) as caught:
        load_config(path)
    assert "run.yaml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"nothing\.yaml does not exist"):
        load_config(tmp_path / "nothing.yaml")


def test_resolved_config_reads_back_the_same(tmp_path: Path):
    import yaml

    config = load_config(REPOSITORY / "configs" / "qwen3_4b.yaml")
    assert load_config(write(tmp_path, "again.yaml", yaml.safe_dump(to_dict(config)))) == config


def test_qwen3_4b_is_the_papers_recipe():
    config = load_config(REPOSITORY / "configs" / "qwen3_4b.yaml")
    assert config.rollout.questions_per_batch == 32
    assert config.rollout.num_generations == 16
    assert config.rollout.questions_per_batch // config.train.steps_per_generation == 16
    assert config.train.learning_rate == 5e-6
    assert config.train.beta == 0
    assert (config.rollout.temperature, config.rollout.max_completion_length) == (1.0, 2048)
    assert config.data.max_prompt_length == 37_000
