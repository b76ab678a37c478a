"""Log-probs that stay fixed while a rollout batch is trained on: the old policy's and the reference model's.

Shapes: C completion tokens of one sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from rft.config import Config
from rft.distributed import gather_lists
from rft.grpo.logprobs import trained_token_logprobs
from rft.grpo.packing import packs_of_rank
from rft.records import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredSample:
    """A sample with the log-probs that stay fixed while it is trained on.

    Example, the only optimizer step on its batch, without a KL term:
        ScoredSample(sample=sample, old_logps=None, ref_logps=None)
    """

    sample: Sample
    old_logps: Tensor | None
    """float32 [C]: log-probs under the policy as it was before the first optimizer step on this batch. None where the
    batch has one optimizer step only: then the current log-probs of that step are used."""
    ref_logps: Tensor | None
    """float32 [C]: log-probs under the reference model; None without a KL term."""


def score_samples(
    config: Config,
    accelerator: Accelerator,
    policy: torch.nn.Module,
    reference: torch.nn.Module | None,
    samples: Sequence[Sample],
) -> list[ScoredSample]:
    """Computes old and reference log-probs where the loss needs them; `samples` are those of all ranks.

    Args:
        reference: the reference model; None where `policy` has LoRA adapters, and is the reference without them.
    """
    several_steps = config.train.steps_per_generation * config.train.num_iterations > 1
    old = frozen_logps(config, accelerator, policy, samples) if several_steps else None
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
    packs = packs_of_rank(config.train, samples, accelerator.process_index, accelerator.num_processes)
    for pack, weight in packs:
        batch = [samples[index] for index in pack]
        scored = trained_token_logprobs(
            model, batch, config.rollout.temperature, shared_prefix=config.train.shared_prefix, entropy=False
        )
        if weight:
            parts = scored.logps.cpu().split([len(sample.completion_ids) for sample in batch])
            found += zip(pack, parts, strict=True)
    model.train(was_training)
    return [logps for _, logps in sorted(gather_lists(accelerator, found), key=lambda item: item[0])]
