"""The config of a training run: one tree of sections, with every default in it.

    load_config("configs/qwen3_4b.yaml", ["train.learning_rate=1e-6", "data.window=128k"])

A yaml file may refine a `base:` (config_yaml.py), and overrides are laid over both (config_parser.py). Key names are
those of trl's GRPOConfig and transformers' TrainingArguments where one exists. Each field says which values it takes
(config_schema.py), so a value outside is refused with its key before anything loads.
"""

from __future__ import annotations

import dataclasses
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from rft.config_parser import parse_config
from rft.config_schema import (
    AtLeastOne,
    Auto,
    GroupSize,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PositiveSeconds,
    ReportTo,
    SchedulerName,
    Seconds,
    Seed,
    Share,
    ShareBelowOne,
    ShareOrZero,
    StepLimit,
    Text,
    section,
)


@section
class LoraConfig:
    """LoRA through peft: low-rank adapters are trained beside frozen weights."""

    r: NonNegativeInt = 0
    """Rank of the adapters; 0 trains every weight, without adapters."""
    lora_alpha: PositiveInt = 32
    """Adapters are scaled by lora_alpha / r."""
    lora_dropout: ShareBelowOne = 0.0
    """Share of an adapter's inputs that is set to zero while training."""
    target_modules: Text | list[Text] = "all-linear"
    """Layers that get an adapter: `all-linear`, ends of their names in a list, or one regular expression."""


@section
class ModelConfig:
    """The policy and how it is loaded."""

    model_name_or_path: Text = "Qwen/Qwen3-4B-Instruct-2507"
    """A folder in transformers' format, or a hub id. Its tokenizer and chat template are used, too."""
    model_revision: Text | None = None
    """Commit, tag or branch of a hub model; None is its main branch."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the weights; `auto` is bfloat16 on a GPU and float32 on a CPU."""
    attn_implementation: Text = "sdpa"
    """transformers' name of the attention that trains without train.shared_prefix, such as flash_attention_2."""
    lora: LoraConfig = field(default_factory=LoraConfig)
    """Adapters instead of all weights."""


@section
class StageConfig:
    """A stage of `data.curriculum`."""

    max_prompt_length: PositiveInt
    """As data.max_prompt_length, during the stage."""
    until_step: PositiveInt
    """The optimizer step with which the stage ends."""


@section
class DataConfig:
    """Which questions there are, and how a context becomes tokens."""

    format: Text = "personamem_v2"
    """Layout of the data: personamem_v2, personamem_v1, longmemeval, locomo, locomo_plus, perma, jsonl, or
    package.module:Name for a subclass of rft.data.dataset.Dataset."""
    source: Text = "bowen-upenn/PersonaMem-v2"
    """A folder or file in that layout; with personamem_v2 also a hub dataset id."""
    options: dict[str, Any] = field(default_factory=dict)
    """Settings of the format: locomo has num_options, which makes multiple choice of its open questions, and perma has
    dialogues (c, n or s: clean, noisy, in the user's style); a format of your own reads what it likes."""
    revision: Text | None = None
    """Commit of the hub dataset; required for a hub id."""
    follow_links: bool = False
    """Read files that a link inside data.source brings in from outside of it."""
    window: Literal["32k", "128k", "1M"] = "32k"
    """PersonaMem: length of the histories in tokens, by the data set's own count."""
    train_split: Literal["paper", "persona"] = "persona"
    """`persona`: train and validation share no persona. `paper`: train.csv and val.csv as released, which do."""
    num_val_clusters: PositiveInt = 80
    """How many clusters (PersonaMem: personas) are held out for validation, where the data set's own splits are not
    used."""
    persona_card: Literal["drop", "keep"] = "drop"
    """Whether prompts show a context's profile. PersonaMem's histories were written from it, so that reading it is no
    personalization."""
    length_policy: Literal["error", "drop", "truncate_middle", "truncate_oldest"] = "error"
    """What happens to a prompt longer than `max_prompt_length`: the run stops, the question is left out, or messages of
    the context are."""
    lost_evidence: Literal["keep", "drop"] = "keep"
    """What happens to a question whose evidence the length policy left out: it is asked all the same, or left out."""
    bad_rows: Literal["error", "skip"] = "error"
    """What happens to a row that cannot be read; skipped rows are counted in the manifest."""
    max_prompt_length: PositiveInt = 37_000
    """Tokens of the model's own tokenizer, chat template included."""
    curriculum: list[StageConfig] = field(default_factory=list)
    """Training begins with shorter prompts: stages with windows that grow, and data.max_prompt_length after the last.
    In a stage contexts are cut to its window by `length_policy` (with `error`, longer prompts are left out), and
    questions whose evidence is then gone are not asked. Evaluation always has the whole window."""
    questions_per_context: PositiveInt = 1
    """How many questions of one context stand next to each other in a batch and share its computation."""
    permute_options: bool = False
    """Training draws a new option order every epoch; evaluation never does."""
    cache_dir: Text = ".cache/rft"
    """Folder of tokenized data, which later runs read; anything in it may be deleted."""


