"""The clipped policy-gradient loss, in the flat layout, additive over micro-batches and ranks.

Shapes: N trained tokens of a micro-batch, B samples of it.

Every term is divided by a normalizer of the whole optimizer step, never by one of the micro-batch. So the losses
of all micro-batches of all ranks add up to the loss of the whole batch, and how samples are packed changes nothing.
A backend that averages gradients over ranks (DDP, DeepSpeed) needs the loss times the number of ranks.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from rft.config import TrainConfig
from rft.grpo.logprobs import TokenLogprobs
from rft.grpo.samples import TrainedTokens

LossMetrics = dict[str, Tensor]
"""Metrics of a micro-batch by trl's names. One that ends in `/min` or `/max` holds an extreme, []; every other one is a
mean, held as its sum and count, [2]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTotals:
    """What the loss is divided by: counted over all micro-batches and ranks of one optimizer step.

    Example:
        StepTotals(num_tokens=120_000.0, num_samples=256.0, max_completion_length=2048)
    """

    num_tokens: float
    """Completion tokens, each counted with the weight of its sample."""
    num_samples: float
    """The sum of the samples' weights."""
    max_completion_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerms:
    """A micro-batch's share of the step's loss, and of its metrics.

    Example:
        LossTerms(loss=tensor(-0.02), metrics={"entropy": tensor([31.4, 40.0])})
    """

    loss: Tensor
    """float32 [], with gradient."""
    metrics: LossMetrics


def policy_loss(
    current: TokenLogprobs,
    tokens: TrainedTokens,
    *,
    old_logps: Tensor | None,
    ref_logps: Tensor | None,
    config: TrainConfig,
    totals: StepTotals,
) -> LossTerms:
    """PPO's clipped surrogate with group-relative advantages (arXiv 2402.03300, equation 3).

    Per token, with w = pi / pi_old and c = clip(w, 1 - epsilon, 1 + epsilon_high):

        -min(w A, c A) * min(pi_old / pi_engine, cap) + beta * w * KL(pi || pi_ref)

    The KL term is weighted with w so that its gradient is that of the reverse KL divergence, as trl does
    (arXiv 2512.02556, equation 7): w counts in the gradient even where its value is 1.

    Args:
        current: log-probs under the weights being trained, with gradient.
        old_logps: float32 [N], the trainer's log-probs before the first optimizer step on this batch. None where this
            is that step: the values of `current` are then used, without gradient.
        ref_logps: float32 [N], those of the reference model; needed when `config.beta` is not 0.
    """
    logps = current.logps
    old_logps = logps.detach() if old_logps is None else old_logps
    advantages = tokens.advantages
    low, high = 1 - config.epsilon, 1 + (config.epsilon if config.epsilon_high is None else config.epsilon_high)

    ratio = policy_ratio(logps - old_logps, tokens, config)
    per_token = -torch.min(ratio * advantages, ratio.clamp(low, high) * advantages)

    engine_gap = old_logps - tokens.sampling_logps
    engine_ratio = engine_gap.exp().clamp(max=config.vllm_importance_sampling_clip_max)
    if config.vllm_importance_sampling_correction:
        per_token = per_token * engine_ratio

    metrics = clip_metrics(ratio.detach(), tokens, low, high, config) | importance_sampling_metrics(
        engine_gap, engine_ratio, config.vllm_importance_sampling_clip_max
    )
    if current.entropies is not None:
        metrics["entropy"] = sum_and_count(current.entropies)
    if config.beta != 0:
        assert ref_logps is not None, "beta needs the reference model's log-probs"
        divergence = ratio * kl_divergence(logps, ref_logps)
        per_token = per_token + config.beta * divergence
        metrics["kl"] = sum_and_count(divergence.detach())
    return LossTerms(loss=(per_token * token_weights(tokens, config, totals)).sum(), metrics=metrics)


def policy_ratio(log_ratio: Tensor, tokens: TrainedTokens, config: TrainConfig) -> Tensor:
    """Importance weights pi / pi_old of each token: [N] -> [N].

    `sequence`: every token of a sample gets the sample's length-normalised ratio
    exp(mean_t log(pi / pi_old)), GSPO (arXiv 2507.18071, equation 7).
    """
    if config.importance_sampling_level == "token":
        return log_ratio.exp()
    sums = log_ratio.new_zeros(tokens.num_samples).index_add(0, tokens.sample_index, log_ratio)
    return (sums / sample_lengths(tokens)).exp()[tokens.sample_index]


