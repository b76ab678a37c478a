"""Log-probs that stay fixed: computed where the loss needs them and nowhere else, equal to a plain forward pass."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from rft.config import Config, LoraConfig
from rft.grpo.forest_attention import FOREST_ATTENTION
from rft.grpo.frozen_logprobs import ScoredSample, goes_through_model, has_dropout, score_shares
from rft.grpo.logprobs import dense_logprobs
from rft.models import add_lora
from rft.records import Sample
from tests.tiny import random_samples, tiny_qwen3

LENGTHS = [(5, 3), (5, 4), (6, 2), (6, 7), (4, 5), (4, 1)]
SAMPLES = random_samples(LENGTHS)
SHARES = [SAMPLES[:2], SAMPLES[2:4], SAMPLES[4:]]


def config(**changes: object) -> Config:
    result = Config()
    for key, value in changes.items():
        setattr(result.train, key, value)
    return result


def policy() -> torch.nn.Module:
    return tiny_qwen3(tied=False, attn_implementation=FOREST_ATTENTION).train()


def score(
    settings: Config, shares: list[list[Sample]], reference: torch.nn.Module | None = None
) -> list[list[ScoredSample]]:
    return score_shares(settings, Accelerator(cpu=True), policy(), reference, shares)


def are_equal(found: torch.Tensor | None, sample: Sample) -> bool:
    """To those of the policy, computed plainly."""
    assert found is not None and not found.requires_grad
    with torch.no_grad():
        return torch.allclose(found, dense_logprobs(policy(), [sample], 1.0, entropy=False).logps, atol=1e-5)


@pytest.mark.parametrize("num_iterations", [1, 2])
def test_the_first_share_has_no_old_logprobs_and_the_others_have_theirs(num_iterations: int) -> None:
    first, *others = score(config(num_iterations=num_iterations), SHARES)
    assert [scored.old_logps for scored in first] == [None, None]
    for share, scored in zip(SHARES[1:], others, strict=True):
        assert [item.sample for item in scored] == share
        assert all(are_equal(item.old_logps, item.sample) and item.ref_logps is None for item in scored)


def test_a_sample_without_a_gradient_goes_through_no_model() -> None:
    """But for the first one of a share that has none with a gradient: engine and trainer are compared on it."""
    idle = [replace(sample, advantage=0.0) for sample in SAMPLES]
    _, mixed, none = score(config(), [SAMPLES[:2], [idle[2], SAMPLES[3]], idle[4:]])
    assert mixed[0].old_logps is None and are_equal(mixed[1].old_logps, SAMPLES[3])
    assert none[1].old_logps is None and are_equal(none[0].old_logps, SAMPLES[4])


def test_a_kl_term_needs_every_sample() -> None:
    idle = [replace(sample, advantage=0.0) for sample in SAMPLES]
    assert goes_through_model(config(beta=0.1).train, idle) == [True] * 6
    assert goes_through_model(config().train, idle) == [True] + [False] * 5
    assert goes_through_model(config().train, [idle[0], SAMPLES[1]]) == [False, True]
    assert goes_through_model(config().train, []) == []
    for scored in score(config(beta=0.1), [idle[:3], idle[3:]], reference=policy().eval()):
        assert all(are_equal(item.ref_logps, item.sample) for item in scored)


def test_dropout_is_no_part_of_old_logprobs() -> None:
    """What the first step computes is then not what the policy was: with a second iteration a pass gives that."""
    model = policy()
    assert not has_dropout(model)
    model.model.layers[0].self_attn.attention_dropout = 0.1
    assert has_dropout(model)
    for dropout, num_iterations, expected in ((0.0, 2, False), (0.5, 1, False), (0.5, 2, True)):
        lora = LoraConfig(r=2, lora_dropout=dropout)
        adapted = add_lora(policy(), lora).train()
        assert has_dropout(adapted) == (dropout > 0)
        settings = config(num_iterations=num_iterations)
        scored = score_shares(settings, Accelerator(cpu=True), adapted, None, [SAMPLES])[0]
        assert (scored[0].old_logps is not None) == expected
        if expected:
            assert all(are_equal(item.old_logps, item.sample) for item in scored)


def test_the_model_is_as_it_was_afterwards() -> None:
    model = policy()
    before = copy.deepcopy(model.state_dict())
    score_shares(config(), Accelerator(cpu=True), model, None, SHARES)
    assert model.training
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


def test_no_samples_are_nothing_to_score() -> None:
    assert score(config(beta=0.1), [[], []], reference=policy()) == [[], []]
