"""Overrides, keys and types: what a user's mistake is answered with."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rft.config import Config, load_config
from rft.config_parser import RENAMED, has_key, parse_config, renamed, with_new_names
from rft.config_yaml import LONGEST_MESSAGE
from rft.eval.config import ComparisonConfig


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path, *overrides: str, schema: type = Config) -> str:
    """The one short line that says why a config is refused, given at once."""
    start = time.perf_counter()
    with pytest.raises(ValueError) as caught:
        parse_config(schema, path, list(overrides))
    assert time.perf_counter() - start < 5
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) <= LONGEST_MESSAGE
    return message


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return write(tmp_path, "run.yaml", "train: {}\n")


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
        ("train.seed=abc", "config key 'train.seed': Input should be a valid integer"),
        ("train.seed=1.5", "config key 'train.seed': Input should be a valid integer"),
        ("model.lora.target_modules={a: 1}", "config key 'model.lora.target_modules': Input should be a valid string"),
        ("reward.weights=[1, a]", "config key 'reward.weights': Input should be a valid number"),
        ("data=3", "'data' is a section"),
        ("train=", "'train' is a section"),
        ("train.seed", "section.key=value"),
        ("=3", "section.key=value"),
        ("train..seed=3", "section.key=value"),
        ("train.seed=[1", "not valid yaml"),
        ("train.seed=!!set {1}", "not valid yaml"),
        ("train.seed=!!int abc", "not valid yaml: 'abc' is no int"),
        ("train.seed=" + "9" * 5000, "is no int"),
        ("log.run_name={a: 1, a: 2}", "'a' is set twice"),
        ("base=other.yaml", "unknown config key 'base'"),
        ("a" * 10_000 + "=1", "unknown config key 'aaa"),
        ("task_options=" + "[" * 5000 + "]" * 5000, "more than 20 levels deep"),
        ("task_options=" + "{a: " * 21 + "1" + "}" * 21, "more than 20 levels deep"),
        ("task_options" + ".a" * 5000 + "=1", "more than 20 parts"),
    ],
    ids=lambda text: text[:40],
)
def test_a_mistake_is_one_line_that_helps(empty: Path, override: str, message: str):
    assert message in refused(empty, override)


def test_aliases_that_stay_small_are_fine(tmp_path: Path):
    path = write(tmp_path, "run.yaml", "task_options: &shared {seed: 1}\ntrain: {<<: *shared, beta: 0.1}\n")
    config = load_config(path, ["task_options.seed=5"])
    assert (config.task_options, config.train.seed, config.train.beta) == ({"seed": 5}, 1, 0.1)


def test_a_long_value_is_cut_in_the_message(tmp_path: Path):
    path = write(tmp_path, "run.yaml", f"train: {{seed: [{', '.join(['word'] * 9000)}]}}\n")
    assert refused(path).startswith("config key 'train.seed': Input should be a valid integer, got ['word', 'word'")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.questions_per_history=4", "'data.questions_per_history' is now 'data.questions_per_context'"),
        ("data.num_val_personas=3", "'data.num_val_personas' is now 'data.num_val_clusters'"),
        ("evaluate.protocol=boxed", "'evaluate.protocol' is now 'compare.protocol'"),
        ("evaluate.judge.repeats=2", "'evaluate.judge' is now 'compare.judge'"),
        ("evaluate.benchmark=locomo", "'evaluate.benchmark' is now 'data.format'"),
        ("compare.benchmark=locomo", "'compare.benchmark' is now 'data.format'"),
        ("evaluate=3", "'evaluate' is now 'compare'"),
    ],
)
def test_a_renamed_key_is_refused_with_its_new_name(empty: Path, override: str, message: str):
    assert message in refused(empty, override, schema=ComparisonConfig)


def test_a_new_name_is_told_only_where_it_can_be_used(empty: Path):
    assert "compare" not in refused(empty, "evaluate.protocol=boxed")


def test_new_names_exist_and_old_ones_do_not():
    for old, new in RENAMED.items():
        assert has_key(ComparisonConfig, new)
        assert not has_key(ComparisonConfig, old)
        assert renamed(new) == new


def test_a_tree_of_an_earlier_version_gets_new_names():
    old = {"data": {"num_val_personas": 3, "window": "32k"}, "evaluate": {"benchmark": "locomo", "num_samples": 2}}
    kept = {"data": {"num_val_personas": 3, "window": "32k"}, "evaluate": {"benchmark": "locomo", "num_samples": 2}}
    assert with_new_names(old) == {
        "data": {"num_val_clusters": 3, "window": "32k", "format": "locomo"},
        "compare": {"num_samples": 2},
    }
    assert old == kept
    assert with_new_names({"train": {"seed": 1}}) == {"train": {"seed": 1}}
