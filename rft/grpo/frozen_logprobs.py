"""Log-probs that stay fixed while a rollout batch is trained on: the old policy's and the reference model's.

Shapes: C completion tokens of one sample.

A pass that the loss does not need is not made. The first share of a batch is trained on before any weight has changed,
so that its current log-probs are the old ones; the step gives them back for later iterations (optimizer_step.py). A
sample without a gradient goes through no model at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from rft import progress
from rft.config import Config, TrainConfig
from rft.distributed import gather_lists
from rft.grpo.logprobs import trained_token_logprobs
from rft.grpo.packing import packs_of_rank
from rft.records import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredSample:
    """A sample with the log-probs that stay fixed while it is trained on.

    Example, trained on before any weight has changed, without a KL term:
        ScoredSample(sample=sample, old_logps=None, ref_logps=None)
    """

    sample: Sample
    old_logps: Tensor | None
    """float32 [C]: log-probs under the policy as it was before the first optimizer step on this batch. None where no
    step has been taken yet: then the current log-probs are used. None also where the sample goes through no model."""
    ref_logps: Tensor | None
    """float32 [C]: log-probs under the reference model; None without a KL term."""


def score_shares(
    config: Config,
    accelerator: Accelerator,
    policy: nn.Module,
    reference: nn.Module | None,
    shares: Sequence[Sequence[Sample]],
) -> list[list[ScoredSample]]:
    """Computes old and reference log-probs where the loss needs them.

    Args:
        reference: the reference model; None where `policy` has LoRA adapters, and is the reference without them.
        shares: the samples of each optimizer step of an iteration, in order; those of all ranks.
    """
    samples = [sample for share in shares for sample in share]
    first_passed = 1 if first_share_keeps_its_own(config.train, policy) else 0
    needed = [
        number >= first_passed and goes
        for number, share in enumerate(shares)
        for goes in goes_through_model(config.train, share)
    ]
    passed = [sample for sample, is_needed in zip(samples, needed, strict=True) if is_needed]
    found = iter(frozen_logps(config, accelerator, policy, passed))
    old = [next(found) if is_needed else None for is_needed in needed]
    ref = reference_logps(config, accelerator, policy, reference, samples) if config.train.beta > 0 else None
    scored = iter(
        ScoredSample(sample=sample, old_logps=old[i], ref_logps=ref[i] if ref else None)
        for i, sample in enumerate(samples)
    )
    return [[next(scored) for _ in share] for share in shares]


def has_gradient(config: TrainConfig, sample: Sample) -> bool:
    """Whether a sample can add anything to the gradient.

    Without a KL term a sample of zero advantage (all siblings equally good) adds exactly nothing.
    """
    return config.beta > 0 or sample.advantage != 0


def goes_through_model(config: TrainConfig, share: Sequence[Sample]) -> list[bool]:
    """Which samples of one optimizer step go through the model: those with a gradient.

    Where none has one, it is the first sample, on which engine and trainer are compared.
    """
    found = [has_gradient(config, sample) for sample in share]
    return found if any(found) else [index == 0 for index in range(len(share))]


def first_share_keeps_its_own(config: TrainConfig, policy: nn.Module) -> bool:
    """Whether the log-probs of the first step serve as old ones in later iterations, too.

    With dropout they are those of the layers that happened to be left, and a pass without dropout gives the old ones.
    """
    return config.num_iterations == 1 or not has_dropout(policy)


def has_dropout(model: nn.Module) -> bool:
    """Whether anything is set to zero at random while training: by a layer, or by an attention's own setting."""
    layers = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    attentions = [getattr(module, "attention_dropout", 0.0) for module in model.modules()]
    return any(isinstance(share, float) and share > 0 for share in layers + attentions)


def reference_logps(
    config: Config,
    accelerator: Accelerator,
    policy: nn.Module,
    reference: nn.Module | None,
    samples: Sequence[Sample],
) -> list[Tensor]:
    if reference is not None:
        return frozen_logps(config, accelerator, reference, samples)
    base: Any = policy.module if hasattr(policy, "module") else policy
    with base.disable_adapter():
        return frozen_logps(config, accelerator, policy, samples)


@torch.no_grad()
def frozen_logps(config: Config, accelerator: Accelerator, model: nn.Module, samples: Sequence[Sample]) -> list[Tensor]:
    """Log-probs of each sample's completion under `model`, without gradient: float32 [C] each, on every rank."""
    was_training = model.training
    model.eval()
    found: list[tuple[int, Tensor]] = []
    packs = packs_of_rank(config.train, samples, accelerator.process_index, accelerator.num_processes)
    for pack, weight in packs:
        batch = [samples[index] for index in pack]
        scored = trained_token_logprobs(
            model, batch, config.rollout.temperature, shared_prefix=config.train.shared_prefix, entropy=False
        )
        if weight:
            found += zip(pack, split_by_sample(scored.logps.cpu(), batch), strict=True)
        progress.moved()
    model.train(was_training)
    return [logps for _, logps in sorted(gather_lists(accelerator, found), key=lambda item: item[0])]


def split_by_sample(logps: Tensor, samples: Sequence[Sample]) -> tuple[Tensor, ...]:
    """Log-probs of a micro-batch, flat [N], as one [C] per sample."""
    return logps.split([len(sample.completion_ids) for sample in samples])
