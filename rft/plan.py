"""What a run will do, worked out before anything heavy is loaded: the cross-field checks and `--dry-run`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rft.config import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The size of a run.

    Example:
        Plan(num_questions=18_549, num_batches=579, updates_per_batch=2, num_steps=1_158)
    """

    num_questions: int
    num_batches: int
    """Rollout batches."""
    updates_per_batch: int
    num_steps: int
    """Optimizer steps."""


def check(config: Config, world_size: int) -> None:
    """Refuses what cannot work, before any model loads.

    Raises:
        ValueError: one line that names the keys and the fix.
    """
    rollout, train, data = config.rollout, config.train, config.data
    longest = config.longest_path
    completion = "memory.max_update_length" if longest_is_update(config) else "rollout.max_completion_length"
    groups_per_update = rollout.questions_per_batch // (train.steps_per_generation * world_size)
    problems = [
        (
            longest > config.engine_window,
            f"data.max_prompt_length + {completion} = {longest} does not fit "
            f"rollout.vllm_max_model_length = {config.engine_window}; raise the window or shorten one of them",
        ),
        (
            train.shared_prefix and longest > train.max_tokens_per_microbatch,
            f"data.max_prompt_length + {completion} = {longest} does not fit "
            f"train.max_tokens_per_microbatch = {train.max_tokens_per_microbatch}; raise it or shorten one of them",
        ),
        (
            rollout.num_generations < 2,
            f"rollout.num_generations = {rollout.num_generations}: a group needs at least 2 to compare",
        ),
        (
            groups_per_update * train.steps_per_generation * world_size != rollout.questions_per_batch,
            f"rollout.questions_per_batch = {rollout.questions_per_batch} does not divide into "
            f"train.steps_per_generation x ranks = {train.steps_per_generation} x {world_size} equal shares of whole "
            f"groups; make it a multiple of {train.steps_per_generation * world_size}",
        ),
        (
            data.questions_per_history > rollout.questions_per_batch,
            f"data.questions_per_history = {data.questions_per_history} is more than rollout.questions_per_batch = "
            f"{rollout.questions_per_batch}; lower it",
        ),
        (
            config.checkpoint.save_steps % updates_per_batch(config) != 0,
            f"checkpoint.save_steps = {config.checkpoint.save_steps} falls inside a rollout batch of "
            f"{updates_per_batch(config)} steps, where a run cannot be resumed exactly; make it a multiple",
        ),
        (
            train.max_steps > 0 and train.max_steps % updates_per_batch(config) != 0,
            f"train.max_steps = {train.max_steps} ends inside a rollout batch of {updates_per_batch(config)} steps; "
            "make it a multiple",
        ),
        (
            train.max_steps <= 0 and train.num_train_epochs <= 0,
            "train.max_steps and train.num_train_epochs are both not positive; set one of them",
        ),
        (rollout.temperature <= 0, "rollout.temperature must be positive: greedy siblings are all equal"),
        (
            train.learning_rate <= 0 or train.epsilon <= 0 or train.beta < 0,
            "train.learning_rate and train.epsilon must be positive, train.beta not negative",
        ),
        (
            train.importance_sampling_level == "sequence" and train.loss_type != "grpo",
            "train.importance_sampling_level=sequence is GSPO, which averages per completion; set train.loss_type=grpo",
        ),
    ]
    positive = {
        "rollout.questions_per_batch": rollout.questions_per_batch,
        "rollout.max_completion_length": rollout.max_completion_length,
        "data.max_prompt_length": data.max_prompt_length,
        "data.questions_per_history": data.questions_per_history,
        "train.steps_per_generation": train.steps_per_generation,
        "train.num_iterations": train.num_iterations,
        "train.per_device_train_batch_size": train.per_device_train_batch_size,
        "train.max_tokens_per_microbatch": train.max_tokens_per_microbatch,
        "train.max_grad_norm": train.max_grad_norm,
        "train.max_logprob_gap": train.max_logprob_gap,
        "checkpoint.save_steps": config.checkpoint.save_steps,
        "checkpoint.save_total_limit": config.checkpoint.save_total_limit,
    }
    if config.task == "memory":
        problems += memory_problems(config, world_size)
        positive |= {
            "memory.chunk_tokens": config.memory.chunk_tokens,
            "memory.max_memory_tokens": config.memory.max_memory_tokens,
            "memory.max_update_length": config.memory.max_update_length,
        }
    problems += [(value <= 0, f"{key} must be positive, not {value}") for key, value in positive.items()]
    for broken, message in sorted(problems, key=lambda problem: "must be positive" not in problem[1]):
        if broken:
            raise ValueError(message)


def longest_is_update(config: Config) -> bool:
    return config.longest_completion > config.rollout.max_completion_length


