"""Settings that cannot go together, and settings that do nothing: told before anything heavy is loaded."""

from __future__ import annotations

import re

from rft.config import Config, RolloutConfig, to_dict
from rft.config_parser import differing_keys
from rft.data.curriculum import curriculum_conflicts
from rft.extras import need
from rft.hooks import check_command
from rft.planning.size import updates_per_batch
from rft.rollout.adapter_files import RANKS

# Tasks, data formats and rewards are imported inside functions: that takes seconds, and a wrong key is told before.


def check(config: Config, world_size: int) -> None:
    """Refuses what cannot work, before any model loads.

    Raises:
        ValueError: one line that names the keys and the fix.
    """
    from rft.data.formats import dataset_class
    from rft.reward.functions import check_reward
    from rft.tasks.registry import task_class
    from rft.telemetry.trackers import check_trackers

    task = task_class(config)
    for broken, message in [*conflicts(config, world_size), *task.problems(config, world_size)]:
        if broken:
            raise ValueError(message)
    dataset_class(config.data)
    check_reward(config.reward)
    check_command(config.hooks.on_checkpoint)
    check_packages(config)
    check_trackers("log.report_to", config.log.report_to)


def check_packages(config: Config) -> None:
    """Raises ValueError for a package that this run needs and that is not installed."""
    need("peft", "rft/train.py")
    if config.train.deepspeed is not None:
        need("deepspeed", "train.deepspeed")
    if config.train.replay is None and config.rollout.engine == "local":
        need("vllm", "rft/train.py")


def conflicts(config: Config, world_size: int) -> list[tuple[bool, str]]:
    """Settings that cannot go together: whether they are there, and what to do."""
    from rft.tasks.registry import engine_window, task_class

    rollout, train, data = config.rollout, config.train, config.data
    task, window, updates = task_class(config), engine_window(config), updates_per_batch(config)
    completion, completion_key = task.longest_completion(config)
    longest = data.max_prompt_length + completion
    shares = train.steps_per_generation * world_size
    return [
        (
            longest > window,
            f"data.max_prompt_length + {completion_key} = {longest} does not fit rollout.vllm_max_model_length = "
            f"{window}; raise the window or shorten one of them",
        ),
        (
            train.shared_prefix
            and train.max_tokens_per_microbatch != "auto"
            and longest > train.max_tokens_per_microbatch,
            f"data.max_prompt_length + {completion_key} = {longest} does not fit train.max_tokens_per_microbatch = "
            f"{train.max_tokens_per_microbatch}; raise it or shorten one of them",
        ),
        (
            rollout.questions_per_batch % shares != 0,
            f"rollout.questions_per_batch = {rollout.questions_per_batch} does not divide into "
            f"train.steps_per_generation x ranks = {train.steps_per_generation} x {world_size} equal shares of whole "
            f"groups; make it a multiple of {shares}",
        ),
        (
            data.questions_per_context > rollout.questions_per_batch,
            f"data.questions_per_context = {data.questions_per_context} is more than rollout.questions_per_batch = "
            f"{rollout.questions_per_batch}; lower it",
        ),
        (
            config.checkpoint.save_steps % updates != 0,
            f"checkpoint.save_steps = {config.checkpoint.save_steps} falls inside a rollout batch of {updates} steps, "
            "where a run cannot be resumed exactly; make it a multiple",
        ),
        (
            train.max_steps > 0 and train.max_steps % updates != 0,
            f"train.max_steps = {train.max_steps} ends inside a rollout batch of {updates} steps; make it a multiple",
        ),
        (
            train.importance_sampling_level == "sequence" and train.loss_type != "grpo",
            "train.importance_sampling_level=sequence is GSPO, which averages per completion; set train.loss_type=grpo",
        ),
        (
            (rollout.top_p < 1 or rollout.top_k > 0) and train.vllm_importance_sampling_correction,
            f"rollout.top_p = {rollout.top_p:g} and rollout.top_k = {rollout.top_k} leave out tokens that the trainer "
            "counts, so that its ratio to the engine's probability would be biased; set them to 1 and 0, or "
            "train.vllm_importance_sampling_correction=false",
        ),
        (
            train.lr_scheduler_type == "polynomial" and train.learning_rate <= 1e-7,
            "train.lr_scheduler_type=polynomial ends at a learning rate of 1e-7; raise train.learning_rate above it",
        ),
        (
            train.activation_offloading and not train.gradient_checkpointing,
            "train.activation_offloading keeps the inputs of checkpointed layers in host memory; set "
            "train.gradient_checkpointing=true",
        ),
        *server_conflicts(rollout),
        (
            rollout.lora == "adapter" and config.model.lora.r == 0,
            "rollout.lora=adapter needs an adapter; set model.lora.r, or rollout.lora=merged",
        ),
        (
            rollout.lora == "adapter" and config.model.lora.r > max(RANKS),
            f"model.lora.r = {config.model.lora.r} is more than an engine takes as an adapter ({max(RANKS)}); lower "
            "it, or set rollout.lora=merged",
        ),
        *selection_conflicts(config),
        *curriculum_conflicts(config, updates),
        (
            rollout.engine == "server" and rollout.request_timeout_s >= (train.stall_timeout_s or train.ddp_timeout),
            f"rollout.request_timeout_s = {rollout.request_timeout_s:g} is as long as a run may stand still, so that a "
            "hung server would end it; set it below train.stall_timeout_s (without that, below train.ddp_timeout)",
        ),
        (
            rollout.max_lag > 0 and rollout.engine == "local",
            "rollout.max_lag=1 samples while the trainer works, which needs servers; set rollout.engine=server, or "
            "rollout.max_lag=0",
        ),
        (
            rollout.max_lag > 0 and not train.vllm_importance_sampling_correction,
            "rollout.max_lag=1 trains on older weights' completions, which have to be weighed; set "
            "train.vllm_importance_sampling_correction=true",
        ),
        (
            # A task of the user's own, package.module:Name, need not say what it reads.
            bool(config.task_options) and ":" not in config.task and "task_options" not in task.uses,
            f"task {config.task} has no task_options; remove {', '.join(map(str, config.task_options))}",
        ),
    ]