@section
class RolloutConfig:
    """Sampling and the vLLM engine."""

    questions_per_batch: PositiveInt = 32
    """Questions in one rollout batch, over all ranks."""
    num_generations: GroupSize = 16
    """Completions per question: the size of a group. At least 2."""
    temperature: PositiveFloat = 1.0
    """Of sampling while training; evaluation is greedy. Log-probabilities are those of the tempered distribution."""
    top_p: Share = 1.0
    """Tokens are sampled from the most probable ones that reach this probability together; 1 is all tokens."""
    top_k: NonNegativeInt = 0
    """Tokens are sampled from this many most probable ones; 0 is the whole vocabulary."""
    max_completion_length: PositiveInt = 2048
    """Tokens of one completion; a longer one is cut off there, and scored as it stands."""
    vllm_max_model_length: PositiveInt | None = None
    """Engine window in tokens; None is max_prompt_length + max_completion_length."""
    vllm_gpu_memory_utilization: Share | Auto = 0.5
    """Share of a GPU's memory that the engine takes, weights included. `auto`: as much as the trainer leaves free while
    the engine works (rft/planning/auto.py)."""
    vllm_kv_cache_gb: PositiveFloat = 1.0
    """KV cache of a CPU engine, in GiB."""
    vllm_max_num_seqs: PositiveInt = 256
    """Completions that one engine generates at the same time, at most."""
    vllm_enable_sleep_mode: bool = True
    """On CUDA, give the engine's memory back while the trainer works."""
    cascade_attention: Literal["auto", "on", "off"] = "auto"
    """On CUDA, read what all running completions share once per decoded token, not once per completion. vLLM can do it
    in its model runner V1 only, and contexts are then generated one after another where that is less to read
    (rollout/prefix_groups.py). `auto`: where completions share enough for it to pay."""

    select: Literal["uniform", "adaptive"] = "uniform"
    """`uniform`: every question gets all of its siblings. `adaptive`: more questions get a few, and those whose few
    differ get the rest, until the batch has its groups (rft/rollout/adaptive.py)."""
    pilot_generations: PositiveInt = 4
    """With `select: adaptive`: siblings of a pilot. As many as num_generations samples whole groups at once, and trains
    on those that differ."""
    max_candidates: AtLeastOne = 4.0
    """With `select: adaptive`: pilots per batch at most, as a multiple of questions_per_batch. What is missing then is
    filled up with groups whose pilot did not differ."""
    exploring_share: ShareOrZero = 0.1
    """With `select: adaptive`: how often a pilot that did not differ gets the rest of its siblings all the same, and
    how often the next question of a history is the one whose turn it is, and not the one that promises most."""

    lora: Literal["merged", "adapter"] = "merged"
    """How a LoRA policy reaches the engine. `merged`: as whole weights, whose type rounds small changes away where it
    is bfloat16. `adapter`: as the adapter itself, which the engine adds to what the base weights compute."""

    engine: Literal["local", "server"] = "local"
    """`local`: each rank has its own engine, in its process. `server`: the engines are vLLM servers (rft/serve.py)."""
    servers: list[Text] = field(default_factory=list)
    """Addresses of the servers, such as http://10.0.0.7:8000; with `engine: server`. VLLM_API_KEY is sent to them."""
    weight_transfer: Literal["files", "nccl"] = "files"
    """How new weights reach the servers: as files that they read, or from GPU to GPU."""
    weight_folder: Text | None = None
    """Where servers find new weights, as files: a folder that trainer and servers see. None is shared memory where all
    servers are on this machine, and OUTPUT_DIR/.weights elsewhere."""
    server_timeout_s: PositiveSeconds = 300.0
    """Seconds for which a server may be silent before its requests go to the others, and for which a run waits for one
    of its servers to come back when none is left."""
    request_timeout_s: PositiveSeconds = 1200.0
    """Seconds that a server may take for one completion; less than train.stall_timeout_s."""
    max_lag: Literal[0, 1] = 0
    """With 1, servers sample the next batch while the trainer works on this one: completions are from weights one batch
    older, and weighed by how much more probable the present ones make them (rft/rollout/ahead.py)."""