def kl_divergence(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """Per token pi_ref / pi - log(pi_ref / pi) - 1, unbiased and never negative (arXiv 2402.03300, equation 4)."""
    log_ratio = ref_logps - logps
    return log_ratio.exp() - log_ratio - 1


def token_weights(tokens: TrainedTokens, config: TrainConfig, totals: StepTotals) -> Tensor:
    """What a token's loss counts in the step's loss: [N].

    `dapo`: 1 / tokens of the step (arXiv 2503.14476, equation 8).
    `grpo`: 1 / (samples of the step * tokens of its own sample) (arXiv 2402.03300, equation 3).
    `dr_grpo`: 1 / (samples of the step * max_completion_length), a constant (arXiv 2503.20783, section 3.2).

    Times the sample's weight, with which it is also counted among the tokens or samples of the step.
    """
    if config.loss_type == "dapo":
        per_sample = tokens.weights / totals.num_tokens
    elif config.loss_type == "dr_grpo":
        per_sample = tokens.weights / (totals.num_samples * totals.max_completion_length)
    else:
        per_sample = tokens.weights / (totals.num_samples * sample_lengths(tokens))
    return per_sample[tokens.sample_index]


def sample_lengths(tokens: TrainedTokens) -> Tensor:
    """Completion tokens of each sample, int64 [B]."""
    return torch.bincount(tokens.sample_index, minlength=tokens.num_samples)


def clip_metrics(ratio: Tensor, tokens: TrainedTokens, low: float, high: float, config: TrainConfig) -> LossMetrics:
    """Share of tokens (of samples, at sequence level) whose gradient the clipping cuts off."""
    advantages = tokens.advantages
    if config.importance_sampling_level == "sequence":
        is_first = torch.diff(tokens.sample_index, prepend=tokens.sample_index.new_tensor([-1])) > 0
        ratio, advantages = ratio[is_first], advantages[is_first]
    is_low = (ratio < low) & (advantages < 0)
    is_high = (ratio > high) & (advantages > 0)
    return {
        "clip_ratio/low_mean": sum_and_count(is_low.float()),
        "clip_ratio/high_mean": sum_and_count(is_high.float()),
        "clip_ratio/region_mean": sum_and_count((is_low | is_high).float()),
    }


def importance_sampling_metrics(gap: Tensor, ratio: Tensor, cap: float) -> LossMetrics:
    """How far the engine's log-probs of its own samples are from the trainer's; `ratio` is the capped one."""
    return {
        "sampling/sampling_logp_difference/mean": sum_and_count(gap.abs()),
        "sampling/sampling_logp_difference/max": gap.abs().max(),
        "sampling/importance_sampling_ratio/min": ratio.min(),
        "sampling/importance_sampling_ratio/mean": sum_and_count(ratio),
        "sampling/importance_sampling_ratio/max": ratio.max(),
        "sampling/importance_sampling_ratio/capped": sum_and_count((ratio >= cap).float()),
    }


def sum_and_count(values: Tensor) -> Tensor:
    """The sum of `values` and how many they are: [2]. Those of several micro-batches can be added; means cannot."""
    return torch.stack([values.sum(), values.new_tensor(values.numel())])


def loss_metric_names(config: TrainConfig) -> list[str]:
    """The metrics of a micro-batch whose entropies were computed."""
    names = [f"clip_ratio/{name}_mean" for name in ("low", "high", "region")]
    names += [f"sampling/sampling_logp_difference/{name}" for name in ("mean", "max")]
    names += [f"sampling/importance_sampling_ratio/{name}" for name in ("min", "mean", "max", "capped")]
    return [*names, "entropy", *(["kl"] if config.beta != 0 else [])]


def merge_metrics(parts: Sequence[LossMetrics]) -> LossMetrics:
    """Metrics of several micro-batches or ranks as those of their union; all parts have the same names."""

    def merge(name: str, values: Sequence[Tensor]) -> Tensor:
        if name.endswith("/min"):
            return reduce(torch.minimum, values)
        if name.endswith("/max"):
            return reduce(torch.maximum, values)
        return reduce(operator.add, values)

    return {name: merge(name, [part[name] for part in parts]) for name in parts[0]}


def metric_values(metrics: Mapping[str, Tensor]) -> dict[str, float]:
    """The numbers to log: extremes as they are, means from sums and counts."""
    return {name: value.item() if value.dim() == 0 else (value[0] / value[1]).item() for name, value in metrics.items()}