def selection_conflicts(config: Config) -> list[tuple[bool, str]]:
    """As `conflicts`, of `rollout.select` and `data.curriculum`."""
    from rft.tasks.registry import task_class

    rollout = config.rollout
    adaptive, asks_once = rollout.select == "adaptive", task_class(config).asks_once
    return [
        (
            adaptive and rollout.pilot_generations > rollout.num_generations,
            f"rollout.pilot_generations = {rollout.pilot_generations} are more siblings than rollout.num_generations = "
            f"{rollout.num_generations}; lower it",
        ),
        (
            adaptive and rollout.pilot_generations < 2,
            "rollout.pilot_generations = 1 can show no difference; set it to 2 or more",
        ),
        (
            adaptive and rollout.max_lag > 0,
            "rollout.select=adaptive chooses questions by the rewards of the present weights; set rollout.max_lag=0, "
            "or rollout.select=uniform",
        ),
        (
            adaptive and not asks_once,
            f"rollout.select=adaptive needs a task that asks one question at a time, and {config.task} does not; set "
            "rollout.select=uniform",
        ),
        (
            bool(config.data.curriculum) and not asks_once,
            f"data.curriculum needs a task whose prompts have the whole context, and {config.task} does not; remove it",
        ),
    ]


def server_conflicts(rollout: RolloutConfig) -> list[tuple[bool, str]]:
    """As `conflicts`, of `rollout.servers`."""
    odd = [url for url in rollout.servers if not re.match(r"https?://[^/\s]+/?$", url)]
    addresses = [url.rstrip("/") for url in rollout.servers]
    return [
        (
            rollout.engine == "server" and not rollout.servers,
            "rollout.engine=server needs rollout.servers, such as rollout.servers=[http://127.0.0.1:8000]",
        ),
        (
            rollout.weight_transfer == "nccl" and rollout.lora == "adapter",
            "rollout.lora=adapter sends small files; set rollout.weight_transfer=files",
        ),
        (bool(odd), f"rollout.servers: {odd[:1]} is no address such as http://10.0.0.7:8000"),
        (len(set(addresses)) < len(addresses), "rollout.servers names a server twice; name each once"),
    ]


