"""One optimizer step: micro-batches, log-probs, loss, backward, clip, step.

Shapes: N trained tokens of a micro-batch, flat, sample after sample (see samples.py).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from rft import progress
from rft.config import Config, TrainConfig
from rft.distributed import accumulate, gather_lists
from rft.grpo.frozen_logprobs import ScoredSample, goes_through_model, has_gradient, split_by_sample
from rft.grpo.logprobs import TokenLogprobs, trained_token_logprobs
from rft.grpo.loss import (
    LossMetrics,
    LossTerms,
    StepTotals,
    loss_metric_names,
    merge_metrics,
    metric_values,
    policy_loss,
)
from rft.grpo.packing import Pack, packs_of_rank
from rft.grpo.samples import trained_tokens
from rft.records import Sample

REMEDY = (
    "train on from the last checkpoint with a lower train.learning_rate "
    "(model.model_name_or_path=OUTPUT_DIR/checkpoint-N and another output_dir)"
)
"""For numbers that are not finite; a run that is resumed keeps its learning rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatchResult:
    """What is left of a micro-batch once it went through the model: small enough to gather from every rank.

    Example:
        MicroBatchResult(loss=-0.02, num_computed=41_210, metrics={"entropy": tensor([31.4, 40.0])}, logps=())
    """

    loss: float
    """Its share of the step's loss."""
    num_computed: int
    """Tokens that went through the model, padding included."""
    metrics: LossMetrics
    """float64, on the CPU."""
    logps: tuple[tuple[int, Tensor], ...]
    """For each of its samples the place among those of the step, and its log-probs, float32 [C], on the CPU. Empty
    where no later step of the batch needs them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What one optimizer step gives back.

    Example:
        StepResult(metrics={"loss": -0.02, "grad_norm": 0.31}, samples=[ScoredSample(...), ...])
    """

    metrics: dict[str, float]
    """Over all ranks."""
    samples: list[ScoredSample]
    """Those of the step, for the next step on them: a sample that came without old log-probs has those that the step
    computed, before it changed a weight. Only with train.num_iterations > 1, and only samples that went through the
    model; the others are as they came."""


def optimizer_step(
    config: Config,
    accelerator: Accelerator,
    policy: torch.nn.Module,
    optimizer: Any,
    scheduler: Any,
    samples: Sequence[ScoredSample],
    *,
    max_completion_length: int,
) -> StepResult:
    """Takes one optimizer step on `samples`, those of all ranks.

    The loss is normalised over the whole step (every rank, every micro-batch), so that neither packing nor the
    number of ranks changes it. Samples without a gradient count in the normalizers all the same.

    Where no sample has a gradient the step is skipped: weights and optimizer state stay as they are to the bit, while a
    step with a zero gradient would move them by weight decay and momentum. The learning rate's schedule counts the step
    all the same. `update/skipped` is then 1.0, and the first sample goes through the model without a gradient, so that
    engine and trainer are compared in every step. Without any sample there is nothing to measure: all metrics but
    `update/skipped` and `learning_rate` are 0.

    Token metrics (entropy, clip ratios, engine against trainer) are means over the tokens that went through the model.

    Args:
        max_completion_length: the most tokens that a completion of this run can have, the constant of `dr_grpo`.

    Raises:
        RuntimeError: the loss or the norm of the gradient is not finite. No weight has changed then. (DeepSpeed takes
            the step before the norm is read here, but leaves out a step whose norm is not finite.)
    """
    totals = step_totals(samples, max_completion_length)
    computed = [index for index, goes in enumerate(goes_through_model(config.train, plain(samples))) if goes]
    batch = [samples[index] for index in computed]
    is_trained = any(has_gradient(config.train, sample) for sample in plain(batch))
    if is_trained:
        results = accumulate_gradients(config, accelerator, policy, batch, totals)
        grad_norm = clip_gradients(accelerator, policy, config.train.max_grad_norm)
    else:
        results = measure_without_gradient(config, accelerator, policy, batch, totals)
        grad_norm = 0.0
    learning_rate = scheduler.get_last_lr()[0]
    if is_trained:
        optimizer.step()
    advance_schedule(scheduler)
    optimizer.zero_grad()
    results = gather_lists(accelerator, results)
    kept = {computed[place]: logps for result in results for place, logps in result.logps}
    return StepResult(
        metrics={
            **micro_batch_metrics(config.train, results, batch),
            "completions/trained_ratio": len(batch) / len(samples) if is_trained else 0.0,
            "update/skipped": 0.0 if is_trained else 1.0,
            "grad_norm": grad_norm,
            "learning_rate": learning_rate,
        },
        samples=[
            replace(scored, old_logps=kept[index]) if index in kept else scored for index, scored in enumerate(samples)
        ],
    )


def step_totals(samples: Sequence[ScoredSample], max_completion_length: int) -> StepTotals:
    """What the loss is normalised by."""
    return StepTotals(
        num_tokens=sum(scored.sample.weight * len(scored.sample.completion_ids) for scored in samples),
        num_samples=sum(scored.sample.weight for scored in samples),
        max_completion_length=max_completion_length,
    )


