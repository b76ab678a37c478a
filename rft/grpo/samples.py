"""Rollouts -> samples -> tensors.

Shapes: B samples of a micro-batch, T tokens of the longest one (prompt and completion), N trained tokens: all
completion tokens of the micro-batch, sample after sample. Every per-token tensor of the optimizer step (log-probs,
advantages, ratios) has this flat [N] layout, with shared prefixes and without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rft.grpo.credit import Credit, CreditRule, Returns, assign_credit
from rft.grpo.forest import Ints
from rft.records import Rollout, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedTokens:
    """What the loss needs to know of each trained token besides its log-probs.

    Example, two samples with 2 and 1 completion tokens:
        TrainedTokens(advantages=tensor([0.5, 0.5, -0.5]), sampling_logps=tensor([-0.1, -1.2, -0.3]),
                      sample_index=tensor([0, 0, 1]), weights=tensor([1.0, 1.0]), num_samples=2)
    """

    advantages: Tensor
    """float32 [N]"""
    sampling_logps: Tensor
    """float32 [N]: log-probs at sampling time, the engine's."""
    sample_index: Tensor
    """int64 [N]: which sample of the micro-batch a token belongs to, 0 .. B-1."""
    weights: Tensor
    """float32 [B]: what each sample counts in the loss."""
    num_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseBatch:
    """Samples as one right-padded batch.

    It has no attention mask: under causal attention a token never sees the padding to its right.

    Example, prompts (1, 5) and (1,), completions (7, 2) and (2,):
        DenseBatch(input_ids=tensor([[1, 5, 7, 2], [1, 2, 0, 0]]), positions=tensor([1, 2, 4]),
                   targets=tensor([7, 2, 2]))
    """

    input_ids: Tensor
    """int64 [B, T]"""
    positions: Tensor
    """int64 [N]: where in the flattened [B * T] tokens stands the one whose logits predict the trained token."""
    targets: Tensor
    """int64 [N]: the trained tokens."""


def training_samples(
    groups: Sequence[Sequence[Rollout]], *, scale_rewards: bool, credit: CreditRule, places: Mapping[str, int]
) -> list[Sample]:
    """A sample per turn of every rollout, with its group-relative advantage; none for a turn without a reward.

    Turns that share tokens stand next to each other: the siblings' versions of one memory update, then the answers
    from one memory after another. `places` says where in the batch a question stands.
    """
    samples = []
    for group in groups:
        assert len({question_ids(rollout) for rollout in group}) == 1, "siblings answer the same questions"
        credits = assign_credit([rewards_of_rollout(rollout) for rollout in group], credit, scale=scale_rewards)
        place = places[group[0].answers[0].prompt.question_id]
        samples += memory_update_samples(group, credits, place) + answer_samples(group, credits, place)
    return samples


def question_ids(rollout: Rollout) -> tuple[str, ...]:
    return tuple(answer.prompt.question_id for answer in rollout.answers)


def rewards_of_rollout(rollout: Rollout) -> Returns:
    return Returns(
        answers=tuple(answer.score.reward for answer in rollout.answers),
        early=tuple((answer.turn - 1, answer.score.reward) for answer in rollout.early_answers),
        num_updates=len(rollout.updates),
        failed=tuple(k for k, update in enumerate(rollout.updates) if update.failure),
    )


def memory_update_samples(group: Sequence[Rollout], credits: Sequence[Credit], place: int) -> list[Sample]:
    """The first update of every sibling, then the second of every sibling, ...: siblings read the same chunk."""
    name = group[0].answers[0].prompt.question_id
    samples = []
    for turn in range(len(group[0].updates)):
        for rollout, credit in zip(group, credits, strict=True):
            update, advantage = rollout.updates[turn], credit.updates[turn]
            if advantage is not None:
                samples.append(
                    Sample(
                        prompt_ids=update.prompt_ids,
                        completion_ids=update.completion.token_ids,
                        sampling_logprobs=update.completion.logprobs,
                        advantage=advantage,
                        group=f"{name}/update/{turn}",
                        weight=1 / credit.num_trained,
                        place=place,
                    )
                )
    return samples


def answer_samples(group: Sequence[Rollout], credits: Sequence[Credit], place: int) -> list[Sample]:
    """All answers of the first sibling, then all of the second, ...: answers of one sibling share its memory."""
    samples = []
    for rollout, credit in zip(group, credits, strict=True):
        name = rollout.answers[0].prompt.question_id
        answered = zip((*rollout.answers, *rollout.early_answers), (*credit.answers, *credit.early), strict=True)
        samples += [
            Sample(
                prompt_ids=answer.prompt.token_ids,
                completion_ids=answer.completion.token_ids,
                sampling_logprobs=answer.completion.logprobs,
                advantage=advantage,
                group=f"{name}/memory/{answer.sibling}" if rollout.updates else name,
                weight=1 / credit.num_trained,
                place=place,
            )
            for answer, advantage in answered
            if advantage is not None
        ]
    return samples


def token_paths(samples: Sequence[Sample]) -> list[Ints]:
    """Prompt and completion of each sample: int64 [its tokens].

    Siblings hold one and the same prompt of up to 140,000 tokens, and turning a tuple into an array is a step of Python
    per token: each prompt is converted once.
    """
    distinct = {id(sample.prompt_ids): sample.prompt_ids for sample in samples}
    prompts = {key: np.asarray(prompt_ids, dtype=np.int64) for key, prompt_ids in distinct.items()}
    return [
        np.concatenate([prompts[id(sample.prompt_ids)], np.asarray(sample.completion_ids, dtype=np.int64)])
        for sample in samples
    ]


def trained_tokens(samples: Sequence[Sample], device: torch.device) -> TrainedTokens:
    """The flat [N] tensors of a micro-batch."""
    assert all(sample.completion_ids for sample in samples), "an engine samples at least one token"
    lengths = torch.tensor([len(sample.completion_ids) for sample in samples])
    advantages = torch.tensor([sample.advantage for sample in samples], dtype=torch.float32)
    sampling_logps = [logp for sample in samples for logp in sample.sampling_logprobs]
    sample_index = torch.arange(len(samples)).repeat_interleave(lengths)
    assert len(sampling_logps) == len(sample_index), "one sampling log-prob per completion token"
    return TrainedTokens(
        advantages=advantages[sample_index].to(device),
        sampling_logps=torch.tensor(sampling_logps, dtype=torch.float32, device=device),
        sample_index=sample_index.to(device),
        weights=torch.tensor([sample.weight for sample in samples], dtype=torch.float32, device=device),
        num_samples=len(samples),
    )


def pad_samples(samples: Sequence[Sample], device: torch.device) -> DenseBatch:
    """The samples side by side, padded on the right with token 0, which nothing looks at."""
    width = max(len(sample.prompt_ids) + len(sample.completion_ids) for sample in samples)
    rows: list[tuple[int, ...]] = []
    positions: list[int] = []
    targets: list[int] = []
    for row, sample in enumerate(samples):
        assert sample.prompt_ids, "a completion's first token is predicted from the prompt's last one"
        path = sample.prompt_ids + sample.completion_ids
        rows.append(path + (0,) * (width - len(path)))
        positions.extend(row * width + column for column in range(len(sample.prompt_ids) - 1, len(path) - 1))
        targets.extend(sample.completion_ids)
    return DenseBatch(
        input_ids=torch.tensor(rows, device=device),
        positions=torch.tensor(positions, dtype=torch.int64, device=device),
        targets=torch.tensor(targets, dtype=torch.int64, device=device),
    )
