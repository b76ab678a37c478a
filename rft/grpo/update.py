"""One optimizer step: micro-batches, log-probs, loss, backward, clip, step.

Shapes: N trained tokens of a micro-batch, flat, sample after sample (see samples.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from rft.config import Config
from rft.distributed import accumulate, gather_lists, max_over_ranks
from rft.grpo.logprobs import trained_token_logprobs
from rft.grpo.loss import LossTerms, Metrics, StepTotals, merge_metrics, metric_values, policy_loss
from rft.grpo.samples import micro_batches, trained_tokens
from rft.types import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredSample:
    """A sample with the log-probs that stay fixed while it is trained on.

    Example:
        ScoredSample(sample=sample, old_logps=None, ref_logps=None)
    """

    sample: Sample
    old_logps: Tensor | None
    """float32 [C]: the trainer's log-probs before the first update on this batch; None when this is that update,
    whose own log-probs they then are."""
    ref_logps: Tensor | None
    """float32 [C]: the reference model's; None without a KL term."""


def score_samples(
    config: Config, policy: torch.nn.Module, reference: torch.nn.Module | None, samples: Sequence[Sample]
) -> list[ScoredSample]:
    """Computes old and reference log-probs where the loss needs them."""
    several_updates = config.train.steps_per_generation * config.train.num_iterations > 1
    old = frozen_logps(config, policy, samples) if several_updates else None
    ref = None
    if config.train.beta > 0:
        if reference is not None:
            ref = frozen_logps(config, reference, samples)
        else:
            base: Any = policy.module if hasattr(policy, "module") else policy
            with base.disable_adapter():
                ref = frozen_logps(config, policy, samples)
    return [
        ScoredSample(sample=sample, old_logps=old[i] if old else None, ref_logps=ref[i] if ref else None)
        for i, sample in enumerate(samples)
    ]


@torch.no_grad()
def frozen_logps(config: Config, model: torch.nn.Module, samples: Sequence[Sample]) -> list[Tensor]:
    """Log-probs of each sample's completion under `model`, without gradient: float32 [C] each."""
    was_training = model.training
    model.eval()
    logps: list[Tensor] = []
    for batch in micro_batches(samples, config.train.per_device_train_batch_size):
        scored = trained_token_logprobs(model, batch, config.rollout.temperature, entropy=False)
        logps += scored.logps.split([len(sample.completion_ids) for sample in batch])
    model.train(was_training)
    return logps


def update(
    config: Config,
    accelerator: Accelerator,
    policy: torch.nn.Module,
    optimizer: Any,
    scheduler: Any,
    samples: Sequence[ScoredSample],
) -> dict[str, float]:
    """Takes one optimizer step on this rank's `samples`; returns metrics over all ranks.

    Token metrics (entropy, clip ratios, engine against trainer) are means over the tokens that have a gradient.

    The loss is normalised over the whole step (every rank, every micro-batch), so that neither packing nor the
    number of ranks changes it. Ranks average their gradients, hence the factor `num_processes`.

    Raises:
        RuntimeError: the loss or the gradient is not finite; the weights are not touched.
    """
    policy.train()
    totals = step_totals(config, accelerator, [scored.sample for scored in samples])
    trained = with_gradient(config, samples)
    batches = micro_batches(trained, config.train.per_device_train_batch_size)
    # Ranks take part in each other's backward passes; one that is done early repeats a micro-batch at weight 0.
    num_batches = max_over_ranks(accelerator, len(batches))
    metrics, loss = [], 0.0
    for index in range(num_batches):
        is_repeat = index >= len(batches)
        with accumulate(accelerator, policy, last=index == num_batches - 1):
            terms = loss_of(config, policy, batches[0 if is_repeat else index], totals)
            if not math.isfinite(terms.loss.item()):
                raise RuntimeError(f"the loss is {terms.loss.item()}; lower train.learning_rate")
            accelerator.backward(terms.loss * (0 if is_repeat else accelerator.num_processes))
        if not is_repeat:
            metrics.append(terms.metrics)
            loss += terms.loss.item()
    grad_norm = float(accelerator.clip_grad_norm_(policy.parameters(), config.train.max_grad_norm))
    if not math.isfinite(grad_norm):
        raise RuntimeError(f"the gradient norm is {grad_norm}; lower train.learning_rate")
    learning_rate = scheduler.get_last_lr()[0]
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
    return {
        **over_ranks(accelerator, merge_metrics(metrics)),
        "loss": sum(gather_lists(accelerator, [loss])),
        "completions/trained_ratio": sum(gather_lists(accelerator, [len(trained)])) / totals.num_samples,
        "grad_norm": grad_norm,
        "learning_rate": learning_rate,
    }


def with_gradient(config: Config, samples: Sequence[ScoredSample]) -> Sequence[ScoredSample]:
    """The samples whose gradient is not zero by construction.

    Without a KL term a sample of zero advantage (all siblings equally good) adds exactly nothing to the gradient; it
    counts in the normalizers all the same. When there is no other, a micro-batch of them stays, so that every step
    compares engine and trainer, and every rank takes part.
    """
    if config.train.beta > 0:
        return samples
    trained = [scored for scored in samples if scored.sample.advantage != 0]
    return trained or samples[: config.train.per_device_train_batch_size]


def step_totals(config: Config, accelerator: Accelerator, samples: Sequence[Sample]) -> StepTotals:
    """Counts over all ranks, before the first backward pass."""
    every = gather_lists(accelerator, [(sum(len(sample.completion_ids) for sample in samples), len(samples))])
    return StepTotals(
        num_tokens=sum(tokens for tokens, _ in every),
        num_samples=sum(count for _, count in every),
        max_completion_length=config.rollout.max_completion_length,
    )


def loss_of(config: Config, policy: torch.nn.Module, batch: Sequence[ScoredSample], totals: StepTotals) -> LossTerms:
    """Forward pass and loss of one micro-batch."""
    samples = [scored.sample for scored in batch]
    current = trained_token_logprobs(policy, samples, config.rollout.temperature, entropy=True)
    return policy_loss(
        current,
        trained_tokens(samples, current.logps.device),
        old_logps=joined([scored.old_logps for scored in batch]),
        ref_logps=joined([scored.ref_logps for scored in batch]),
        config=config.train,
        totals=totals,
    )


def joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Per-sample log-probs as one flat [N]; None when there are none."""
    tensors = [part for part in parts if part is not None]
    return torch.cat(tensors) if tensors else None


def over_ranks(accelerator: Accelerator, metrics: Metrics) -> dict[str, float]:
    """Numbers of the whole step from every rank's sums and extremes."""
    on_cpu = {name: value.double().cpu() for name, value in metrics.items()}
    return metric_values(merge_metrics(gather_lists(accelerator, [on_cpu])))