@section
class MemoryConfig:
    """With `task: memory`: how a context becomes a memory. data.max_prompt_length then bounds one update's or one
    answer's prompt, rollout.max_completion_length an answer."""

    chunk_tokens: PositiveInt = 5000
    """Tokens of the context read per update; a chunk ends where a message ends."""
    max_memory_tokens: PositiveInt = 2048
    """Tokens of a memory; a longer one is not taken, and the memory before it stays."""
    max_update_length: PositiveInt = 2048
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
    """What a completion is worth."""

    rule: Literal["strict", "paper"] = "strict"
    """Of multiple choice. `strict`: one distinct boxed letter after the thought. `paper`: the last boxed letter."""
    function: Text | list[Text] | None = None
    """Reward functions with trl's signature, as package.module:name; `task` in a list is the task's own scorer. None is
    the task's own scorer alone."""
    weights: list[float] | None = None
    """One per function; None weighs each with 1."""
    completions: Literal["messages", "text"] = "messages"
    """How functions get prompts and completions: as lists of chat messages or as text, trl's two data formats."""


@section
class TrainConfig:
    """The GRPO update."""

    seed: Seed = 0
    """Decides every draw of a run, see `Config`; in [0, 2**32)."""
    num_train_epochs: PositiveFloat = 1.0
    """Passes over the training questions; an incomplete last batch is left out."""
    max_steps: StepLimit = -1
    """Optimizer steps; overrides num_train_epochs when positive, -1 leaves it to that."""
    learning_rate: PositiveFloat = 5e-6
    """AdamW's step size at its highest, after the warmup."""
    lr_scheduler_type: SchedulerName = "constant"
    """How the learning rate changes over the steps: transformers' schedules that need no further argument."""
    warmup_steps: NonNegativeInt = 0
    """Optimizer steps over which the learning rate rises from 0, with a schedule that has a warmup."""
    weight_decay: NonNegativeFloat = 0.01
    """AdamW's: each step also shrinks the weights by learning rate x weight_decay."""
    adam_beta1: ShareBelowOne = 0.9
    """How much of AdamW's running mean of gradients stays at each step."""
    adam_beta2: ShareBelowOne = 0.999
    """How much of AdamW's running mean of squared gradients stays at each step."""
    adam_epsilon: PositiveFloat = 1e-8
    """Added to the root of the mean of squared gradients, by which AdamW divides."""
    max_grad_norm: PositiveFloat = 1.0
    """A gradient whose norm over all weights is larger is scaled down to it."""
    steps_per_generation: PositiveInt = 1
    """Optimizer steps taken on one rollout batch, each on an equal share of its groups."""
    num_iterations: PositiveInt = 1
    """Passes over one rollout batch."""
    shared_prefix: bool = True
    """Compute each token that completions share once (grpo/forest.py). `false` is the plain path."""
    max_tokens_per_microbatch: PositiveInt | Auto = 65_536
    """With shared_prefix: unique tokens per micro-batch. What is largest in memory grows with it. `auto`: what gives
    the fewest micro-batches that fit into the card's memory (rft/planning/auto.py); 65,536 without a GPU."""
    per_device_train_batch_size: PositiveInt = 1
    """Without shared_prefix: completions per micro-batch."""
    gradient_checkpointing: bool = False
    """Compute activations anew in the backward pass instead of keeping them: less memory, more time."""
    activation_offloading: bool = False
    """Keep the inputs of checkpointed layers in host memory until the backward pass: layers x tokens x hidden size x 2
    bytes less on a GPU, copied beside the computation. Needs gradient_checkpointing."""
    tiled_mlp: bool = False
    """Compute each layer's MLP over tiles of tokens, so that its wide intermediate values exist for one tile at a time.
    Costs the MLP's last matrix product once more, and without gradient_checkpointing all of its forward pass."""
    use_liger_kernel: bool = False
    """Fused kernels for RMSNorm, SwiGLU and rotary positions, of the package liger-kernel; on a GPU only."""
    attention_kernel: Literal["auto", "aten", "flash_attn_4"] = "auto"
    """With shared_prefix: what computes attention. `aten` is PyTorch's own, `flash_attn_4` that of vLLM's wheel for
    Hopper and Blackwell GPUs. `auto` takes the fastest that agrees with plain attention when the run starts."""
    loss_type: Literal["dapo", "grpo", "dr_grpo"] = "dapo"
    """`dapo`: token mean over the global batch; `grpo`: mean over completions of their token mean;
    `dr_grpo`: token sum over completions x max_completion_length."""
    importance_sampling_level: Literal["token", "sequence"] = "token"
    """Whether the ratio to the policy before the update is one per token or one per completion. `sequence` with
    loss_type `grpo` is GSPO."""
    epsilon: PositiveFloat = 0.2
    """The ratio of a token's probability to the one before the update counts within [1 - epsilon, 1 + epsilon]."""
    epsilon_high: PositiveFloat | None = None
    """Makes the upper bound of that ratio 1 + epsilon_high; None is epsilon."""
    beta: NonNegativeFloat = 0.0
    """Weight of the KL term to the reference model (the starting weights); 0 keeps no reference."""
    scale_rewards: bool = False
    """Divide the advantages of a group by the standard deviation of its rewards."""
    vllm_importance_sampling_correction: bool = True
    """Weigh each token by the ratio of the trainer's to the engine's probability, which differ by rounding, and with
    rollout.max_lag by a batch of training."""
    vllm_importance_sampling_clip_max: PositiveFloat = 2.0
    """Cap of the token-level ratio trainer / engine probability (truncated importance sampling)."""
    max_idle_steps: PositiveInt = 20
    """Steps in a row without any advantage (all siblings of all groups equally good) after which the run stops."""
    replay: Text | None = None
    """A folder of saved samples (log.save_samples) to train on instead of rollouts: no engine, no evaluation."""
    max_logprob_gap: PositiveFloat = 0.1
    """Largest mean |log p(engine) - log p(trainer)| of a step's sampled tokens, in nats; beyond it the run stops."""
    deepspeed: Text | None = None
    """A DeepSpeed json, such as configs/deepspeed/zero3.json, looked for in the current folder and in the repository:
    any launcher then spreads weights, gradients and optimizer over its ranks. DeepSpeed settings of the launcher itself
    win. None gives each rank the whole model."""
    ddp_timeout: PositiveInt = 7200
    """Seconds that a rank waits for the others in a collective before the run fails. Ranks wait while the slowest one
    finishes its rollouts, while an evaluation ends, and while one of them writes a checkpoint; PyTorch's 10 minutes are
    too few for that."""
    stall_timeout_s: PositiveSeconds | None = 1800.0
    """Seconds without any move on any rank (no engine step, no micro-batch, no new phase) after which every rank says
    what it waits for and the run ends with status 75. None waits for train.ddp_timeout."""
    stop_grace_s: PositiveSeconds | None = 1200.0
    """Seconds that the batch in progress may still take once SIGTERM, SIGUSR1 or SIGINT asked the run to stop; it then
    ends with a checkpoint, and beyond this bound without a new one. launch/slurm.sbatch has the signal sent 1800
    seconds before the time limit: the rest is for the checkpoint. None waits for the batch, however long."""


