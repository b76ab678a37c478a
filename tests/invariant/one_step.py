"""One optimizer step of a saved model on fixed samples, as every rank of a launched run takes it.

Usage: one_step.py MODEL OUT SHARED_PREFIX MAX_TOKENS. Rank 0 writes the weights after the step and its metrics to OUT.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from transformers import get_scheduler

from rft.config import Config
from rft.distributed import start
from rft.grpo.frozen_logprobs import score_samples
from rft.grpo.optimizer_step import optimizer_step
from rft.grpo.run import attention, frozen_reference
from rft.models import load_policy
from rft.process_exit import leave
from rft.records import Sample
from rft.weights import named_full_weights
from tests.tiny import random_paths, samples_of_paths

LEARNING_RATE = 1024.0
"""Large, so that what the step moves is not lost in the rounding of the weights; a power of two is exact."""


def main(model: str, out: str, shared_prefix: str, max_tokens: str) -> None:
    config = Config()
    config.model.model_name_or_path = model
    config.model.dtype = "float32"
    config.train.shared_prefix = shared_prefix == "true"
    config.train.max_tokens_per_microbatch = int(max_tokens)
    config.train.per_device_train_batch_size = 4
    config.train.max_grad_norm = 1e9
    # Old and reference log-probs are then computed too, on whichever rank has the pack.
    config.train.num_iterations = 2
    config.train.beta = 0.1
    accelerator = start(config)
    policy = load_policy(config.model, False, attn_implementation=attention(config))
    reference = frozen_reference(config, accelerator)
    optimizer = torch.optim.SGD(policy.parameters(), lr=LEARNING_RATE)
    scheduler = get_scheduler("constant", optimizer)
    prepared, optimizer = accelerator.prepare(policy, optimizer)
    scored = score_samples(config, accelerator, prepared, reference, samples())
    metrics = optimizer_step(
        config, accelerator, prepared, optimizer, scheduler, scored,
        max_completion_length=config.rollout.max_completion_length,
    )  # fmt: skip
    save(accelerator, Path(out), {name: weight.clone() for name, weight in named_full_weights(prepared)}, metrics)
    accelerator.end_training()


def samples() -> list[Sample]:
    """A few dozen paths of several personas' worth of sharing; an odd number of packs at the test's budget."""
    return samples_of_paths([path for seed in range(5) for path in random_paths(seed)])


def save(accelerator: Accelerator, out: Path, weights: dict[str, torch.Tensor], metrics: dict[str, float]) -> None:
    if accelerator.is_main_process:
        out.mkdir(parents=True)
        save_file({name: weight.contiguous() for name, weight in weights.items()}, out / "weights.safetensors")
        (out / "metrics.json").write_text(json.dumps(metrics))


if __name__ == "__main__":
    main(*sys.argv[1:])
    leave(0)
