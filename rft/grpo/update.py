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
from rft.distributed import accumulate, gather_lists
from rft.grpo.logprobs import trained_token_logprobs
from rft.grpo.loss import LossTerms, Metrics, StepTotals, merge_metrics, metric_values, policy_loss
from rft.grpo.packing import Pack, micro_batches
from rft.grpo.samples import trained_tokens
from rft.records import Sample


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
    config: Config,
    accelerator: Accelerator,
    policy: torch.nn.Module,
    reference: torch.nn.Module | None,
    samples: Sequence[Sample],
) -> list[ScoredSample]:
    """Computes old and reference log-probs where the loss needs them; `samples` are those of all ranks."""
    several_updates = config.train.steps_per_generation * config.train.num_iterations > 1
    old = frozen_logps(config, accelerator, policy, samples) if several_updates else None
    ref = None
    if config.train.beta > 0:
        if reference is not None:
            ref = frozen_logps(config, accelerator, reference, samples)
        else:
            base: Any = policy.module if hasattr(policy, "module") else policy
            with base.disable_adapter():
                ref = frozen_logps(config, accelerator, policy, samples)
    return [
        ScoredSample(sample=sample, old_logps=old[i] if old else None, ref_logps=ref[i] if ref else None)
        for i, sample in enumerate(samples)
    ]


@torch.no_grad()
def frozen_logps(
    config: Config, accelerator: Accelerator, model: torch.nn.Module, samples: Sequence[Sample]
) -> list[Tensor]:
    """Log-probs of each sample's completion under `model`, without gradient: float32 [C] each, on every rank."""
    was_training = model.training
    model.eval()
    found: list[tuple[int, Tensor]] = []
    for pack, weight in my_packs(config, accelerator, samples):
        batch = [samples[index] for index in pack]
        scored = trained_token_logprobs(
            model, batch, config.rollout.temperature, shared_prefix=config.train.shared_prefix, entropy=False
        )
        if weight:
            parts = scored.logps.cpu().split([len(sample.completion_ids) for sample in batch])
            found += zip(pack, parts, strict=True)
    model.train(was_training)
    return [logps for _, logps in sorted(gather_lists(accelerator, found), key=lambda item: item[0])]


def my_packs(config: Config, accelerator: Accelerator, samples: Sequence[Sample]) -> list[tuple[Pack, int]]:
    """This rank's micro-batches, each with its weight in the sums.

    Ranks take part in each other's forward and backward passes, so all have equally many: one with less to do
    repeats a micro-batch at weight 0.
    """
    every = micro_batches(config.train, samples, accelerator.num_processes)
    mine = every[accelerator.process_index]
    spare = mine[0] if mine else next(packs[0] for packs in every if packs)
    missing = max(len(packs) for packs in every) - len(mine)
    return [(pack, 1) for pack in mine] + [(spare, 0)] * missing


def update(
    config: Config,
    accelerator: Accelerator,
    policy: torch.nn.Module,
    optimizer: Any,
    scheduler: Any,
    samples: Sequence[ScoredSample],
) -> dict[str, float]:
    """Takes one optimizer step on `samples`, those of all ranks; returns metrics over all ranks.

    Token metrics (entropy, clip ratios, engine against trainer) are means over the tokens that have a gradient.

    The loss is normalised over the whole step (every rank, every micro-batch), so that neither packing nor the
    number of ranks changes it. Ranks average their gradients, hence the factor `num_processes`.

    Raises:
        RuntimeError: the loss or the gradient is not finite; the weights are not touched.
    """
    policy.train()
    totals = step_totals(config, samples)
    trained = with_gradient(config, samples)
    packs = my_packs(config, accelerator, [scored.sample for scored in trained])
    parts: list[tuple[float, int, Metrics]] = []
    for number, (pack, weight) in enumerate(packs, start=1):
        with accumulate(accelerator, policy, last=number == len(packs)):
            terms, num_computed = loss_of(config, policy, [trained[index] for index in pack], totals)
            loss = terms.loss.item()
            if not math.isfinite(loss):
                raise RuntimeError(f"the loss is {loss}; lower train.learning_rate")
            accelerator.backward(terms.loss * (weight * accelerator.num_processes))
        if weight:
            on_cpu = {name: value.double().cpu() for name, value in terms.metrics.items()}
            parts.append((loss, num_computed, on_cpu))
    parts = gather_lists(accelerator, parts)
    grad_norm = float(accelerator.clip_grad_norm_(policy.parameters(), config.train.max_grad_norm))
    if not math.isfinite(grad_norm):
        raise RuntimeError(f"the gradient norm is {grad_norm}; lower train.learning_rate")
    learning_rate = scheduler.get_last_lr()[0]
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
    num_computed = sum(computed for _, computed, _ in parts)
    num_path_tokens = sum(len(s.sample.prompt_ids) + len(s.sample.completion_ids) for s in trained)
    return {
        **metric_values(merge_metrics([metrics for _, _, metrics in parts])),
        "loss": sum(loss for loss, _, _ in parts),
        "completions/trained_ratio": len(trained) / len(samples),
        "update/num_tokens": float(num_computed),
        "update/unique_token_ratio": num_computed / num_path_tokens,
        "grad_norm": grad_norm,
        "learning_rate": learning_rate,
    }


def with_gradient(config: Config, samples: Sequence[ScoredSample]) -> Sequence[ScoredSample]:
    """The samples whose gradient is not zero by construction.

    Without a KL term a sample of zero advantage (all siblings equally good) adds exactly nothing to the gradient; it
    counts in the normalizers all the same. When there is no other, one of them stays, so that every step compares
    engine and trainer.
    """
    if config.train.beta > 0:
        return samples
    return [scored for scored in samples if scored.sample.advantage != 0] or samples[:1]


def step_totals(config: Config, samples: Sequence[ScoredSample]) -> StepTotals:
    """What the loss is normalised by."""
    return StepTotals(
        num_tokens=sum(scored.sample.weight * len(scored.sample.completion_ids) for scored in samples),
        num_samples=sum(scored.sample.weight for scored in samples),
        max_completion_length=config.longest_completion,
    )


def loss_of(
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
        old_logps=joined([scored.old_logps for scored in batch], current.logps.device),
        ref_logps=joined([scored.ref_logps for scored in batch], current.logps.device),
        config=config.train,
        totals=totals,
    )
    return terms, current.num_computed


def joined(parts: Sequence[Tensor | None], device: torch.device) -> Tensor | None:
    """Per-sample log-probs as one flat [N]; None when there are none."""
    tensors = [part for part in parts if part is not None]
    return torch.cat(tensors).to(device) if tensors else None
