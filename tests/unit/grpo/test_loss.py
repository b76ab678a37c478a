"""The loss on numbers small enough to check by hand; equality with trl is in tests/invariant."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rft.config import TrainConfig
from rft.grpo.logprobs import TokenLogprobs
from rft.grpo.loss import LossTerms, StepTotals, kl_divergence, merge_metrics, metric_values, policy_loss
from rft.grpo.samples import TrainedTokens

TOTALS = StepTotals(num_tokens=3, num_samples=2, max_completion_length=4)
NO_CORRECTION: dict[str, Any] = {"vllm_importance_sampling_correction": False}


def tokens(
    advantages: list[float],
    lengths: list[int],
    sampling_logps: list[float] | None = None,
    weights: list[float] | None = None,
) -> TrainedTokens:
    """Samples of the given lengths, one advantage each."""
    index = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    return TrainedTokens(
        advantages=torch.tensor(advantages)[index],
        sampling_logps=torch.tensor(sampling_logps) if sampling_logps else torch.full((sum(lengths),), -1.0),
        sample_index=index,
        weights=torch.tensor(weights) if weights else torch.ones(len(lengths)),
        num_samples=len(lengths),
    )


def loss_at(ratios: list[float], batch: TrainedTokens, totals: StepTotals = TOTALS, **config: Any) -> LossTerms:
    """The loss where pi / pi_old is `ratios`; the old policy gave every token the log-prob -1."""
    current = (torch.tensor(ratios).log() - 1).requires_grad_()
    terms = policy_loss(
        TokenLogprobs(logps=current, entropies=torch.full_like(current, 2.0).detach(), num_computed=0),
        batch,
        old_logps=torch.full_like(current, -1.0).detach(),
        ref_logps=torch.full_like(current, -1.5).detach(),
        config=TrainConfig(**config),
        totals=totals,
    )
    terms.loss.backward()
    assert current.grad is not None
    terms.metrics["grad"] = current.grad
    return terms


@pytest.mark.parametrize(
    ("loss_type", "weights"),
    [
        ("dapo", [1 / 3, 1 / 3, 1 / 3]),
        ("grpo", [1 / 4, 1 / 4, 1 / 2]),
        ("dr_grpo", [1 / 8, 1 / 8, 1 / 8]),
    ],
)
def test_what_a_token_counts(loss_type: str, weights: list[float]) -> None:
    """On policy the gradient of a token's log-prob is minus its weight times its advantage."""
    terms = loss_at([1.0, 1.0, 1.0], tokens([0.5, -1.5], [2, 1]), loss_type=loss_type, **NO_CORRECTION)
    advantages = [0.5, 0.5, -1.5]
    assert terms.loss.item() == pytest.approx(-sum(w * a for w, a in zip(weights, advantages, strict=True)))
    expected = [-w * a for w, a in zip(weights, advantages, strict=True)]
    assert terms.metrics["grad"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
def test_a_sample_of_weight_two_is_the_sample_twice(loss_type: str) -> None:
    heavy = tokens([0.5, -0.5], [2, 1], weights=[2.0, 1.0])
    once = loss_at([1.0, 1.1, 0.9], heavy, StepTotals(num_tokens=5.0, num_samples=3.0, max_completion_length=4),
                   loss_type=loss_type, **NO_CORRECTION)  # fmt: skip
    double = tokens([0.5, 0.5, -0.5], [2, 2, 1])
    twice = loss_at([1.0, 1.1, 1.0, 1.1, 0.9], double, StepTotals(num_tokens=5, num_samples=3, max_completion_length=4),
                    loss_type=loss_type, **NO_CORRECTION)  # fmt: skip
    assert once.loss.item() == pytest.approx(twice.loss.item())


@pytest.mark.parametrize(
    ("ratio", "advantage", "value", "has_gradient"),
    [
        (1.1, 1.0, 1.1, True),
        (1.5, 1.0, 1.3, False),  # good and already much likelier: no further
        (0.5, 1.0, 0.5, True),
        (0.9, -1.0, -0.9, True),
        (0.5, -1.0, -0.8, False),  # bad and already much less likely: no further
        (1.5, -1.0, -1.5, True),
    ],
)
def test_clipping(ratio: float, advantage: float, value: float, has_gradient: bool) -> None:
    totals = StepTotals(num_tokens=1, num_samples=1, max_completion_length=1)
    terms = loss_at([ratio], tokens([advantage], [1]), totals, epsilon=0.2, epsilon_high=0.3, **NO_CORRECTION)
    assert terms.loss.item() == pytest.approx(-value)
    assert bool(terms.metrics["grad"].any()) == has_gradient
    clipped = metric_values({k: v for k, v in terms.metrics.items() if k.startswith("clip_ratio")})
    assert clipped["clip_ratio/region_mean"] == (0.0 if has_gradient else 1.0)
    assert clipped["clip_ratio/high_mean"] == (1.0 if value == 1.3 else 0.0)
    assert clipped["clip_ratio/low_mean"] == (1.0 if value == -0.8 else 0.0)


def test_sequence_level_takes_the_geometric_mean_of_a_sample() -> None:
    batch = tokens([1.0, 1.0], [2, 1])
    terms = loss_at([2.0, 0.5, 1.1], batch, importance_sampling_level="sequence", loss_type="grpo", **NO_CORRECTION)
    assert terms.loss.item() == pytest.approx(-(1.0 + 1.1) / 2)
    assert terms.metrics["grad"].tolist() == pytest.approx([-0.25, -0.25, -0.55])
    assert terms.metrics["clip_ratio/region_mean"].tolist() == [0.0, 2.0], "counted in samples"


def test_truncated_importance_sampling() -> None:
    """Weights pi_old / pi_engine of 4 and 0.5; the first is cut to 2."""
    batch = tokens([1.0], [2], sampling_logps=[-1 - math.log(4), -1 + math.log(2)])
    totals = StepTotals(num_tokens=2, num_samples=1, max_completion_length=4)
    terms = loss_at([1.0, 1.0], batch, totals, vllm_importance_sampling_clip_max=2.0)
    assert terms.loss.item() == pytest.approx(-(2.0 + 0.5) / 2)
    del terms.metrics["grad"]
    values = metric_values(terms.metrics)
    assert values["sampling/importance_sampling_ratio/max"] == pytest.approx(2.0)
    assert values["sampling/importance_sampling_ratio/mean"] == pytest.approx(1.25)
    assert values["sampling/importance_sampling_ratio/min"] == pytest.approx(0.5)
    assert values["sampling/sampling_logp_difference/max"] == pytest.approx(math.log(4))
    assert values["sampling/sampling_logp_difference/mean"] == pytest.approx((math.log(4) + math.log(2)) / 2)
    assert values["entropy"] == pytest.approx(2.0)
    assert "kl" not in values


def test_the_kl_term() -> None:
    batch = tokens([0.0], [1])
    totals = StepTotals(num_tokens=1, num_samples=1, max_completion_length=1)
    terms = loss_at([1.2], batch, totals, beta=0.5, **NO_CORRECTION)
    log_ratio = -1.5 - (math.log(1.2) - 1)
    expected = 1.2 * (math.exp(log_ratio) - log_ratio - 1)
    assert terms.loss.item() == pytest.approx(0.5 * expected)
    assert terms.metrics["kl"].tolist() == pytest.approx([expected, 1.0])


def test_on_policy_the_kl_gradient_is_that_of_the_divergence_itself() -> None:
    """Averaged over the policy's own tokens: d KL(pi || pi_ref) / d logits, exactly (arXiv 2512.02556)."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, generator=generator, dtype=torch.float64).requires_grad_()
    reference = torch.randn(7, generator=generator, dtype=torch.float64).log_softmax(-1)
    logps = logits.log_softmax(-1)
    estimate = ((logps - logps.detach()).exp() * kl_divergence(logps, reference) * logps.detach().exp()).sum()
    exact = (logps.exp() * (logps - reference)).sum()
    (from_estimate,) = torch.autograd.grad(estimate, logits, retain_graph=True)
    (from_exact,) = torch.autograd.grad(exact, logits)
    assert estimate.item() == pytest.approx(exact.item())
    torch.testing.assert_close(from_estimate, from_exact)


@given(st.lists(st.tuples(st.floats(-20, 0), st.floats(-20, 0)), min_size=1, max_size=5))
def test_the_divergence_is_never_negative(pairs: list[tuple[float, float]]) -> None:
    values = torch.tensor(pairs, dtype=torch.float64)
    assert (kl_divergence(values[:, 0], values[:, 1]) >= -1e-12).all()


def test_without_old_log_probs_the_ratio_is_one_and_the_gradient_flows() -> None:
    logps = torch.tensor([-0.3, -2.0]).requires_grad_()
    batch = tokens([1.0], [2], sampling_logps=[-0.3, -2.0])
    totals = StepTotals(num_tokens=2, num_samples=1, max_completion_length=4)
    terms = policy_loss(
        TokenLogprobs(logps=logps, entropies=None, num_computed=0),
        batch,
        old_logps=None,
        ref_logps=None,
        config=TrainConfig(),
        totals=totals,
    )
    terms.loss.backward()
    assert terms.loss.item() == pytest.approx(-1.0)
    assert logps.grad is not None and logps.grad.tolist() == pytest.approx([-0.5, -0.5])
    assert metric_values(terms.metrics)["sampling/sampling_logp_difference/mean"] == 0.0
    assert "entropy" not in terms.metrics


def test_metrics_of_parts_are_those_of_the_union() -> None:
    def metrics(values: list[float]) -> dict[str, Tensor]:
        tensor = torch.tensor(values)
        return {
            "x/mean": torch.stack([tensor.sum(), torch.tensor(float(len(values)))]),
            "x/min": tensor.min(),
            "x/max": tensor.max(),
        }

    parts = [[1.0, 5.0], [-2.0], [3.0, 3.0, 3.0]]
    merged = metric_values(merge_metrics([metrics(part) for part in parts]))
    assert merged == metric_values(metrics([value for part in parts for value in part]))
    assert merged == pytest.approx({"x/mean": 13 / 6, "x/min": -2.0, "x/max": 5.0})
