"""The configuration: one dataclass tree, a yaml file that may refine a `base:`, dotted overrides.

    load_config("configs/qwen3_4b.yaml", ["train.learning_rate=1e-6", "data.window=128k"])

Key names are those of trl's GRPOConfig and transformers' TrainingArguments where one exists. Defaults
live here and nowhere else. A user's mistake is a `ValueError` of one line that says what to do.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from dataclasses import field
from pathlib import Path
from typing import Any, Literal, TypeVar, dataclass_transform, get_type_hints

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

Section = TypeVar("Section")


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
def section(schema: type[Section]) -> type[Section]:
    """A dataclass of checked types that takes no unknown key."""
    checked: Any = dataclass(schema, config=ConfigDict(extra="forbid"), kw_only=True)
    return checked


@section
class LoraConfig:
    """LoRA through peft; `r: 0` trains every weight."""

    r: int = 0
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    target_modules: str | list[str] = "all-linear"


@section
class ModelConfig:
    """The policy and how it is loaded."""

    model_name_or_path: str = "Qwen/Qwen3-4B-Instruct-2507"
    model_revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the weights; `auto` is bfloat16 on a GPU and float32 on a CPU."""
    attn_implementation: str = "sdpa"
    lora: LoraConfig = field(default_factory=LoraConfig)


@section
class DataConfig:
    """Which questions, how a history becomes tokens."""

    format: str = "personamem_v2"
    """Layout of the data: personamem_v2, personamem_v1, longmemeval, locomo, jsonl, or package.module:Name for a
    subclass of rft.data.dataset.Dataset."""
    source: str = "bowen-upenn/PersonaMem-v2"
    """A folder or file in that layout; with personamem_v2 also a hub dataset id."""
    options: dict[str, Any] = field(default_factory=dict)
    """Settings for a format of your own, which reads them as it likes."""
    revision: str | None = None
    """Commit of the hub dataset; required for a hub id."""
    window: Literal["32k", "128k"] = "32k"
    train_split: Literal["paper", "persona"] = "persona"
    """`persona`: train and validation share no persona. `paper`: train.csv and val.csv as released, which do."""
    num_val_clusters: int = 80
    """How many clusters (PersonaMem: personas) are held out for validation, where the data set's own splits are not
    used."""
    persona_card: Literal["drop", "keep"] = "drop"
    """The system message of a history holds the persona's profile; reading it is not personalization."""
    length_policy: Literal["error", "drop", "truncate_middle", "truncate_oldest"] = "error"
    """What happens to a prompt longer than `max_prompt_length`."""
    bad_rows: Literal["error", "skip"] = "error"
    """What happens to a row that cannot be read; skipped rows are counted in the manifest."""
    max_prompt_length: int = 37_000
    """Tokens of the model's own tokenizer, chat template included."""
    questions_per_context: int = 1
    """How many questions of one context stand next to each other in a batch and share its computation."""
    permute_options: bool = False
    """Training draws a new option order every epoch; evaluation never does."""
    cache_dir: str = ".cache/rft"


@section
class RolloutConfig:
    """Sampling and the vLLM engine."""

    questions_per_batch: int = 32
    """Questions in one rollout batch, over all ranks."""
    num_generations: int = 16
    """Completions per question: the size of a group."""
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0 samples from the whole vocabulary."""
    max_completion_length: int = 2048
    vllm_max_model_length: int | None = None
    """Engine window in tokens; None is max_prompt_length + max_completion_length."""
    vllm_gpu_memory_utilization: float = 0.5
    vllm_kv_cache_gb: float = 1.0
    """KV cache of a CPU engine, in GiB."""
    vllm_max_num_seqs: int = 256
    vllm_enable_sleep_mode: bool = True
    """On CUDA, give the engine's memory back while the trainer works."""


@section
class MemoryConfig:
    """With `task: memory`: how a history becomes a memory. data.max_prompt_length then bounds one update's or one
    answer's prompt, rollout.max_completion_length an answer."""

    chunk_tokens: int = 5000
    """Tokens of history read per update; a chunk ends where a message ends."""
    max_memory_tokens: int = 2048
    max_update_length: int = 2048
    """Tokens a reply to an update may have, a thought included."""
    query_aware: bool = False
    """Show the question while the memory is written: one memory per question. For comparison; the memory of a person
    cannot know what will be asked."""
    credit: Literal["shared", "broadcast"] = "shared"
    """How turns share a rollout's reward (grpo/credit.py)."""
    answer_at_evidence: bool = False
    """Also answer from the memory as it stood when a question's evidence had just been read."""