def without_effect(config: Config, *, on_cuda: bool) -> list[str]:
    """Settings that differ from their default and do nothing, a line for each.

    Args:
        config: a checked one.
        on_cuda: whether the engine will run on a GPU.
    """
    idle = idle_settings(config, on_cuda=on_cuda)
    return [
        f"{key} has no effect {reason}"
        for key in differing_keys(to_dict(Config()), to_dict(config))
        for reason in [reason for name, reason in idle if key == name or key.startswith(f"{name}.")][:1]
    ]


def idle_settings(config: Config, *, on_cuda: bool) -> list[tuple[str, str]]:
    """Keys and sections that nothing reads with this config, and when that is so."""
    from rft.tasks.registry import task_class

    train, task = config.train, task_class(config)
    named = config.reward.function or []
    functions = [named] if isinstance(named, str) else named
    settings = [
        (
            "train.per_device_train_batch_size",
            train.shared_prefix,
            "with train.shared_prefix=true, where train.max_tokens_per_microbatch bounds a micro-batch",
        ),
        (
            "train.max_tokens_per_microbatch",
            not train.shared_prefix,
            "with train.shared_prefix=false, where train.per_device_train_batch_size is the size of a micro-batch",
        ),
        (
            "model.attn_implementation",
            train.shared_prefix,
            "with train.shared_prefix=true, which has its own attention",
        ),
        ("train.attention_kernel", not train.shared_prefix, "with train.shared_prefix=false"),
        ("train.activation_offloading", not on_cuda, "without a GPU, where everything is in host memory"),
        ("model.lora", config.model.lora.r == 0, "with model.lora.r=0"),
        ("memory", "memory" not in task.uses, f"with task={config.task}"),
        ("reward.rule", "reward.rule" not in task.uses, f"with task={config.task}"),
        ("reward.rule", bool(functions) and "task" not in functions, "unless reward.function lists `task`"),
        ("reward.completions", not functions, "without reward.function"),
        (
            "data.num_val_clusters",
            config.data.train_split == "paper",
            "with data.train_split=paper, which validates on val.csv",
        ),
        ("rollout.pilot_generations", config.rollout.select == "uniform", "with rollout.select=uniform"),
        ("rollout.max_candidates", config.rollout.select == "uniform", "with rollout.select=uniform"),
        ("rollout.exploring_share", config.rollout.select == "uniform", "with rollout.select=uniform"),
        ("rollout.select", train.replay is not None, "with train.replay, which samples nothing"),
        ("data.curriculum", train.replay is not None, "with train.replay, which asks nothing"),
        ("rollout.cascade_attention", not on_cuda, "without a GPU"),
        ("rollout.servers", config.rollout.engine == "local", "with rollout.engine=local"),
        ("rollout.weight_folder", config.rollout.engine == "local", "with rollout.engine=local"),
        ("rollout.weight_folder", config.rollout.weight_transfer == "nccl", "with rollout.weight_transfer=nccl"),
        ("rollout.weight_transfer", config.rollout.engine == "local", "with rollout.engine=local"),
        ("rollout.server_timeout_s", config.rollout.engine == "local", "with rollout.engine=local"),
        ("rollout.request_timeout_s", config.rollout.engine == "local", "with rollout.engine=local"),
        ("rollout.max_lag", train.replay is not None, "with train.replay, which samples nothing"),
        ("rollout.servers", train.replay is not None, "with train.replay, which samples nothing"),
        ("rollout.cascade_attention", config.rollout.engine == "server", "with rollout.engine=server"),
        ("rollout.vllm_enable_sleep_mode", config.rollout.engine == "server", "with rollout.engine=server"),
        ("rollout.vllm_kv_cache_gb", on_cuda, "on a GPU, where rollout.vllm_gpu_memory_utilization bounds the engine"),
        (
            "train.warmup_steps",
            train.lr_scheduler_type == "constant",
            "with train.lr_scheduler_type=constant; constant_with_warmup has a warmup",
        ),
        (
            "train.vllm_importance_sampling_clip_max",
            not train.vllm_importance_sampling_correction,
            "with train.vllm_importance_sampling_correction=false",
        ),
    ]
    return [(key, reason) for key, idle, reason in settings if idle]
