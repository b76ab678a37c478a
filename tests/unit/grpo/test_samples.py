from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rft.grpo.samples import pad, samples_of, trained_tokens
from rft.types import Completion, Prompt, Rollout, Sample, Score
from tests.tiny import random_samples

CPU = torch.device("cpu")

PROMPT = Prompt(
    question_id="train/17",
    persona_id=4,
    history_id="h",
    token_ids=(1, 5, 9),
    num_history_tokens=2,
    letters=("a", "b", "c", "d"),
    gold="c",
    option_order=(2, 3, 0, 1),
    pref_type="neutral_preferences",
    who="self",
    updated=False,
    sensitive=False,
    scenario="translation",
)


def rollout(reward: float, token_ids: tuple[int, ...], prompt: Prompt = PROMPT, sibling: int = 0) -> Rollout:
    return Rollout(
        prompt=prompt,
        sibling=sibling,
        completion=Completion(
            token_ids=token_ids, logprobs=(-0.5,) * len(token_ids), finish_reason="stop", policy_version=0
        ),
        text="",
        score=Score(reward=reward, letter="c" if reward else "a", failure=None),
    )


def test_samples_carry_the_advantage_of_their_own_group() -> None:
    other = replace(PROMPT, question_id="train/18", token_ids=(1, 5, 8))
    groups = [
        [rollout(1.0, (7, 2)), rollout(0.0, (8,), sibling=1)],
        [rollout(0.0, (3,), other), rollout(0.0, (4, 4), other, sibling=1)],
    ]
    samples = samples_of(groups, scale_rewards=False)
    assert [sample.advantage for sample in samples] == [0.5, -0.5, 0.0, 0.0]
    assert [sample.group for sample in samples] == ["train/17", "train/17", "train/18", "train/18"]
    assert [sample.completion_ids for sample in samples] == [(7, 2), (8,), (3,), (4, 4)]
    assert samples[0].prompt_ids == PROMPT.token_ids and samples[2].prompt_ids == other.token_ids
    assert samples[3].sampling_logprobs == (-0.5, -0.5)


def test_a_group_of_two_prompts_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="share their prompt"):
        samples_of([[rollout(1.0, (7,)), rollout(0.0, (7,), replace(PROMPT, question_id="x"))]], scale_rewards=False)


def test_trained_tokens_are_flat_sample_after_sample() -> None:
    samples = random_samples([(3, 2), (4, 1), (2, 3)])
    tokens = trained_tokens(samples, CPU)
    assert tokens.sample_index.tolist() == [0, 0, 1, 2, 2, 2]
    assert tokens.num_samples == 3
    assert tokens.advantages.tolist() == pytest.approx([samples[i].advantage for i in tokens.sample_index.tolist()])
    assert tokens.sampling_logps.tolist() == pytest.approx([logp for s in samples for logp in s.sampling_logprobs])
    assert tokens.advantages.dtype == tokens.sampling_logps.dtype == torch.float32


def test_a_missing_log_prob_is_a_bug() -> None:
    sample = Sample(prompt_ids=(1,), completion_ids=(2, 3), sampling_logprobs=(-0.1,), advantage=0.0, group="g")
    with pytest.raises(AssertionError, match="one sampling log-prob per completion token"):
        trained_tokens([sample], CPU)


def test_pad_points_at_the_token_before_each_trained_one() -> None:
    samples = random_samples([(3, 2), (1, 1), (2, 4)])
    batch = pad(samples, CPU)
    assert batch.input_ids.shape == (3, 6)
    flat = batch.input_ids.flatten()
    assert flat[batch.positions + 1].tolist() == batch.targets.tolist()
    assert batch.targets.tolist() == [token for sample in samples for token in sample.completion_ids]
    for row, sample in zip(batch.input_ids.tolist(), samples, strict=True):
        path = list(sample.prompt_ids + sample.completion_ids)
        assert row == path + [0] * (6 - len(path))
