"""One optimizer step: micro-batches, log-probs, loss, backward, clip, step.

Shapes: N trained tokens of a micro-batch, flat, sample after sample (see samples.py).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from rft.config import Config, TrainConfig
from rft.distributed import accumulate, gather_lists
from rft.grpo.frozen_logprobs import ScoredSample
from rft.grpo.logprobs import trained_token_logprobs
from rft.grpo.loss import (
    LossMetrics,
    LossTerms,
    StepTotals,
    loss_metric_names,
    merge_metrics,
    metric_values,
    policy_loss,
)
from rft.grpo.packing import packs_of_rank
from rft.grpo.samples import trained_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatchResult:
    """What is left of a micro-batch once it went through the model: small enough to gather from every rank.

    Example:
        MicroBatchResult(loss=-0.02, num_computed=41_210, metrics={"entropy": tensor([31.4, 40.0])})
    """

    loss: float
    """Its share of the step's loss."""
    num_computed: int
    """Tokens that went through the model, padding included."""
    metrics: LossMetrics
    """float64, on the CPU."""


def optimizer_step(
    config: Config,
    accelerator: Accelerator,
    policy: torch.nn.Module,
    optimizer: Any,
    scheduler: Any,
    samples: Sequence[ScoredSample],
    *,
    max_completion_length: int,
) -> dict[str, float]:
    """Takes one optimizer step on `samples`, those of all ranks; returns metrics over all ranks.

    The loss is normalised over the whole step (every rank, every micro-batch), so that neither packing nor the
    number of ranks changes it.

    Where no sample has a gradient the step is skipped: weights and optimizer state stay as they are to the bit, while a
    step with a zero gradient would move them by weight decay and momentum. The learning rate's schedule counts the step
    all the same. `update/skipped` is then 1.0, and the first sample goes through the model without a gradient, so that
    engine and trainer are compared in every step. Without any sample there is nothing to measure: all metrics but
    `update/skipped` and `learning_rate` are 0.

    Token metrics (entropy, clip ratios, engine against trainer) are means over the tokens that went through the model.

    Args:
        max_completion_length: the most tokens that a completion of this run can have, the constant of `dr_grpo`.

    Raises:
        RuntimeError: the loss or the norm of the gradient is not finite. The loss is checked before any weight changes,
            and so is the norm, except under DeepSpeed: there the last backward pass has taken the step already, so the
            weights in memory are not finite either, and the run has to continue from a checkpoint.
    """
    totals = step_totals(samples, max_completion_length)
    trained = samples_with_gradient(config.train, samples)
    if trained:
        results = accumulate_gradients(config, accelerator, policy, trained, totals)
        grad_norm = clip_gradients(accelerator, policy, config.train.max_grad_norm)
    else:
        results = measure_without_gradient(config, accelerator, policy, samples[:1], totals)
        grad_norm = 0.0
    learning_rate = scheduler.get_last_lr()[0]
    if trained:
        optimizer.step()
    advance_schedule(scheduler)
    optimizer.zero_grad()
    return {
        **micro_batch_metrics(config.train, gather_lists(accelerator, results), trained or samples[:1]),
        "completions/trained_ratio": len(trained) / len(samples) if samples else 0.0,
        "update/skipped": 0.0 if trained else 1.0,
        "grad_norm": grad_norm,
        "learning_rate": learning_rate,
    }


def samples_with_gradient(config: TrainConfig, samples: Sequence[ScoredSample]) -> Sequence[ScoredSample]:
    """The samples whose gradient is not zero by construction.

    Without a KL term a sample of zero advantage (all siblings equally good) adds exactly nothing to the gradient; it
    counts in the normalizers all the same.
    """
    if config.beta > 0:
        return samples
    return [scored for scored in samples if scored.sample.advantage != 0]


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
    batches = micro_batches_of_rank(config.train, accelerator, samples)
    for number, (batch, weight) in enumerate(batches, start=1):
        with accumulate(accelerator, policy, last=number == len(batches)):
            terms, num_computed = micro_batch_loss(config, policy, batch, totals)
            result = micro_batch_result(terms, num_computed)
            accelerator.backward(terms.loss * (weight * accelerator.num_processes))
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
    for batch, weight in micro_batches_of_rank(config.train, accelerator, samples):
        terms, num_computed = micro_batch_loss(config, policy, batch, totals)
        results += [micro_batch_result(terms, num_computed)] * weight
    policy.train()
    return results


def micro_batches_of_rank(
    config: TrainConfig, accelerator: Accelerator, samples: Sequence[ScoredSample]
) -> list[tuple[list[ScoredSample], int]]:
    """This rank's micro-batches, each with its weight in the sums (see `packs_of_rank`)."""
    plain = [scored.sample for scored in samples]
    packs = packs_of_rank(config, plain, accelerator.process_index, accelerator.num_processes)
    return [([samples[index] for index in pack], weight) for pack, weight in packs]


def micro_batch_loss(
    config: Config, policy: torch.nn.Module, batch: Sequence[ScoredSample], totals: StepTotals
) -> tuple[LossTerms, int]:
    """Forward pass and loss of one micro-batch, and how many tokens went through the model."""
    samples = [scored.sample for scored in batch]
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
    return terms, current.num_computed


def concatenate_logps(parts: Sequence[Tensor | None], device: torch.device) -> Tensor | None:
    """Per-sample log-probs [C] as one flat [N]; None when there are none."""
    tensors = [part for part in parts if part is not None]
    return torch.cat(tensors).to(device) if tensors else None


def micro_batch_result(terms: LossTerms, num_computed: int) -> MicroBatchResult:
    """Takes the numbers off the device; refuses a loss that is none."""
    loss = terms.loss.item()
    if not math.isfinite(loss):
        raise RuntimeError(f"the loss is {loss}; lower train.learning_rate")
    on_cpu = {name: value.double().cpu() for name, value in terms.metrics.items()}
    return MicroBatchResult(loss=loss, num_computed=num_computed, metrics=on_cpu)


def clip_gradients(accelerator: Accelerator, policy: torch.nn.Module, max_norm: float) -> float:
    """Scales the gradient down to `max_norm`; returns its norm before. Under DeepSpeed it only reads the norm."""
    norm = float(accelerator.clip_grad_norm_(policy.parameters(), max_norm))
    if not math.isfinite(norm):
        raise RuntimeError(f"the gradient norm is {norm}; lower train.learning_rate")
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