@section
class RewardConfig:
    rule: Literal["strict", "paper"] = "strict"
    """Of multiple choice. `strict`: one distinct boxed letter after the thought. `paper`: the last boxed letter wins."""
    function: str | list[str] | None = None
    """Reward functions with trl's signature, as package.module:name; `task` in a list is the task's own scorer. None is
    the task's own scorer alone."""
    weights: list[float] | None = None
    """One per function; None weighs each with 1."""
    completions: Literal["messages", "text"] = "messages"
    """How functions get prompts and completions: as lists of chat messages or as text, trl's two data formats."""


@section
class TrainConfig:
    """The GRPO update."""

    seed: int = 0
    num_train_epochs: float = 1.0
    max_steps: int = -1
    """Optimizer steps; overrides num_train_epochs when positive."""
    learning_rate: float = 5e-6
    lr_scheduler_type: str = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.01
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    steps_per_generation: int = 1
    """Optimizer steps taken on one rollout batch, each on an equal share of its groups."""
    num_iterations: int = 1
    """Passes over one rollout batch."""
    shared_prefix: bool = True
    """Compute each token that completions share once (grpo/forest.py). `false` is the plain path."""
    max_tokens_per_microbatch: int = 65_536
    """With shared_prefix: unique tokens per micro-batch. What is largest in memory grows with it."""
    per_device_train_batch_size: int = 1
    """Without shared_prefix: completions per micro-batch."""
    gradient_checkpointing: bool = False
    loss_type: Literal["dapo", "grpo", "dr_grpo"] = "dapo"
    """`dapo`: token mean over the global batch; `grpo`: mean over completions of their token mean;
    `dr_grpo`: token sum over completions x max_completion_length."""
    importance_sampling_level: Literal["token", "sequence"] = "token"
    """`sequence` with loss_type `grpo` is GSPO."""
    epsilon: float = 0.2
    epsilon_high: float | None = None
    beta: float = 0.0
    """Weight of the KL term to the reference model (the starting weights); 0 keeps no reference."""
    scale_rewards: bool = False
    """Divide the advantages of a group by the standard deviation of its rewards."""
    vllm_importance_sampling_correction: bool = True
    vllm_importance_sampling_clip_max: float = 2.0
    """Cap of the token-level ratio trainer / engine probability (truncated importance sampling)."""
    max_idle_steps: int = 20
    """Steps in a row without any advantage (all siblings of all groups equally good) after which the run stops."""
    replay: str | None = None
    """A folder of saved samples (log.save_samples) to train on instead of rollouts: no engine, no evaluation."""
    max_logprob_gap: float = 0.1
    """Largest mean |log p(engine) - log p(trainer)| of a step's sampled tokens; beyond it the run stops."""


@section
class EvalConfig:
    """Evaluation of the current weights at checkpoints, greedy, through the live engine."""

    split: str | None = None
    """Which split; None is the data set's own choice, `val` in PersonaMem-v2."""
    num_questions: int = 500
    """Size of the fixed subset, stratified by pref_type, who and updated; 0 is the whole split."""
    at_start: bool = True
    """Evaluate before the first step as well."""


@section
class CheckpointConfig:
    save_steps: int = 50
    save_total_limit: int = 2
    """How many of the latest checkpoints are kept; the best one by eval accuracy is kept besides."""
    resume: Literal["auto", "never"] = "auto"
    """`auto` continues from the latest complete checkpoint of `output_dir`."""


@section
class HooksConfig:
    on_checkpoint: str | None = None
    """A command run at each checkpoint; `{checkpoint}` is its path."""


@section
class LogConfig:
    report_to: Literal["wandb", "none"] = "wandb"
    """wandb runs offline where there is no key, and never blocks."""
    project: str = "rft"
    run_name: str | None = None
    save_samples: bool = False
    """Keep each batch's training samples in OUTPUT_DIR/samples, for train.replay."""
    rollouts_per_step: int = 4
    """Groups per step whose best and worst rollout are written to rollouts.jsonl."""


