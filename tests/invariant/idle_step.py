"""Optimizer steps with nothing to learn between two real ones, as every rank of a launched run takes them.

Usage: idle_step.py MODEL OUT. Each rank writes what it saw to OUT/RANK.json.
"""

from __future__ import annotations

import copy
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import get_scheduler

from rft.config import Config
from rft.distributed import start
from rft.grpo.frozen_logprobs import score_samples
from rft.grpo.optimizer_step import optimizer_step
from rft.grpo.run import attention
from rft.models import load_policy
from rft.process_exit import leave
from rft.weights import named_full_weights
from tests.tiny import random_paths, samples_of_paths


def main(model: str, out: str) -> None:
    config = Config()
    config.model.model_name_or_path = model
    config.model.dtype = "float32"
    config.train.max_tokens_per_microbatch = 60
    config.train.num_iterations = 2
    accelerator = start(config)
    policy = load_policy(config.model, False, attn_implementation=attention(config))
    optimizer: Any = torch.optim.AdamW(policy.parameters(), lr=1e-2, weight_decay=0.1)
    scheduler = get_scheduler("linear", optimizer, num_warmup_steps=0, num_training_steps=10)
    policy, optimizer = accelerator.prepare(policy, optimizer)
    samples = samples_of_paths([path for seed in range(5) for path in random_paths(seed)])
    metrics, states = [], []
    for batch in (samples, [replace(sample, advantage=0.0) for sample in samples], [], samples):
        scored = score_samples(config, accelerator, policy, None, batch)
        metrics.append(
            optimizer_step(config, accelerator, policy, optimizer, scheduler, scored, max_completion_length=9)
        )
        weights = {name: weight.clone() for name, weight in named_full_weights(policy)}
        moments = copy.deepcopy(list(tensors_of(optimizer.state_dict())))
        states.append([*weights.values(), *moments])
    facts = {
        "num_moments": sum(bool(tensor.any()) for tensor in moments),
        "moved": [moved(*pair) for pair in pairwise(states)],
        "skipped": [step["update/skipped"] for step in metrics],
        "learning_rates": [step["learning_rate"] for step in metrics],
        "losses": [step["loss"] for step in metrics],
        "gap": metrics[1]["sampling/sampling_logp_difference/mean"],
        "finite": all(math.isfinite(value) for step in metrics for value in step.values()),
        "names": len({tuple(sorted(step)) for step in metrics}),
    }
    Path(out).mkdir(parents=True, exist_ok=True)
    (Path(out) / f"{accelerator.process_index}.json").write_text(json.dumps(facts))
    accelerator.end_training()


def tensors_of(tree: Any) -> Iterator[Tensor]:
    """Every floating-point tensor of nested mappings and lists: moments, and DeepSpeed's own copies of the weights."""
    if isinstance(tree, Tensor):
        if tree.is_floating_point():
            yield tree.detach()
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from tensors_of(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from tensors_of(value)


def moved(before: list[Tensor], after: list[Tensor]) -> bool:
    assert len(before) == len(after)
    return not all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
    leave(0)