@section
class EvalConfig:
    """Policy evaluation: of the current weights at checkpoints, greedy, through the live engine."""

    split: Text | None = None
    """Which split; None is the data set's own choice, `val` in PersonaMem-v2."""
    num_questions: NonNegativeInt = 500
    """Size of the fixed subset, in which the data set's strata keep their shares; 0 is the whole split."""
    at_start: bool = True
    """Evaluate before the first step as well."""


@section
class CheckpointConfig:
    """When weights and training state are saved, and what a start makes of them."""

    save_steps: PositiveInt = 50
    """Optimizer steps between checkpoints; the last step always has one."""
    save_total_limit: PositiveInt = 2
    """How many of the latest checkpoints are kept; the best one by eval accuracy is kept besides."""
    resume: Literal["auto", "never"] = "auto"
    """`auto` continues from the latest complete checkpoint of `output_dir`."""


@section
class HooksConfig:
    """Commands of your own."""

    on_checkpoint: Text | None = None
    """A command run at each checkpoint; `{checkpoint}` is its path. It is split into words as a shell does, and run
    without one. The training goes on beside it; a checkpoint that comes before it has ended waits for its turn, the
    newest in place of an older one."""
    wait_s: Seconds = 1800.0
    """Seconds that a finished run waits for its last commands; a run that was asked to stop waits at most 300. What is
    not over by then is left running."""


