"""The loop on one batch; tests/e2e/test_train.py has whole runs."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator

from rft.config import Config
from rft.grpo.run import Run
from rft.grpo.train import train_on_batch
from tests.invariant.fixed_samples import run_on
from tests.tiny import random_samples, tiny_qwen3


def run_with_a_gap(config: Config) -> Run:
    """Samples whose log-probs are not those of the policy, and a run that takes no gap of a millionth."""
    config.rollout.questions_per_batch = 1
    policy = tiny_qwen3(tied=True)
    config.train.shared_prefix = False
    optimizer = torch.optim.SGD(policy.parameters(), lr=1e-2)
    run = run_on(
        random_samples([(5, 3), (5, 4)]), config, Accelerator(cpu=True), policy=policy, reference=None,
        optimizer=optimizer, scheduler=torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0),
    )  # fmt: skip
    run.source.max_logprob_gap = 1e-6
    return run


def test_an_engine_that_is_not_the_trainer_ends_the_run():
    with pytest.raises(RuntimeError, match=r"over train\.max_logprob_gap = 1\.00e-06: the engine does not hold"):
        train_on_batch(run_with_a_gap(Config()))


def test_sampling_that_leaves_out_tokens_is_named_as_the_likelier_cause():
    config = Config()
    config.rollout.top_p = 0.9
    with pytest.raises(RuntimeError, match=r"rollout\.top_p = 0\.9 and rollout\.top_k = 0 leave out tokens"):
        train_on_batch(run_with_a_gap(config))
