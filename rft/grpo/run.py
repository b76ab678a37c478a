"""Everything one run holds, and how it is put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from transformers import get_scheduler

from rft import checkpoint
from rft.checkpoint import TrainerState
from rft.config import Config
from rft.data.memory_split import MemorySplit
from rft.data.sampler import BatchSampler
from rft.data.subset import stratified_subset
from rft.grpo import forest_attention
from rft.grpo.data import Data
from rft.grpo.metrics import Clock
from rft.models import load_policy, resolve_dtype, stop_token_ids
from rft.plan import Plan, make_plan
from rft.rollout.engine import Engine, Sampling
from rft.rollout.vllm_local import VllmEngine
from rft.tasks.mcq import McqTask
from rft.tasks.memory import MemoryTask
from rft.tasks.task import Task
from rft.telemetry.provenance import write_provenance
from rft.telemetry.run_log import RunLog
from rft.weights import named_full_weights


@dataclass(kw_only=True)
class Run:
    """The moving parts of a run. Only `state` and what the parts hold inside changes."""

    config: Config
    accelerator: Accelerator
    data: Data
    plan: Plan
    sampler: BatchSampler
    eval_indices: list[int]
    task: Task
    sampling: Sampling
    policy: torch.nn.Module
    """As accelerate wrapped it."""
    reference: torch.nn.Module | None
    """The starting weights, frozen, when train.beta > 0; None otherwise, and with LoRA, whose base they are."""
    optimizer: Any
    scheduler: Any
    engine: Engine
    log: RunLog
    state: TrainerState
    clock: Clock = field(default_factory=Clock)


def build_run(config: Config, accelerator: Accelerator, data: Data) -> Run:
    """Loads the policy, starts the engine, and continues from the latest checkpoint if there is one."""
    found = checkpoint.latest(config)
    plan = make_plan(config, accelerator.num_processes, len(data.train))
    policy = load_policy(
        config.model, config.train.gradient_checkpointing, trained_dtype(config, accelerator), attention(config)
    )
    reference = frozen_reference(config, accelerator)
    engine = VllmEngine(
        config.model.model_name_or_path,
        config.rollout,
        window=config.engine_window,
        dtype=resolve_dtype(config.model),
        seed=config.train.seed,
        stop_token_ids=stop_token_ids(policy.generation_config, data.tokenizer),
        revision=config.model.model_revision,
    )
    trainable = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trainable,
        lr=config.train.learning_rate,
        betas=(config.train.adam_beta1, config.train.adam_beta2),
        eps=config.train.adam_epsilon,
        weight_decay=config.train.weight_decay,
    )
    # Stepped by the loop, once per optimizer step; accelerate's wrapper would step it once per rank.
    scheduler = get_scheduler(
        config.train.lr_scheduler_type,
        optimizer,
        num_warmup_steps=config.train.warmup_steps,
        num_training_steps=plan.num_steps,
    )
    policy, optimizer = accelerator.prepare(policy, optimizer)
    accelerator.register_for_checkpointing(scheduler)
    state = TrainerState()
    if found is not None:
        accelerator.load_state(str(found / "state"))
        state = checkpoint.read_state(found)
    # The first sync proves the path before any work is spent, and brings a resumed policy to the engine.
    engine.sync_weights(named_full_weights(policy))
    if accelerator.is_main_process:
        write_provenance(Path(config.output_dir), config)
    rollout = config.rollout
    return Run(
        config=config,
        accelerator=accelerator,
        data=data,
        plan=plan,
        sampler=BatchSampler(
            [question.history_id for question in data.train.questions],
            rollout.questions_per_batch,
            config.data.questions_per_history,
            config.train.seed,
        ),
        eval_indices=stratified_subset(data.evaluation.questions, config.eval.num_questions),
        task=make_task(config, data),
        sampling=Sampling(temperature=rollout.temperature, top_p=rollout.top_p, top_k=rollout.top_k),
        policy=policy,
        reference=reference,
        optimizer=optimizer,
        scheduler=scheduler,
        engine=engine,
        log=RunLog(
            config,
            first_step=state.step,
            num_steps=plan.num_steps,
            tokenizer=data.tokenizer,
            main=accelerator.is_main_process,
        ),
        state=state,
    )


def make_task(config: Config, data: Data) -> Task:
    if not isinstance(data.train, MemorySplit):
        return McqTask(data.tokenizer, config.reward, config.rollout.max_completion_length)
    # Both splits are read from one data set.
    return MemoryTask(data.tokenizer, config, data.train.histories.chunks)


def attention(config: Config) -> str:
    return forest_attention.NAME if config.train.shared_prefix else config.model.attn_implementation


def trained_dtype(config: Config, accelerator: Accelerator) -> torch.dtype:
    """Type of the trained weights: DeepSpeed keeps a float32 copy of bfloat16 weights, a frozen LoRA base needs
    none, and everything else trains float32 weights under autocast."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED or config.model.lora.r > 0:
        return resolve_dtype(config.model)
    return torch.float32


def frozen_reference(config: Config, accelerator: Accelerator) -> torch.nn.Module | None:
    """A second copy of the starting weights for the KL term; with LoRA the base model is that copy already."""
    if config.train.beta == 0 or config.model.lora.r > 0:
        return None
    reference = load_policy(config.model, gradient_checkpointing=False, attn_implementation=attention(config))
    reference.requires_grad_(False).eval()
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        from trl.models.utils import prepare_deepspeed

        return prepare_deepspeed(reference, accelerator)
    return reference.to(accelerator.device)