def accumulate_gradients(
    config: Config,
    accelerator: Accelerator,
    policy: torch.nn.Module,
    samples: Sequence[ScoredSample],
    totals: StepTotals,
) -> list[MicroBatchResult]:
    """Forward and backward pass of this rank's micro-batches. Under DeepSpeed the last one takes the optimizer step.

    Ranks average their gradients, hence the factor `num_processes`.
    """
    policy.train()
    results: list[MicroBatchResult] = []
    packs = packs_of_rank(config.train, plain(samples), accelerator.process_index, accelerator.num_processes)
    for number, (pack, weight) in enumerate(packs, start=1):
        batch = [samples[index] for index in pack]
        with accumulate(accelerator, policy, last=number == len(packs)):
            terms, current = micro_batch_loss(config, policy, batch, totals)
            result = micro_batch_result(config.train, pack, batch, terms, current)
            accelerator.backward(terms.loss * (weight * accelerator.num_processes))
        progress.moved()
        results += [result] * weight
    return results


@torch.no_grad()
def measure_without_gradient(
    config: Config,
    accelerator: Accelerator,
    policy: torch.nn.Module,
    samples: Sequence[ScoredSample],
    totals: StepTotals,
) -> list[MicroBatchResult]:
    """Forward pass of this rank's micro-batches, nothing else."""
    policy.eval()
    results: list[MicroBatchResult] = []
    packs = packs_of_rank(config.train, plain(samples), accelerator.process_index, accelerator.num_processes)
    for pack, weight in packs:
        batch = [samples[index] for index in pack]
        terms, current = micro_batch_loss(config, policy, batch, totals)
        results += [micro_batch_result(config.train, pack, batch, terms, current)] * weight
        progress.moved()
    policy.train()
    return results


def plain(samples: Sequence[ScoredSample]) -> list[Sample]:
    return [scored.sample for scored in samples]


def micro_batch_loss(
    config: Config, policy: torch.nn.Module, batch: Sequence[ScoredSample], totals: StepTotals
) -> tuple[LossTerms, TokenLogprobs]:
    """Forward pass and loss of one micro-batch, and the log-probs that the loss is made of."""
    samples = plain(batch)
    current = trained_token_logprobs(
        policy, samples, config.rollout.temperature, shared_prefix=config.train.shared_prefix, entropy=True
    )
    terms = policy_loss(
        current,
        trained_tokens(samples, current.logps.device),
        old_logps=concatenate_logps([scored.old_logps for scored in batch], current.logps.device),
        ref_logps=concatenate_logps([scored.ref_logps for scored in batch], current.logps.device),
        config=config.train,
        totals=totals,
    )
    return terms, current


def concatenate_logps(parts: Sequence[Tensor | None], device: torch.device) -> Tensor | None:
    """Per-sample log-probs [C] as one flat [N]; None when there are none."""
    tensors = [part for part in parts if part is not None]
    assert len(tensors) in (0, len(parts)), "the samples of one step all have old log-probs, or none has"
    return torch.cat(tensors).to(device) if tensors else None


def micro_batch_result(
    config: TrainConfig, pack: Pack, batch: Sequence[ScoredSample], terms: LossTerms, current: TokenLogprobs
) -> MicroBatchResult:
    """Takes the numbers off the device; refuses a loss that is none."""
    loss = terms.loss.item()
    if not math.isfinite(loss):
        raise RuntimeError(f"the loss is {loss}; {REMEDY}")
    logps = split_by_sample(current.logps.detach().cpu(), plain(batch))
    are_old_ones = config.num_iterations > 1 and batch[0].old_logps is None
    return MicroBatchResult(
        loss=loss,
        num_computed=current.num_computed,
        metrics={name: value.double().cpu() for name, value in terms.metrics.items()},
        logps=tuple(zip(pack, logps, strict=True)) if are_old_ones else (),
    )


def clip_gradients(accelerator: Accelerator, policy: torch.nn.Module, max_norm: float) -> float:
    """Scales the gradient down to `max_norm`; returns its norm before. Under DeepSpeed it only reads the norm."""
    norm = float(accelerator.clip_grad_norm_(policy.parameters(), max_norm))
    if not math.isfinite(norm):
        raise RuntimeError(f"the gradient norm is {norm}; {REMEDY}")
    return norm


def advance_schedule(scheduler: Any) -> None:
    """The next step's learning rate, whether or not this step was skipped."""
    with warnings.catch_warnings():
        # torch warns where the very first optimizer step was skipped.
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        scheduler.step()


def micro_batch_metrics(
    config: TrainConfig, results: Sequence[MicroBatchResult], samples: Sequence[ScoredSample]
) -> dict[str, float]:
    """Metrics of the micro-batches of all ranks; `samples` are those that went through the model."""
    num_computed = sum(result.num_computed for result in results)
    num_path_tokens = sum(len(s.sample.prompt_ids) + len(s.sample.completion_ids) for s in samples)
    means = (
        metric_values(merge_metrics([result.metrics for result in results]))
        if results
        else dict.fromkeys(loss_metric_names(config), 0.0)
    )
    return {
        **means,
        "loss": sum((result.loss for result in results), 0.0),
        "update/num_tokens": float(num_computed),
        "update/unique_token_ratio": num_computed / num_path_tokens if samples else 0.0,
    }