@section
class LogConfig:
    """What is written about a run besides its metrics."""

    report_to: ReportTo = "wandb"
    """Where metrics are shown besides metrics.jsonl: wandb, trackio, tensorboard, a list of several, or none. wandb
    records offline where there is no key. trackio keeps its runs on this machine (`trackio show`), tensorboard in
    OUTPUT_DIR/tensorboard. None of them can stop a run."""
    project: Text = "rft"
    """The project of the run in wandb and trackio."""
    run_name: Text | None = None
    """The run's name there; None is the last part of output_dir."""
    save_samples: bool = False
    """Keep each batch's training samples in OUTPUT_DIR/samples, for train.replay."""
    rollouts_per_step: NonNegativeInt = 4
    """Groups per step whose best and worst rollout are written to rollouts.jsonl."""


@section
class PlanConfig:
    """What the planner (rft/plan.py) assumes, and what a run does with what it says."""

    force: bool = False
    """Start although the plan says that the run does not fit."""
    gpu: Text | None = None
    """The card to plan for, such as h100 (rft/planning/cards.py). None is the card of this machine, and h100 where
    there is none. A run on a GPU always plans for its own."""
    mean_completion_length: PositiveInt | None = None
    """Tokens that a reply has on average, which times depend on. None is half of the longest possible."""
    num_questions: PositiveInt | None = None
    """Questions to train on, where the data are not on this machine."""


@section
class Config:
    """A whole run.

    Everything that is drawn comes from `train.seed`, and from nothing else: the order of questions and (with
    data.permute_options) of options by seed and epoch, each completion by seed, batch, question and sibling, LoRA's
    first weights and dropout by the seeded generator of each process. The seed of a completion does not depend on how
    many ranks there are. On a CPU the same config on the same machine and the same number of ranks therefore takes the
    same steps to the bit, also when it was stopped and resumed; on other hardware sums are rounded in another order,
    and sampling drifts apart. On a GPU the last bits differ from run to run: flash attention's backward pass adds up
    in no fixed order (atomics), and what vLLM's kernels compute depends on what else is in the batch. The split into
    training and validation does not depend on the seed, so that runs with different seeds are evaluated on the same
    questions.
    """

    output_dir: Text = "checkpoints/run"
    """Folder of the run: checkpoints, metrics, report."""
    task: Text = "mcq"
    """`mcq`: the whole context and lettered options in the prompt. `qa`: the whole context and a plain question.
    `memory`: read in chunks, answered from a memory. Or package.module:Name, a subclass of rft.tasks.task.Task."""
    task_options: dict[str, Any] = field(default_factory=dict)
    """Settings for a task of your own, which reads them as it likes."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """What is trained."""
    data: DataConfig = field(default_factory=DataConfig)
    """What it is asked about."""
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    """How it is sampled."""
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    """How a memory is written, with `task: memory`."""
    reward: RewardConfig = field(default_factory=RewardConfig)
    """What its completions are worth."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How its weights are updated."""
    eval: EvalConfig = field(default_factory=EvalConfig)
    """How it is evaluated on the way."""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """When it is saved."""
    hooks: HooksConfig = field(default_factory=HooksConfig)
    """What runs at a checkpoint."""
    log: LogConfig = field(default_factory=LogConfig)
    """What is written about it."""
    plan: PlanConfig = field(default_factory=PlanConfig)
    """What is planned before it."""


def load_config(path: str | Path, overrides: list[str] | None = None) -> Config:
    """Reads a yaml file, the chain of `base:` files under it, and `section.key=value` overrides.

    Raises:
        ValueError: see `parse_config`.
    """
    config: Config = parse_config(Config, path, overrides or [])
    return config


def to_dict(config: Any) -> dict[str, Any]:
    """The whole resolved tree as plain values, ready for yaml or json."""
    return dataclasses.asdict(config)
