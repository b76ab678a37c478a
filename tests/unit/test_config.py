"""The config trees: what every field takes, and that each one says what it does."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import SchedulerType, get_scheduler

from rft.cold_start.config import SftConfig
from rft.config import Config, LogConfig, RolloutConfig, load_config, to_dict
from rft.config_parser import parse_config
from rft.config_schema import SchedulerName
from rft.eval.config import ComparisonConfig

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text("train: {}\n", encoding="utf-8")
    return path


def test_defaults_need_no_key(empty: Path):
    assert load_config(empty) == Config()


@pytest.mark.parametrize("schema", [Config, SftConfig, ComparisonConfig], ids=lambda schema: schema.__name__)
def test_every_default_is_one_that_the_field_takes(empty: Path, schema: type):
    defaults = [
        f"{dotted}={value}".replace("None", "null") for dotted, value in leaves(to_dict(schema())) if value != {}
    ]
    assert parse_config(schema, empty, defaults) == schema()


def leaves(tree: dict[str, object], prefix: str = "") -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for key, value in tree.items():
        found += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [(prefix + key, value)]
    return found


OUT_OF_RANGE = {
    "rollout.vllm_max_num_seqs=0": "greater than 0",
    "rollout.num_generations=1": "greater than or equal to 2",
    "rollout.temperature=0": "greater than 0",
    "rollout.temperature=-1": "greater than 0",
    "rollout.top_p=1.5": "less than or equal to 1",
    "rollout.top_p=0": "greater than 0",
    "rollout.top_k=-1": "greater than or equal to 0",
    "rollout.vllm_gpu_memory_utilization=3": "less than or equal to 1",
    "rollout.vllm_max_model_length=0": "greater than 0",
    "eval.num_questions=-5": "greater than or equal to 0",
    "eval.num_questions=-1": "greater than or equal to 0",
    "train.adam_beta1=2": "less than 1",
    "train.adam_beta2=1": "less than 1",
    "train.warmup_steps=-1": "greater than or equal to 0",
    "train.max_steps=0": "-1 or greater than 0",
    "train.max_steps=-2": "-1 or greater than 0",
    "train.steps_per_generation=0": "greater than 0",
    "train.num_iterations=0": "greater than 0",
    "train.max_logprob_gap=.nan": "finite",
    "train.learning_rate=.inf": "finite",
    "train.seed=-1": "greater than or equal to 0",
    "train.seed=4294967296": "less than 4294967296",
    "train.seed=true": "a number, not true or false",
    "train.lr_scheduler_type=cosine_with_min_lr": "'constant', 'constant_with_warmup', 'linear', 'cosine'",
    "data.questions_per_context=0": "greater than 0",
    "data.window=64k": "Input should be '32k', '128k'",
    "model.lora.r=-1": "greater than or equal to 0",
    "model.lora.lora_dropout=1": "less than 1",
    "model.lora.target_modules=['']": "not blank",
    "memory.chunk_tokens=0": "greater than 0",
    "reward.weights=[1, .nan]": "finite",
    "output_dir=' '": "not blank",
    'output_dir="a\\0b"': "no NUL",
    'task_options={deep: {text: "a\\0b"}}': "no NUL",
    "data.options={deep: [.inf]}": "finite",
    'output_dir="a\\ud83d"': "valid Unicode",
    'data.options={deep: ["\\ud83d"]}': "valid Unicode",
    'data.options={"a\\0b": 1}': "no NUL",
    "data.options={null: 1}": "texts as keys, got None",
    "data.options={deep: {~: 1}}": "texts as keys",
    "hooks.wait_s=1e23": "less than or equal to",
    "train.max_steps=1e23": "exceeded maximum size",
    "train.num_iterations=9007199254740993": "less than or equal to",
    "train.max_steps=010": "a decimal number, got 010, which yaml reads as 8",
    "train.learning_rate=1:30": "a decimal number, got 1:30, which yaml reads as 90",
    "data.options={deep: [010]}": "a decimal number",
}


@pytest.mark.parametrize("override", OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused_with_its_key_and_what_is_allowed(empty: Path, override: str):
    with pytest.raises(ValueError, match="^config key '") as caught:
        load_config(empty, [override])
    message = str(caught.value)
    assert message.startswith(f"config key '{override.partition('=')[0]}")
    assert OUT_OF_RANGE[override] in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("schema", "override", "allowed"),
    [
        (ComparisonConfig, "compare.num_samples=0", "greater than 0"),
        (ComparisonConfig, "compare.temperature=-1", "greater than or equal to 0"),
        (ComparisonConfig, "compare.judge.endpoint.timeout=0", "greater than 0"),
        (SftConfig, "target.keep_share=1.1", "less than or equal to 1"),
        (SftConfig, "train.gradient_accumulation_steps=0", "greater than 0"),
    ],
)
def test_the_other_trees_have_ranges_too(empty: Path, schema: type, override: str, allowed: str):
    with pytest.raises(ValueError, match=allowed) as caught:
        parse_config(schema, empty, [override])
    assert override.partition("=")[0] in str(caught.value)


MAY_BE_NEGATIVE = {"train.max_steps=-1"}


@pytest.mark.parametrize("schema", [Config, SftConfig, ComparisonConfig], ids=lambda schema: schema.__name__)
@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "1e999", "-1", "-0.5", '"a\\0b"'])
def test_nan_inf_negative_numbers_and_nul_are_refused_anywhere_in_the_config(empty: Path, schema: type, value: str):
    for dotted, kind in fields_of(schema):
        options = typing.get_args(kind) if typing.get_origin(kind) is types.UnionType else (kind,)
        is_number = bool({int, float} & set(options))
        if f"{dotted}={value}" in MAY_BE_NEGATIVE or not (is_number or "\\0" in value):
            continue  # other fields take `.nan` as the text it is
        with pytest.raises(
            ValueError, match=f"^config key '{dotted}'|^config key '{dotted.partition('.')[0]}"
        ) as caught:
            parse_config(schema, empty, [f"{dotted}={value}"])
        assert "\n" not in str(caught.value)


def fields_of(schema: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and types, without what is annotated."""
    for name, kind in typing.get_type_hints(schema).items():
        if dataclasses.is_dataclass(kind):
            yield from fields_of(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, kind


def test_a_section_made_in_code_is_checked_as_well():
    with pytest.raises(ValueError, match="top_p"):
        RolloutConfig(top_p=2.0)


WRITTEN = [
    "2026-11-25", "2026-11-25T10:00:00", "3", "1_000", "010", "3.10", "1:30", "0x1F", ".nan", ".inf", "1e-3", "'3'",
    "true", "False", "yes", "no", "on", "OFF", "y", "n", "'null'",
]  # fmt: skip


@pytest.mark.parametrize("text", WRITTEN)
def test_text_is_what_was_written_although_yaml_reads_a_date_a_number_or_a_truth_value(empty: Path, text: str):
    for dotted, kind in fields_of(Config):
        is_text = str in (kind, *typing.get_args(kind)) and typing.get_origin(kind) not in (dict, list)
        if is_text and dotted != "log.report_to":  # which takes few words
            found: Any = load_config(empty, [f"{dotted}={text}"])
            for part in dotted.split("."):
                found = getattr(found, part)
            assert found == text.strip("'"), dotted


@pytest.mark.parametrize("text", ["null", "~", ""])
def test_null_is_none_where_a_text_may_be_absent_and_refused_where_not(empty: Path, text: str):
    assert load_config(empty, [f"log.run_name={text}"]).log.run_name is None
    with pytest.raises(ValueError, match="config key 'log.project': Input should be a valid string, got None"):
        load_config(empty, [f"log.project={text}"])


def test_words_that_yaml_takes_for_truth_values_are_choices_where_a_choice_is_asked_for(empty: Path):
    assert parse_config(SftConfig, empty, ["train.save_strategy=no"]).train.save_strategy == "no"
    assert load_config(empty, ["model.lora.target_modules=[1, q_proj]"]).model.lora.target_modules == ["1", "q_proj"]


def test_schedulers_are_those_of_the_library_that_need_no_further_argument():
    works = []
    for name in SchedulerType:
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
        try:
            scheduler = get_scheduler(name.value, optimizer, num_warmup_steps=2, num_training_steps=10)
            optimizer.step()
            scheduler.step()
        except (TypeError, ValueError):
            continue
        works.append(name.value)
    assert sorted(works) == sorted(typing.get_args(SchedulerName))


def sections(schema: type) -> set[type]:
    """A section and all below it."""
    below = [hint for hint in typing.get_type_hints(schema).values() if dataclasses.is_dataclass(hint)]
    return {schema}.union(*map(sections, below))


SECTIONS = sorted(sections(Config) | sections(SftConfig) | sections(ComparisonConfig), key=lambda found: found.__name__)


@pytest.mark.parametrize("schema", SECTIONS, ids=lambda schema: schema.__name__)
def test_every_section_and_every_field_says_what_it_does(schema: type):
    (definition,) = ast.parse(inspect.getsource(schema)).body
    assert isinstance(definition, ast.ClassDef)
    assert len(ast.get_docstring(definition) or "") > 10
    silent = [
        ast.unparse(statement.target)
        for statement, after in zip(definition.body, [*definition.body[1:], None], strict=True)
        if isinstance(statement, ast.AnnAssign) and not is_sentence(after)
    ]
    assert silent == []


def is_sentence(statement: ast.stmt | None) -> bool:
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Constant):
        return False
    text = statement.value.value
    return isinstance(text, str) and len(text) > 10 and text.rstrip().endswith(".")