def memory_problems(config: Config, world_size: int) -> list[tuple[bool, str]]:
    """What cannot work with `task: memory`, each with its message."""
    memory, per_history = config.memory, config.data.questions_per_history
    per_update = config.rollout.questions_per_batch // config.train.steps_per_generation
    per_rank = config.rollout.questions_per_batch // world_size
    return [
        (
            memory.chunk_tokens + memory.max_memory_tokens >= config.data.max_prompt_length,
            f"memory.chunk_tokens + memory.max_memory_tokens = {memory.chunk_tokens + memory.max_memory_tokens} leave "
            f"no room for the instructions in data.max_prompt_length = {config.data.max_prompt_length}; raise it",
        ),
        (
            memory.max_update_length < memory.max_memory_tokens,
            f"memory.max_update_length = {memory.max_update_length} cannot hold a memory of memory.max_memory_tokens = "
            f"{memory.max_memory_tokens}; raise it",
        ),
        (
            per_history > per_update or per_rank % per_history != 0,
            f"data.questions_per_history = {per_history} must divide the {per_rank} questions of a rank and fit into "
            f"the {per_update} of an optimizer step, since the questions of one memory stay together; change "
            "rollout.questions_per_batch",
        ),
    ]


def updates_per_batch(config: Config) -> int:
    """Optimizer steps taken on one rollout batch."""
    return config.train.steps_per_generation * config.train.num_iterations


def make_plan(config: Config, world_size: int, num_questions: int) -> Plan:
    """The size of a run over `num_questions` training questions.

    Raises:
        ValueError: there are fewer questions than one batch needs.
    """
    rollout, train = config.rollout, config.train
    if num_questions < rollout.questions_per_batch:
        raise ValueError(
            f"{num_questions} training questions are fewer than rollout.questions_per_batch = "
            f"{rollout.questions_per_batch}; lower it or use more data"
        )
    updates = updates_per_batch(config)
    if train.max_steps > 0:
        num_batches = train.max_steps // updates
    else:
        num_batches = max(1, math.floor(train.num_train_epochs * (num_questions // rollout.questions_per_batch)))
    return Plan(
        num_questions=num_questions,
        num_batches=num_batches,
        updates_per_batch=updates,
        num_steps=num_batches * updates,
    )


def training_length(config: Config) -> str:
    """How long a run is, as far as the config alone says."""
    updates = f"{updates_per_batch(config)} optimizer steps per rollout batch"
    if config.train.max_steps > 0:
        return f"{config.train.max_steps:,} optimizer steps, {updates}"
    return f"{config.train.num_train_epochs:g} epochs, {updates}"


def describe(plan: Plan, config: Config, world_size: int) -> str:
    """The plan for a person, a line per fact."""
    return "\n".join(
        [
            f"questions        {plan.num_questions:,} to train on",
            f"batches          {plan.num_batches:,}, with {plan.updates_per_batch} optimizer steps each = "
            f"{plan.num_steps:,} steps",
            describe_batch(config, world_size),
        ]
    )


def micro_batches(config: Config) -> str:
    if config.train.shared_prefix:
        return f"micro-batches of up to {config.train.max_tokens_per_microbatch:,} unique tokens"
    return f"micro-batches of {config.train.per_device_train_batch_size:,}"


def describe_batch(config: Config, world_size: int) -> str:
    """The part of the plan that does not depend on how much data there is."""
    rollout, data = config.rollout, config.data
    if config.task == "memory":
        return describe_memory_batch(config, world_size)
    completions = rollout.questions_per_batch * rollout.num_generations
    per_step_and_rank = completions // (config.train.steps_per_generation * world_size)
    histories = math.ceil(rollout.questions_per_batch / data.questions_per_history)
    dense = completions * (data.max_prompt_length + rollout.max_completion_length)
    unique = histories * data.max_prompt_length + completions * rollout.max_completion_length
    per_step = unique if config.train.shared_prefix else dense
    return "\n".join(
        [
            f"rollout batch    {rollout.questions_per_batch} questions of about {histories} histories x "
            f"{rollout.num_generations} completions = {completions:,}",
            f"optimizer step   {per_step_and_rank:,} completions on each of {world_size} ranks, in "
            f"{micro_batches(config)}",
            f"tokens           at most {data.max_prompt_length:,} of prompt + {rollout.max_completion_length:,} of "
            f"completion; about {per_step // config.train.steps_per_generation:,} per optimizer step, each history "
            f"computed {'once' if config.train.shared_prefix else 'with every completion'}",
            f"checkpoints      every {config.checkpoint.save_steps} steps in {config.output_dir}",
        ]
    )


def describe_memory_batch(config: Config, world_size: int) -> str:
    rollout, memory = config.rollout, config.memory
    units = rollout.questions_per_batch // (1 if memory.query_aware else config.data.questions_per_history)
    return "\n".join(
        [
            f"rollout batch    {units} histories x {rollout.num_generations} memories = "
            f"{units * rollout.num_generations:,}, with "
            f"{rollout.questions_per_batch * rollout.num_generations:,} answers",
            f"optimizer step   {units / config.train.steps_per_generation:g} histories on {world_size} ranks, in "
            f"{micro_batches(config)}",
            f"memory           rewritten after every {memory.chunk_tokens:,} tokens of history, at most "
            f"{memory.max_memory_tokens:,} tokens; {'knows its question' if memory.query_aware else 'query-blind'}; "
            f"credit {memory.credit}",
            f"checkpoints      every {config.checkpoint.save_steps} steps in {config.output_dir}",
        ]
    )
