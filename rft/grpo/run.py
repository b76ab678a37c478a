"""Everything one run holds, and how it is put together."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from transformers import PreTrainedTokenizerBase, get_scheduler

from rft.checkpoint.folder import remove_leftovers
from rft.checkpoint.state import TrainerState, read_state
from rft.config import Config
from rft.grpo.alarms import Alarms, check_turn_end
from rft.grpo.data import Data
from rft.grpo.forest_attention import FOREST_ATTENTION
from rft.grpo.layers import prepare_layers
from rft.grpo.live_rollouts import LiveRollouts
from rft.grpo.replayed_samples import ReplayedSamples
from rft.grpo.sources import SampleSource
from rft.hooks import CheckpointHook
from rft.models import load_policy, load_tokenizer, resolve_dtype, stop_token_ids
from rft.planning.size import RunSize, size_of_replay, size_of_run
from rft.rollout.adapter_files import sent_adapter
from rft.rollout.engine import Engine
from rft.rollout.vllm_engine import VllmEngine
from rft.serving.engine import ServerEngine
from rft.stop import StopRequest
from rft.tasks.registry import engine_window, task_class
from rft.telemetry.clock import Clock
from rft.telemetry.provenance import write_provenance
from rft.telemetry.run_log import RunLog
from rft.watching.watch import Watch

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Run:
    """The moving parts of a run. Only `state` and what the parts hold inside changes."""

    config: Config
    accelerator: Accelerator
    tokenizer: PreTrainedTokenizerBase
    size: RunSize
    source: SampleSource
    strata: tuple[str, ...]
    """Tags whose values are shown apart in an evaluation's metrics."""
    policy: torch.nn.Module
    """As accelerate wrapped it."""
    reference: torch.nn.Module | None
    """The starting weights, frozen, when train.beta > 0. None without a KL term; None also with LoRA, where the policy
    without its adapters has the starting weights."""
    optimizer: Any
    scheduler: Any
    log: RunLog
    hook: CheckpointHook
    state: TrainerState
    stop: StopRequest
    watch: Watch
    alarms: Alarms
    clock: Clock = field(default_factory=Clock)
    save_seconds: float | None = None
    """Of the last checkpoint."""
    started_at: float = field(default_factory=time.perf_counter)
    """When this start was ready to train."""
    seconds_before: float = 0.0
    """What earlier starts took."""

    def wall_seconds(self) -> float:
        """Of all starts."""
        return self.seconds_before + time.perf_counter() - self.started_at


def build_run(
    config: Config,
    accelerator: Accelerator,
    data: Data | None,
    resume_from: Path | None,
    *,
    stop: StopRequest,
    watch: Watch,
) -> Run:
    """Loads the policy, starts the engine, and continues from a checkpoint if there is one.

    Args:
        data: what is asked; None with train.replay, where nothing is.
        resume_from: what `choose_whole` found.
        stop: hears signals since the start.
        watch: looks after the ranks since they met.
    """
    remove_leftovers(accelerator, Path(config.output_dir))
    replay, questions_per_batch = config.train.replay, config.rollout.questions_per_batch
    replayed = ReplayedSamples(Path(replay), questions_per_batch) if replay is not None else None
    size = size_of_replay(config, replayed.num_batches) if replayed else size_of_data(config, accelerator, data)
    policy = load_policy(
        config.model, config.train.gradient_checkpointing, trained_dtype(config, accelerator), attention(config)
    )
    prepare_layers(policy, config.train)
    reference = frozen_reference(config, accelerator)
    tokenizer = data.tokenizer if data is not None else load_tokenizer(config.model)
    # Before the optimizer, whose memory it would else find taken.
    engine = start_engine(config, accelerator, policy, tokenizer) if replayed is None else None
    optimizer, scheduler = make_optimizer(config, policy, size)
    policy, optimizer = accelerator.prepare(policy, optimizer)
    state = TrainerState(data=data.fingerprint() if data is not None else None)
    if resume_from is not None:
        state = load_checkpoint(resume_from, accelerator, scheduler)
    if accelerator.is_main_process:
        write_provenance(Path(config.output_dir), config)
    log = RunLog(
        config,
        first_step=state.step if resume_from is not None else None,
        evaluation_due=state.evaluation_due,
        num_steps=size.num_steps,
        tokenizer=tokenizer,
        main=accelerator.is_main_process,
    )
    source = replayed or live_rollouts(config, accelerator, data, engine, log, size)
    # The first sync proves the way before any work is spent, and brings the weights of a resumed run to the engine.
    source.take_weights(policy, Clock())
    if resume_from is not None:
        source.resume(resume_from)
    return Run(
        config=config,
        accelerator=accelerator,
        tokenizer=tokenizer,
        size=size,
        source=source,
        strata=data.dataset.strata if data is not None else (),
        policy=policy,
        reference=reference,
        optimizer=optimizer,
        scheduler=scheduler,
        log=log,
        hook=CheckpointHook(config.hooks.on_checkpoint if accelerator.is_main_process else None),
        state=state,
        stop=stop,
        watch=watch,
        alarms=Alarms(main=accelerator.is_main_process),
        seconds_before=state.wall_seconds,
    )