@section
class Config:
    """A whole run."""

    output_dir: str = "checkpoints/run"
    task: str = "mcq"
    """`mcq`: the whole context and lettered options in the prompt. `qa`: the whole context and a plain question.
    `memory`: read in chunks, answered from a memory. Or package.module:Name, a subclass of rft.tasks.task.Task."""
    task_options: dict[str, Any] = field(default_factory=dict)
    """Settings for a task of your own, which reads them as it likes."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    hooks: HooksConfig = field(default_factory=HooksConfig)
    log: LogConfig = field(default_factory=LogConfig)


def load_config(path: str | Path, overrides: list[str] | None = None) -> Config:
    """Reads a yaml file, the chain of `base:` files under it, and `section.key=value` overrides.

    Raises:
        ValueError: a file that is absent or no mapping, an unknown key (the nearest valid one is named),
            a value of the wrong type, an override that is not `key=value`.
    """
    return parse_config(Config, path, overrides or [])


def parse_config(schema: type, path: str | Path, overrides: list[str]) -> Any:
    """`load_config` for any dataclass tree made of `section`s."""
    tree = read_yaml_chain(Path(path))
    for override in overrides:
        merge(tree, parse_override(override))
    check_keys(schema, tree)
    try:
        return TypeAdapter(schema).validate_python(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"config key '{key}': {first['msg']}, got {first['input']!r}") from None


def read_yaml_chain(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The mapping of one yaml file laid over that of its `base:` (a path relative to the file)."""
    if path.resolve() in seen:
        raise ValueError(f"{path}: its chain of 'base:' files comes back to itself; remove one of them")
    if not path.is_file():
        raise ValueError(f"config file {path} does not exist; name a yaml file such as configs/qwen3_4b.yaml")
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=ConfigLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid yaml: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ValueError(f"{path} must hold 'section:' mappings at its top level, not {type(tree).__name__}")
    base = tree.pop("base", None)
    if base is None:
        return tree
    return merge(read_yaml_chain(path.parent / base, (*seen, path.resolve())), tree)


class ConfigLoader(yaml.SafeLoader):
    """yaml 1.1 reads `1e-6` as text; people who write learning rates mean the number."""


ConfigLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def parse_override(text: str) -> dict[str, Any]:
    """`"train.learning_rate=1e-6"` as `{"train": {"learning_rate": 1e-6}}`; the value is read as yaml."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ValueError(f"override '{text}' is not of the form section.key=value")
    try:
        tree: Any = yaml.load(value, Loader=ConfigLoader)
    except yaml.YAMLError:
        raise ValueError(f"override '{text}': its value is not valid yaml; quote it") from None
    for part in reversed(key.split(".")):
        tree = {part: tree}
    return tree


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Lays `over` on `base`, in place, mapping by mapping."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value
    return base


def check_keys(schema: type, tree: dict[str, Any], prefix: str = "") -> None:
    """Raises ValueError for the first key that `schema` does not have, naming the nearest one it has."""
    types = get_type_hints(schema)
    for key, value in tree.items():
        if key not in types:
            raise ValueError(f"unknown config key '{prefix}{key}'{nearest(schema, types, key, prefix)}")
        if dataclasses.is_dataclass(types[key]):
            if not isinstance(value, dict):
                example = next(iter(get_type_hints(types[key])))
                raise ValueError(
                    f"config key '{prefix}{key}' is a section; set one of its keys, such as {prefix}{key}.{example}=..."
                )
            check_keys(types[key], value, f"{prefix}{key}.")


def nearest(schema: type, types: dict[str, Any], key: str, prefix: str) -> str:
    here = difflib.get_close_matches(str(key), [str(k) for k in types], n=1, cutoff=0.5)
    if here:
        return f"; did you mean '{prefix}{here[0]}'?"
    return f"; valid keys here: {', '.join(types)}"


def to_dict(config: Any) -> dict[str, Any]:
    """The whole resolved tree as plain values, ready for yaml or json."""
    return dataclasses.asdict(config)
