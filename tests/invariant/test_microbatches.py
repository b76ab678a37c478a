"""Micro-batches of any size add up to the whole batch: loss, every gradient, every metric, in float32."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rft.config import TrainConfig
from rft.grpo import logprobs
from rft.grpo.logprobs import dense_logprobs
from rft.grpo.loss import StepTotals, merge_metrics, metric_values, policy_loss
from rft.grpo.samples import trained_tokens
from tests.tiny import VOCAB_SIZE, gradient_difference, gradients, random_samples, tiny_qwen3

TOLERANCE = 5e-6
SAMPLES = random_samples([(5, 7), (5, 3), (9, 12), (9, 1), (2, 6), (2, 10), (2, 4)])
TOTALS = StepTotals(
    num_tokens=sum(len(sample.completion_ids) for sample in SAMPLES), num_samples=len(SAMPLES), max_completion_length=12
)


LENGTHS = [len(sample.completion_ids) for sample in SAMPLES]
TEMPERATURE = 0.9


def noise(seed: int) -> Tensor:
    return 0.3 * torch.randn(TOTALS.num_tokens, generator=torch.Generator().manual_seed(seed))


def step(config: TrainConfig, tied: bool, size: int) -> tuple[float, dict[str, Tensor], dict[str, float]]:
    """Loss, gradients and metrics of one optimizer step in micro-batches of `size`."""
    model = tiny_qwen3(tied)
    with torch.no_grad():
        logps = dense_logprobs(model, SAMPLES, TEMPERATURE, entropy=False).logps
    old_logps, ref_logps = ((logps + noise(seed)).split(LENGTHS) for seed in (1, 2))
    loss, metrics = 0.0, []
    for start in range(0, len(SAMPLES), size):
        indices = range(len(SAMPLES))[start : start + size]
        batch = [SAMPLES[i] for i in indices]
        terms = policy_loss(
            dense_logprobs(model, batch, TEMPERATURE, entropy=True),
            trained_tokens(batch, torch.device("cpu")),
            old_logps=torch.cat([old_logps[i] for i in indices]),
            ref_logps=torch.cat([ref_logps[i] for i in indices]),
            config=config,
            totals=TOTALS,
        )
        terms.loss.backward()
        loss += terms.loss.item()
        metrics.append(terms.metrics)
    return loss, gradients(model), metric_values(merge_metrics(metrics))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("importance_sampling_level", ["token", "sequence"])
@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
def test_any_packing_is_the_whole_batch(loss_type: Any, importance_sampling_level: Any, tied: bool) -> None:
    config = TrainConfig(loss_type=loss_type, importance_sampling_level=importance_sampling_level, beta=0.05)
    loss, grads, metrics = step(config, tied, size=len(SAMPLES))
    for size in (1, 2, 3):
        part_loss, part_grads, part_metrics = step(config, tied, size)
        assert part_loss == pytest.approx(loss, rel=TOLERANCE)
        assert gradient_difference(part_grads, grads) <= TOLERANCE
        assert part_metrics == pytest.approx(metrics, rel=1e-5)


def test_chunks_of_logits_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few logits are made at a time, the step is the same."""
    loss, grads, metrics = step(TrainConfig(), tied=True, size=3)
    for tokens_per_chunk in (1, 5):
        monkeypatch.setattr(logprobs, "CHUNK_ELEMENTS", tokens_per_chunk * VOCAB_SIZE)
        part_loss, part_grads, part_metrics = step(TrainConfig(), tied=True, size=3)
        assert part_loss == pytest.approx(loss, rel=TOLERANCE)
        assert gradient_difference(part_grads, grads) <= TOLERANCE
        assert part_metrics == pytest.approx(metrics, rel=1e-5)
