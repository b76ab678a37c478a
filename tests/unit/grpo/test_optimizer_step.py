"""One optimizer step: equal to the plain whole-batch step, whatever is skipped or split."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from rft.config import Config
from rft.grpo.forest_attention import FOREST_ATTENTION
from rft.grpo.frozen_logprobs import ScoredSample, score_shares
from rft.grpo.logprobs import dense_logprobs
from rft.grpo.loss import StepTotals, policy_loss
from rft.grpo.optimizer_step import optimizer_step
from rft.grpo.samples import trained_tokens
from rft.records import Sample
from tests.tiny import random_samples, tiny_qwen3

LENGTHS = [(5, 3), (5, 4), (6, 2), (6, 7), (4, 5), (4, 1)]
EIGHT = {"max_completion_length": 8}


def config(**changes: object) -> Config:
    result = Config()
    result.train.per_device_train_batch_size = 2
    result.train.learning_rate = 1e-2
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
@pytest.mark.parametrize("num_zero", [0, 3])
def test_the_step_is_that_of_the_whole_batch(loss_type: str, num_zero: int, shared_prefix: bool):
    settings = config(loss_type=loss_type, shared_prefix=shared_prefix, max_tokens_per_microbatch=24)
    samples = random_samples(LENGTHS)
    samples = [replace(s, advantage=0.0) if i < num_zero else s for i, s in enumerate(samples)]
    ours, plain = tiny_qwen3(tied=True, attn_implementation=FOREST_ATTENTION), tiny_qwen3(tied=True)

    optimizer, scheduler = optimizer_of(ours)
    step = optimizer_step(settings, Accelerator(cpu=True), ours, optimizer, scheduler, scored(samples), **EIGHT)
    metrics = step.metrics

    totals = StepTotals(num_tokens=sum(c for _, c in LENGTHS), num_samples=6, max_completion_length=8)
    current = dense_logprobs(plain, samples, 1.0, entropy=True)
    tokens = trained_tokens(samples, torch.device("cpu"))
    terms = policy_loss(current, tokens, old_logps=None, ref_logps=None, config=settings.train, totals=totals)
    terms.loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), settings.train.max_grad_norm)
    torch.optim.SGD(plain.parameters(), lr=1e-2).step()

    assert metrics["loss"] == pytest.approx(terms.loss.item(), abs=1e-6)
    assert metrics["grad_norm"] == pytest.approx(norm.item(), rel=1e-5, abs=1e-9)
    assert metrics["completions/trained_ratio"] == pytest.approx((6 - num_zero) / 6)
    assert metrics["update/skipped"] == 0.0
    num_path_tokens = sum(p + c for (p, c), s in zip(LENGTHS, samples, strict=True) if s.advantage)
    assert metrics["update/num_tokens"] == pytest.approx(metrics["update/unique_token_ratio"] * num_path_tokens)
    for (name, left), right in zip(ours.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(left, right, atol=1e-7, rtol=1e-5), name


def test_a_step_that_is_not_finite_leaves_the_weights():
    model = tiny_qwen3(tied=True, attn_implementation=FOREST_ATTENTION)
    before = copy.deepcopy(model.state_dict())
    samples = [replace(s, advantage=float("nan")) for s in random_samples(LENGTHS)]
    optimizer, scheduler = optimizer_of(model)
    with pytest.raises(RuntimeError, match="loss is nan"):
        optimizer_step(config(), Accelerator(cpu=True), model, optimizer, scheduler, scored(samples), **EIGHT)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


def adamw(model: torch.nn.Module) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    return optimizer, torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.1, total_iters=10)


def all_zero(samples: list[Sample]) -> list[Sample]:
    return [replace(sample, advantage=0.0) for sample in samples]


@pytest.mark.parametrize("shared_prefix", [True, False])
@pytest.mark.parametrize("num_samples", [6, 0], ids=["no advantage", "no sample"])
def test_a_step_with_nothing_to_learn_moves_nothing(num_samples: int, shared_prefix: bool):
    """Neither by weight decay nor by the momentum of the step before; only the schedule goes on."""
    settings, accelerator = config(shared_prefix=shared_prefix), Accelerator(cpu=True)
    model = tiny_qwen3(tied=True, attn_implementation=FOREST_ATTENTION)
    optimizer, scheduler = adamw(model)
    samples = random_samples(LENGTHS)
    first = optimizer_step(settings, accelerator, model, optimizer, scheduler, scored(samples), **EIGHT).metrics
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()["state"]))
    assert any(moments["exp_avg"].any() for moments in before[1].values())

    idle = scored(all_zero(samples)[:num_samples])
    metrics = optimizer_step(settings, accelerator, model, optimizer, scheduler, idle, **EIGHT).metrics

    assert metrics.keys() == first.keys()
    assert (metrics["update/skipped"], metrics["loss"], metrics["grad_norm"]) == (1.0, 0.0, 0.0)
    assert metrics["completions/trained_ratio"] == 0.0
    assert (first["learning_rate"], metrics["learning_rate"]) == pytest.approx((1e-2, 0.91e-2))
    assert scheduler.get_last_lr() == pytest.approx([0.82e-2])
    after = model.state_dict()
    assert all(torch.equal(before[0][name], weight) for name, weight in after.items())
    state = optimizer.state_dict()["state"]
    assert state.keys() == before[1].keys()
    for index, moments in state.items():
        assert all(torch.equal(before[1][index][name], value) for name, value in moments.items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training


def test_a_skipped_step_compares_engine_and_trainer_on_one_sample():
    model = tiny_qwen3(tied=True, attn_implementation=FOREST_ATTENTION)
    samples = all_zero(random_samples(LENGTHS))
    step = optimizer_step(config(), Accelerator(cpu=True), model, *adamw(model), scored(samples), **EIGHT)
    metrics = step.metrics
    with torch.no_grad():
        logps = dense_logprobs(model, samples[:1], 1.0, entropy=False).logps
    gap = (logps - torch.tensor(samples[0].sampling_logprobs)).abs().mean().item()
    assert metrics["sampling/sampling_logp_difference/mean"] == pytest.approx(gap, rel=1e-5)
    assert metrics["update/num_tokens"] == sum(LENGTHS[0])
    assert metrics["update/unique_token_ratio"] == 1.0


def test_a_run_that_skips_its_first_step_goes_on_as_one_that_did_not(recwarn: pytest.WarningsRecorder):
    """A skipped step leaves nothing behind that a later step would feel, but the schedule's place."""
    first, second = (tiny_qwen3(tied=True, attn_implementation=FOREST_ATTENTION) for _ in range(2))
    samples = random_samples(LENGTHS)
    optimizer, scheduler = optimizer_of(first)
    for batch in (all_zero(samples), samples):
        optimizer_step(config(), Accelerator(cpu=True), first, optimizer, scheduler, scored(batch), **EIGHT)
    optimizer_step(config(), Accelerator(cpu=True), second, *optimizer_of(second), scored(samples), **EIGHT)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not [warning for warning in recwarn if "lr_scheduler" in str(warning.message)]


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_the_metrics_of_no_sample_have_the_names_of_any(beta: float):
    settings = config(beta=beta)
    model, reference = (tiny_qwen3(tied=True, attn_implementation=FOREST_ATTENTION) for _ in range(2))
    optimizer, scheduler = optimizer_of(model)
    names = []
    for samples in (random_samples(LENGTHS), []):
        share = score_shares(settings, Accelerator(cpu=True), model, reference, [samples])[0]
        step = optimizer_step(settings, Accelerator(cpu=True), model, optimizer, scheduler, share, **EIGHT)
        names.append(step.metrics.keys())
    assert names[0] == names[1]
    assert ("kl" in names[0]) == (beta > 0)
