"""The configuration of a cold start; it shares the sections of data and memory with a training run."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from rft.config import DataConfig, MemoryConfig, section


@section
class SftModelConfig:
    """The model to start from, or the shape of a new one."""

    model_name_or_path: str | None = "Qwen/Qwen3-4B-Instruct-2507"
    """None makes a new model of `config`, with a word-level tokenizer made from the training data."""
    model_revision: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    """Arguments of transformers' Qwen3Config for a new model, without the vocabulary."""
    qk_norm_start: float = 1.0
    """Where a new model's query and key norms start. They bound how sharp attention can be, so that a short training
    from scratch gains from a start above 1."""
    warm_start: str | None = None
    """A model of the same shape whose weights a new one starts from; words that both know keep their embeddings."""
    mimetic_start: bool = False
    """A new model starts with heads that look for the token they stand on and copy what they find."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    attn_implementation: str = "sdpa"


@section
class TargetConfig:
    """What the replies are, and how they are laid out."""

    reply: Literal["letter", "trace", "memory"] = "letter"
    """`letter`: the boxed letter and the option's text. `trace`: written-out reasoning, for synthetic data. `memory`:
    memories written chunk by chunk, and written-out answers from them, for synthetic data."""
    right_share_hard: float = 1.0
    """With `trace`: share of right demonstrations among the questions that a careless reader gets wrong."""
    keep_share: float = 1.0
    """With `memory`: share of the updates that carry the notes over; the others start anew with what they read."""
    answers_per_history: int | None = None
    """With `memory`: answers to learn from beside the updates; None is all questions of a history."""
    questions_per_sequence: int = 1
    """Questions of one history that follow each other in one sequence, each with its reply."""


@section
class SftTrainConfig:
    """Handed to trl's SFTConfig as it is."""

    seed: int = 0
    num_train_epochs: float = 1.0
    max_steps: int = -1
    learning_rate: float = 1e-5
    lr_scheduler_type: str = "linear"
    warmup_steps: float = 0
    """Optimizer steps, or a share of them where below 1."""
    weight_decay: float = 0.0
    adam_beta2: float = 0.999
    max_grad_norm: float = 1.0
    per_device_train_batch_size: int = 1
    gradient_accumulation_steps: int = 1
    gradient_checkpointing: bool = False
    bf16: bool = False
    use_liger_kernel: bool = False
    logging_steps: int = 10
    save_steps: int = 50
    save_strategy: Literal["no", "steps", "epoch"] = "steps"
    report_to: Literal["wandb", "none"] = "none"


@section
class SftConfig:
    """A whole cold start."""

    output_dir: str = "checkpoints/sft"
    model: SftModelConfig = field(default_factory=SftModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    target: TargetConfig = field(default_factory=TargetConfig)
    train: SftTrainConfig = field(default_factory=SftTrainConfig)
