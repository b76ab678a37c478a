"""The loop on one batch equals the plain way, in which the old log-probs of every sample are computed beforehand.

And it makes no pass that the loss does not need: the tokens that go through the model are counted.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from rft.config import Config
from rft.grpo.logprobs import dense_logprobs
from rft.grpo.loss import StepTotals, policy_loss
from rft.grpo.samples import trained_tokens
from rft.grpo.train import train_on_batch
from rft.records import Sample
from tests.invariant.fixed_samples import run_on
from tests.tiny import random_samples, tiny_qwen3

LENGTHS = [(5, 7), (5, 3), (9, 12), (9, 2), (2, 6), (2, 10), (7, 4), (7, 5)]
"""Four questions of two siblings each."""
LEARNING_RATE = 0.02
CPU = torch.device("cpu")


def batch(idle: Sequence[int] = ()) -> list[Sample]:
    """The samples of a batch; those of the questions in `idle` have no advantage."""
    return [
        replace(sample, place=index // 2, advantage=0.0 if index // 2 in idle else sample.advantage)
        for index, sample in enumerate(random_samples(LENGTHS))
    ]


def config_of(steps_per_generation: int, num_iterations: int, beta: float) -> Config:
    config = Config()
    config.rollout.questions_per_batch = 4
    train = config.train
    train.steps_per_generation, train.num_iterations, train.beta = steps_per_generation, num_iterations, beta
    train.shared_prefix = False
    train.per_device_train_batch_size = 3
    train.epsilon = 0.05  # so narrow that some tokens are clipped at the second step already
    train.max_grad_norm = 1e9
    return config


def models() -> tuple[torch.nn.Module, torch.nn.Module]:
    """The policy, and a reference model that differs from it."""
    return tiny_qwen3(tied=True), tiny_qwen3(tied=True, seed=1).requires_grad_(False).eval()


def loop(
    config: Config, samples: list[Sample], policy: torch.nn.Module, reference: torch.nn.Module
) -> dict[str, float]:
    """The batch through the loop of a run; metrics, means over its steps."""
    optimizer = torch.optim.SGD(policy.parameters(), lr=LEARNING_RATE)
    run = run_on(
        samples, config, Accelerator(cpu=True),
        policy=policy, reference=reference if config.train.beta else None, optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0),
    )  # fmt: skip
    return train_on_batch(run)


def plainly(
    config: Config, samples: list[Sample], policy: torch.nn.Module, reference: torch.nn.Module
) -> tuple[list[float], list[float]]:
    """The same batch with all old log-probs computed beforehand, whole shares densely; losses and gradient norms."""
    train = config.train

    def frozen(model: torch.nn.Module, share: Sequence[Sample]) -> Tensor:
        with torch.no_grad():
            return dense_logprobs(model, share, config.rollout.temperature, entropy=False).logps

    size = len(samples) // train.steps_per_generation
    shares = [samples[start : start + size] for start in range(0, len(samples), size)]
    old = [frozen(policy, share) for share in shares]
    optimizer = torch.optim.SGD(policy.parameters(), lr=LEARNING_RATE)
    losses, norms = [], []
    for number in [*range(len(shares))] * train.num_iterations:
        share = shares[number]
        if not (train.beta or any(sample.advantage for sample in share)):
            losses.append(0.0)
            norms.append(0.0)
            continue
        terms = policy_loss(
            dense_logprobs(policy, share, config.rollout.temperature, entropy=True),
            trained_tokens(share, CPU),
            old_logps=old[number],
            ref_logps=frozen(reference, share) if train.beta else None,
            config=train,
            totals=StepTotals(
                num_tokens=sum(len(sample.completion_ids) for sample in share),
                num_samples=len(share),
                max_completion_length=12,
            ),
        )
        terms.loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(policy.parameters(), train.max_grad_norm).item())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(terms.loss.item())
    return losses, norms


@pytest.mark.parametrize("beta", [0.0, 0.1])
@pytest.mark.parametrize(("steps", "iterations"), [(1, 1), (2, 1), (1, 3), (2, 2)])
@pytest.mark.parametrize("idle", [(), (0, 3), (0, 1)], ids=["all learn", "two are idle", "the first share is idle"])
def test_a_batch_equals_the_plain_way(steps: int, iterations: int, beta: float, idle: tuple[int, ...]) -> None:
    config, samples = config_of(steps, iterations, beta), batch(idle)
    policy, reference = models()
    plain = copy.deepcopy(policy)
    metrics = loop(config, samples, policy, reference)
    losses, norms = plainly(config, samples, plain, reference)
    assert metrics["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-6, abs=1e-6)
    assert metrics["grad_norm"] == pytest.approx(sum(norms) / len(norms), rel=1e-6)
    if steps * iterations > 2:
        assert metrics["clip_ratio/region_mean"] > 0
    for (name, ours), theirs in zip(policy.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-6), name


def tokens_by_mode(config: Config, samples: list[Sample]) -> dict[str, int]:
    """Tokens through the policy in evaluation mode (`frozen`) and in training mode, and through the reference."""
    policy, reference = models()
    found = {"frozen": 0, "trained": 0, "reference": 0}

    def count(module: torch.nn.Module, _: Any, inputs: dict[str, Any]) -> None:
        name = "reference" if module is reference else "trained" if module.training else "frozen"
        found[name] += inputs["input_ids"].numel()

    for model in (policy, reference):
        model.register_forward_pre_hook(count, with_kwargs=True)
    loop(config, samples, policy, reference)
    return found


def size(*samples: int) -> int:
    return sum(sum(LENGTHS[index]) for index in samples)


def test_only_what_the_loss_needs_goes_through_the_model() -> None:
    every, idle = batch(), batch(idle=(0, 3))

    def tokens(steps: int, iterations: int, beta: float, samples: list[Sample]) -> dict[str, int]:
        config = config_of(steps, iterations, beta)
        config.train.per_device_train_batch_size = 1  # so that nothing is padded
        return tokens_by_mode(config, samples)

    whole = size(*range(8))
    assert tokens(1, 1, 0.0, every) == {"frozen": 0, "trained": whole, "reference": 0}
    assert tokens(1, 3, 0.0, every) == {"frozen": 0, "trained": 3 * whole, "reference": 0}
    assert tokens(2, 1, 0.0, every) == {"frozen": size(4, 5, 6, 7), "trained": whole, "reference": 0}
    # Questions 0 and 3 have no advantage: of the second share, only question 2 needs old log-probs.
    assert tokens(2, 1, 0.0, idle) == {"frozen": size(4, 5), "trained": size(2, 3, 4, 5), "reference": 0}
    assert tokens(2, 2, 0.0, idle) == {"frozen": size(4, 5), "trained": 2 * size(2, 3, 4, 5), "reference": 0}
    # With a KL term every sample is trained on, and needs the reference model.
    assert tokens(2, 1, 0.1, idle) == {"frozen": size(4, 5, 6, 7), "trained": whole, "reference": whole}


def test_the_report_tells_the_passes_apart() -> None:
    metrics = loop(config_of(2, 1, 0.0), batch(), *models())
    assert metrics["time/logprobs_s"] > 0 and metrics["time/update_s"] > 0
