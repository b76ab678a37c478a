"""The config of a cold start; it shares the sections of data and memory with a training run."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from rft.config import DataConfig, MemoryConfig
from rft.config_schema import (
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ReportTo,
    SchedulerName,
    Seed,
    ShareBelowOne,
    ShareOrZero,
    StepLimit,
    Text,
    section,
)


@section
class SftModelConfig:
    """The model to start from, or the shape of a new one."""

    model_name_or_path: Text | None = "Qwen/Qwen3-4B-Instruct-2507"
    """None makes a new model of `config`, with a word-level tokenizer made from the training data."""
    model_revision: Text | None = None
    """Commit, tag or branch of a hub model; None is its main branch."""
    config: dict[str, Any] = field(default_factory=dict)
    """Arguments of transformers' Qwen3Config for a new model, without the vocabulary."""
    qk_norm_start: PositiveFloat = 1.0
    """Where a new model's query and key norms start. They bound how sharp attention can be, so that a short training
    from scratch gains from a start above 1."""
    warm_start: Text | None = None
    """A model of the same shape whose weights a new one starts from; words that both know keep their embeddings."""
    mimetic_start: bool = False
    """A new model starts with heads that look for the token they stand on and copy what they find."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the weights; `auto` is bfloat16 on a GPU and float32 on a CPU."""
    attn_implementation: Text = "sdpa"
    """transformers' name of the attention, such as flash_attention_2."""


@section
class TargetConfig:
    """What the replies are, and how they are laid out."""

    reply: Literal["letter", "trace", "memory"] = "letter"
    """`letter`: the boxed letter and the option's text. `trace`: written-out reasoning, for synthetic data. `memory`:
    memories written chunk by chunk, and written-out answers from them, for synthetic data."""
    right_share_hard: ShareOrZero = 1.0
    """With `trace`: share of right demonstrations among the questions that a careless reader gets wrong."""
    keep_share: ShareOrZero = 1.0
    """With `memory`: share of the updates that carry the notes over; the others start anew with what they read."""
    answers_per_history: PositiveInt | None = None
    """With `memory`: answers to learn from beside the updates; None is all questions of a history."""
    questions_per_sequence: PositiveInt = 1
    """Questions of one history that follow each other in one sequence, each with its reply."""


@section
class SftTrainConfig:
    """Handed to trl's SFTConfig as it is."""

    seed: Seed = 0
    """Decides the order of sequences and a new model's weights; in [0, 2**32)."""
    num_train_epochs: PositiveFloat = 1.0
    """Passes over the sequences."""
    max_steps: StepLimit = -1
    """Optimizer steps; overrides num_train_epochs when positive, -1 leaves it to that."""
    learning_rate: PositiveFloat = 1e-5
    """AdamW's step size at its highest, after the warmup."""
    lr_scheduler_type: SchedulerName = "linear"
    """How the learning rate changes over the steps: transformers' schedules that need no further argument."""
    warmup_steps: NonNegativeFloat = 0
    """Optimizer steps over which the learning rate rises from 0, or a share of all of them where below 1."""
    weight_decay: NonNegativeFloat = 0.0
    """AdamW's: each step also shrinks the weights by learning rate x weight_decay."""
    adam_beta2: ShareBelowOne = 0.999
    """How much of AdamW's running mean of squared gradients stays at each step."""
    max_grad_norm: PositiveFloat = 1.0
    """A gradient whose norm over all weights is larger is scaled down to it."""
    per_device_train_batch_size: PositiveInt = 1
    """Sequences per micro-batch."""
    gradient_accumulation_steps: PositiveInt = 1
    """Micro-batches per optimizer step, on each rank."""
    gradient_checkpointing: bool = False
    """Compute activations anew in the backward pass instead of keeping them: less memory, more time."""
    bf16: bool = False
    """Compute in bfloat16 under autocast, whatever the type of the weights."""
    use_liger_kernel: bool = False
    """Fused kernels of the package liger-kernel, on a GPU: less memory."""
    logging_steps: PositiveInt = 10
    """Optimizer steps between two printed losses."""
    save_steps: PositiveInt = 50
    """Optimizer steps between checkpoints, with `save_strategy: steps`."""
    save_strategy: Literal["no", "steps", "epoch"] = "steps"
    """When a checkpoint is saved; the model at the end always is."""
    save_total_limit: PositiveInt | None = None
    """How many of the latest checkpoints are kept; None is all."""
    deepspeed: Text | None = None
    """A DeepSpeed json, as in a training run's `train.deepspeed`."""
    ddp_timeout: PositiveInt = 7200
    """Seconds that a rank waits for the others in a collective before the run fails."""
    report_to: ReportTo = "none"
    """Where metrics are shown besides the screen: wandb, trackio, tensorboard, a list of several, or none."""


@section
class SftConfig:
    """A whole cold start."""

    output_dir: Text = "checkpoints/sft"
    """Folder of the model, its tokenizer and sft_config.json."""
    model: SftModelConfig = field(default_factory=SftModelConfig)
    """What is trained."""
    data: DataConfig = field(default_factory=DataConfig)
    """What it is asked about."""
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    """How a memory is written, with `target.reply: memory`."""
    target: TargetConfig = field(default_factory=TargetConfig)
    """What it should answer."""
    train: SftTrainConfig = field(default_factory=SftTrainConfig)
    """How its weights are updated."""
