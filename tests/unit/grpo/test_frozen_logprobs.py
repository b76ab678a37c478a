"""Log-probs that stay fixed: computed where the loss needs them, equal to a plain forward pass."""

from __future__ import annotations

import copy

import pytest
import torch
from accelerate import Accelerator

from rft.config import Config
from rft.grpo.forest_attention import FOREST_ATTENTION
from rft.grpo.frozen_logprobs import score_samples
from rft.grpo.logprobs import dense_logprobs
from tests.tiny import random_samples, tiny_qwen3

LENGTHS = [(5, 3), (5, 4), (6, 2), (6, 7), (4, 5), (4, 1)]


def config(**changes: object) -> Config:
    result = Config()
    for key, value in changes.items():
        setattr(result.train, key, value)
    return result


@pytest.mark.parametrize("several", ["num_iterations", "steps_per_generation"])
def test_old_logprobs_are_kept_only_when_several_steps_need_them(several: str) -> None:
    model, samples = tiny_qwen3(tied=False, attn_implementation=FOREST_ATTENTION), random_samples(LENGTHS)
    accelerator = Accelerator(cpu=True)
    assert score_samples(config(), accelerator, model, None, samples)[0].old_logps is None
    kept = score_samples(config(**{several: 2}, beta=0.1), accelerator, model, copy.deepcopy(model), samples)
    with torch.no_grad():
        expected = dense_logprobs(model, samples, 1.0, entropy=False).logps
    old = torch.cat([s.old_logps for s in kept if s.old_logps is not None])
    ref = torch.cat([s.ref_logps for s in kept if s.ref_logps is not None])
    assert torch.allclose(old, expected, atol=1e-5)
    assert torch.allclose(ref, expected, atol=1e-5)


def test_the_model_is_as_it_was_afterwards() -> None:
    model = tiny_qwen3(tied=False, attn_implementation=FOREST_ATTENTION).train()
    scored = score_samples(config(num_iterations=2), Accelerator(cpu=True), model, None, random_samples(LENGTHS))
    assert model.training
    assert all(sample.old_logps is not None and not sample.old_logps.requires_grad for sample in scored)


def test_no_samples_are_nothing_to_score() -> None:
    model = tiny_qwen3(tied=False, attn_implementation=FOREST_ATTENTION)
    assert score_samples(config(num_iterations=2, beta=0.1), Accelerator(cpu=True), model, model, []) == []
