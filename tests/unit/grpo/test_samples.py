from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rft.grpo.credit import CreditRule
from rft.grpo.samples import pad, samples_of, trained_tokens
from rft.records import Answer, Completion, MemoryUpdate, Prompt, Rollout, Sample, Score
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


def completion(*token_ids: int) -> Completion:
    return Completion(token_ids=token_ids, logprobs=(-0.5,) * len(token_ids), finish_reason="stop", policy_version=0)


def answer(
    reward: float, token_ids: tuple[int, ...], prompt: Prompt = PROMPT, sibling: int = 0, turn: int = 0
) -> Answer:
    score = Score(reward=reward, letter="c" if reward else "a", failure=None)
    return Answer(prompt=prompt, sibling=sibling, completion=completion(*token_ids), text="", score=score, turn=turn)


def rollout(reward: float, token_ids: tuple[int, ...], prompt: Prompt = PROMPT, sibling: int = 0) -> Rollout:
    return Rollout(updates=(), answers=(answer(reward, token_ids, prompt, sibling),))


def update(*prompt_ids: int) -> MemoryUpdate:
    return MemoryUpdate(
        prompt_ids=prompt_ids, completion=completion(6), memory="m", failure=None, num_memory_tokens=1,
        num_chunk_tokens=2,
    )  # fmt: skip


def samples(groups: list[list[Rollout]], credit: CreditRule = "shared") -> list[Sample]:
    return samples_of(groups, scale_rewards=False, credit=credit, places={"train/17": 0, "train/18": 1, "train/19": 2})


def test_samples_carry_the_advantage_of_their_own_group() -> None:
    other = replace(PROMPT, question_id="train/18", token_ids=(1, 5, 8))
    found = samples(
        [
            [rollout(1.0, (7, 2)), rollout(0.0, (8,), sibling=1)],
            [rollout(0.0, (3,), other), rollout(0.0, (4, 4), other, sibling=1)],
        ]
    )
    assert [sample.advantage for sample in found] == [0.5, -0.5, 0.0, 0.0]
    assert [sample.group for sample in found] == ["train/17", "train/17", "train/18", "train/18"]
    assert [sample.completion_ids for sample in found] == [(7, 2), (8,), (3,), (4, 4)]
    assert found[0].prompt_ids == PROMPT.token_ids and found[2].prompt_ids == other.token_ids
    assert found[3].sampling_logprobs == (-0.5, -0.5)
    assert [(sample.weight, sample.place) for sample in found] == [(1.0, 0), (1.0, 0), (1.0, 1), (1.0, 1)]


def test_a_group_of_two_prompts_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="the same questions"):
        samples([[rollout(1.0, (7,)), rollout(0.0, (7,), replace(PROMPT, question_id="train/18"))]])


def test_a_memory_gives_a_sample_per_turn_and_weighs_as_one_rollout() -> None:
    second = replace(PROMPT, question_id="train/18")

    def sibling(number: int, first_reward: float, second_reward: float, early_reward: float) -> Rollout:
        memory = replace(PROMPT, token_ids=(1, 50 + number)), replace(second, token_ids=(1, 50 + number, 3))
        return Rollout(
            updates=(update(1, 2, 9), update(1, 3, 10 + number)),
            answers=(
                answer(first_reward, (7,), memory[0], number, turn=2),
                answer(second_reward, (8,), memory[1], number, turn=2),
            ),
            early_answers=(answer(early_reward, (8,), memory[1], number, turn=1),),
        )

    found = samples([[sibling(0, 1.0, 1.0, 1.0), sibling(1, 0.0, 1.0, 0.0)]])
    assert [sample.prompt_ids for sample in found[:4]] == [(1, 2, 9), (1, 2, 9), (1, 3, 10), (1, 3, 11)]
    # The first update could help all three answers: means 1 and 1/3. The second only the final two: 1 and 1/2.
    assert [sample.advantage for sample in found[:4]] == pytest.approx([1 / 3, -1 / 3, 1 / 4, -1 / 4])
    assert [sample.group for sample in found[:4]] == ["train/17/update/0"] * 2 + ["train/17/update/1"] * 2
    # Then the answers from one memory after another: two final ones and the early one.
    assert [sample.advantage for sample in found[4:]] == [0.5, 0.0, 0.5, -0.5, 0.0, -0.5]
    assert [sample.group for sample in found[4:]] == ["train/17/memory/0"] * 3 + ["train/17/memory/1"] * 3
    assert {sample.weight for sample in found} == {1 / 5} and {sample.place for sample in found} == {0}


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