def live_rollouts(
    config: Config, accelerator: Accelerator, data: Data | None, engine: Engine | None, log: RunLog, size: RunSize
) -> SampleSource:
    assert data is not None and engine is not None, "only a replay goes without them"
    return LiveRollouts(config, accelerator, data, engine, log, size)


def load_checkpoint(checkpoint: Path, accelerator: Accelerator, scheduler: Any) -> TrainerState:
    """Puts the weights and the optimizer where they stood; the state of the loop."""
    accelerator.load_state(str(checkpoint / "state"))
    state = read_state(checkpoint)
    set_schedule(scheduler, state.step)
    return state


def size_of_data(config: Config, accelerator: Accelerator, data: Data | None) -> RunSize:
    assert data is not None, "only a replay goes without data"
    return size_of_run(config, accelerator.num_processes, len(data.train))


def start_engine(config: Config, accelerator: Accelerator, policy: Any, tokenizer: PreTrainedTokenizerBase) -> Engine:
    """This rank's engine; with servers, this rank's way to them."""
    stops = stop_token_ids(policy.generation_config, tokenizer)
    if (odd := check_turn_end(tokenizer, stops)) is not None and os.environ.get("RANK", "0") == "0":
        logger.warning("%s", odd)
    if config.rollout.engine == "server":
        return ServerEngine(config, accelerator, stops)
    return VllmEngine(
        config.model.model_name_or_path,
        config.rollout,
        window=engine_window(config),
        dtype=resolve_dtype(config.model),
        seed=config.train.seed,
        stop_token_ids=stops,
        revision=config.model.model_revision,
        shared_prefix=task_class(config).longest_shared_prefix(config),
        lora=sent_adapter(config),
    )


def make_optimizer(config: Config, policy: torch.nn.Module, size: RunSize) -> tuple[Any, Any]:
    """AdamW over what is trained, and its learning-rate schedule.

    The loop steps the schedule once per optimizer step. accelerate's wrapper would step it once per rank, so it does
    not get it.
    """
    train = config.train
    optimizer = torch.optim.AdamW(
        [parameter for parameter in policy.parameters() if parameter.requires_grad],
        lr=train.learning_rate,
        betas=(train.adam_beta1, train.adam_beta2),
        eps=train.adam_epsilon,
        weight_decay=train.weight_decay,
    )
    scheduler = get_scheduler(
        train.lr_scheduler_type, optimizer, num_warmup_steps=train.warmup_steps, num_training_steps=size.num_steps
    )
    return optimizer, scheduler


def set_schedule(scheduler: Any, step: int) -> None:
    """Puts a schedule where it stands after `step` optimizer steps. A checkpoint does not keep it: a run that was made
    longer continues with the rates of the longer one.

    Args:
        scheduler: a LambdaLR, as transformers makes.
    """
    rates = [base * factor(step) for base, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)]
    scheduler.load_state_dict(scheduler.state_dict() | {"last_epoch": step, "_step_count": step + 1, "_last_lr": rates})
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def attention(config: Config) -> str:
    return FOREST_ATTENTION if config.train.shared_prefix else config.model.attn_implementation


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
    prepare_layers(reference, config.train)
    reference.requires_grad_(False).eval()
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        from trl.models.utils import prepare_deepspeed

        return prepare_deepspeed(reference, accelerator)
    return reference.to(accelerator.device)
