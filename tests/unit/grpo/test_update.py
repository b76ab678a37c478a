"""One optimizer step: equal to the plain whole-batch step, whatever is skipped or split."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from rft.config import Config
from rft.grpo.forest_attention import NAME
from rft.grpo.logprobs import dense_logprobs
from rft.grpo.loss import StepTotals, policy_loss
from rft.grpo.samples import trained_tokens
from rft.grpo.update import ScoredSample, score_samples, update, with_gradient
from rft.records import Sample
from tests.tiny import random_samples, tiny_qwen3

LENGTHS = [(5, 3), (5, 4), (6, 2), (6, 7), (4, 5), (4, 1)]


def config(**changes: object) -> Config:
    result = Config()
    result.train.per_device_train_batch_size = 2
    result.train.learning_rate = 1e-2
    result.rollout.max_completion_length = 8
    for key, value in changes.items():
        setattr(result.train, key, value)
    return result


def scored(samples: list[Sample]) -> list[ScoredSample]:
    return [ScoredSample(sample=sample, old_logps=None, ref_logps=None) for sample in samples]


def optimizer_of(model: torch.nn.Module) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    return optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


@pytest.mark.parametrize("shared_prefix", [True, False])
@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
@pytest.mark.parametrize("num_zero", [0, 3, 6])
def test_the_step_is_that_of_the_whole_batch(loss_type: str, num_zero: int, shared_prefix: bool):
    settings = config(loss_type=loss_type, shared_prefix=shared_prefix, max_tokens_per_microbatch=24)
    samples = random_samples(LENGTHS)
    samples = [replace(s, advantage=0.0) if i < num_zero else s for i, s in enumerate(samples)]
    ours, plain = tiny_qwen3(tied=True, attn_implementation=NAME), tiny_qwen3(tied=True)

    optimizer, scheduler = optimizer_of(ours)
    metrics = update(settings, Accelerator(cpu=True), ours, optimizer, scheduler, scored(samples))

    totals = StepTotals(num_tokens=sum(c for _, c in LENGTHS), num_samples=6, max_completion_length=8)
    current = dense_logprobs(plain, samples, 1.0, entropy=True)
    tokens = trained_tokens(samples, torch.device("cpu"))
    terms = policy_loss(current, tokens, old_logps=None, ref_logps=None, config=settings.train, totals=totals)
    terms.loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), settings.train.max_grad_norm)
    torch.optim.SGD(plain.parameters(), lr=1e-2).step()

    assert metrics["loss"] == pytest.approx(terms.loss.item(), abs=1e-6)
    assert metrics["grad_norm"] == pytest.approx(norm.item(), rel=1e-5, abs=1e-9)
    assert metrics["completions/trained_ratio"] == pytest.approx((6 - num_zero or 1) / 6)
    num_path_tokens = sum(p + c for (p, c), s in zip(LENGTHS, samples, strict=True) if num_zero == 6 or s.advantage)
    if num_zero == 6:
        num_path_tokens = sum(LENGTHS[0])
    assert metrics["update/num_tokens"] == pytest.approx(metrics["update/unique_token_ratio"] * num_path_tokens)
    for (name, left), right in zip(ours.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(left, right, atol=1e-7, rtol=1e-5), name


def test_a_kl_term_needs_every_sample():
    samples = scored([replace(s, advantage=0.0) for s in random_samples(LENGTHS)])
    assert with_gradient(config(beta=0.1), samples) == samples


def test_a_step_that_is_not_finite_leaves_the_weights():
    model = tiny_qwen3(tied=True, attn_implementation=NAME)
    before = copy.deepcopy(model.state_dict())
    samples = [replace(s, advantage=float("nan")) for s in random_samples(LENGTHS)]
    optimizer, scheduler = optimizer_of(model)
    with pytest.raises(RuntimeError, match="loss is nan"):
        update(config(), Accelerator(cpu=True), model, optimizer, scheduler, scored(samples))
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


def test_old_logprobs_are_kept_only_when_several_updates_need_them():
    model, samples = tiny_qwen3(tied=False, attn_implementation=NAME), random_samples(LENGTHS)
    accelerator = Accelerator(cpu=True)
    assert score_samples(config(), accelerator, model, None, samples)[0].old_logps is None
    kept = score_samples(config(num_iterations=2, beta=0.1), accelerator, model, copy.deepcopy(model), samples)
    with torch.no_grad():
        expected = dense_logprobs(model, samples, 1.0, entropy=False).logps
    old = torch.cat([s.old_logps for s in kept if s.old_logps is not None])
    ref = torch.cat([s.ref_logps for s in kept if s.ref_logps is not None])
    assert torch.allclose(old, expected, atol=1e-5)
    assert torch.allclose(ref, expected, atol=1e-5)