def test_the_walk_over_sections_misses_none():
    assert {Config, LogConfig, SftConfig, ComparisonConfig} <= set(SECTIONS)
    assert len(SECTIONS) == 21


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_can_be_read(path: Path):
    schema = SftConfig if "sft" in path.stem else Config
    assert Path(parse_config(schema, path, []).output_dir).parts[0] in ("checkpoints", ".cache")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs" / "eval").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_comparison_can_be_read(path: Path):
    config: ComparisonConfig = parse_config(ComparisonConfig, path, [])
    assert Path(config.output_dir).parts[0] == "checkpoints" and config.eval.split == "benchmark"


def test_resolved_config_reads_back_the_same(tmp_path: Path):
    import yaml

    config = load_config(REPOSITORY / "configs" / "qwen3_4b.yaml")
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(to_dict(config)))
    assert load_config(again) == config


def test_qwen3_4b_is_the_papers_recipe():
    config = load_config(REPOSITORY / "configs" / "qwen3_4b.yaml")
    assert config.rollout.questions_per_batch == 32
    assert config.rollout.num_generations == 16
    assert config.rollout.questions_per_batch // config.train.steps_per_generation == 16
    assert config.train.learning_rate == 5e-6
    assert config.train.beta == 0
    assert (config.rollout.temperature, config.rollout.max_completion_length) == (1.0, 2048)
    assert config.data.max_prompt_length == 37_000
