from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rft.grpo.credit import CreditRule
from rft.grpo.samples import pad_samples, token_paths, trained_tokens, training_samples
from rft.records import Answer, Completion, MemoryUpdate, Prompt, Question, Rollout, Sample, Score
from tests.tiny import random_samples

CPU = torch.device("cpu")


def prompt_of(question_id: str, *token_ids: int) -> Prompt:
    question = Question(
        question_id=question_id, context_id="h", cluster="4", query="?", correct_answer="yes",
        incorrect_answers=("no", "never", "maybe"),
    )  # fmt: skip
    return Prompt(question=question, token_ids=token_ids, num_context_tokens=2, option_order=(2, 3, 0, 1))


PROMPT = prompt_of("train/17", 1, 5, 9)


def completion(*token_ids: int) -> Completion:
    return Completion(token_ids=token_ids, logprobs=(-0.5,) * len(token_ids), finish_reason="stop", policy_version=0)


def answer(
    reward: float | None, token_ids: tuple[int, ...], prompt: Prompt = PROMPT, sibling: int = 0, turn: int = 0
) -> Answer:
    score = Score(reward=reward, parsed="c" if reward else "a")
    return Answer(prompt=prompt, sibling=sibling, completion=completion(*token_ids), text="", score=score, turn=turn)


def rollout(reward: float | None, token_ids: tuple[int, ...], prompt: Prompt = PROMPT, sibling: int = 0) -> Rollout:
    return Rollout(updates=(), answers=(answer(reward, token_ids, prompt, sibling),))


def update(*prompt_ids: int) -> MemoryUpdate:
    return MemoryUpdate(
        prompt_ids=prompt_ids, completion=completion(6), memory="m", failure=None, num_memory_tokens=1,
        num_chunk_tokens=2,
    )  # fmt: skip


def samples(groups: list[list[Rollout]], credit: CreditRule = "shared") -> list[Sample]:
    places = {"train/17": 0, "train/18": 1, "train/19": 2}
    return training_samples(groups, scale_rewards=False, credit=credit, places=places)


def test_samples_carry_the_advantage_of_their_own_group() -> None:
    other = prompt_of("train/18", 1, 5, 8)
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
        samples([[rollout(1.0, (7,)), rollout(0.0, (7,), prompt_of("train/18", 1, 5, 9))]])


def sibling(
    number: int, first_reward: float | None, second_reward: float | None, early_reward: float | None
) -> Rollout:
    """Two updates, two questions answered from the last memory, the second one from the first memory as well."""
    first, second = prompt_of("train/17", 1, 50 + number), prompt_of("train/18", 1, 50 + number, 3)
    return Rollout(
        updates=(update(1, 2, 9), update(1, 3, 10 + number)),
        answers=(
            answer(first_reward, (7,), first, number, turn=2),
            answer(second_reward, (8,), second, number, turn=2),
        ),
        early_answers=(answer(early_reward, (8,), second, number, turn=1),),
    )


def test_a_memory_gives_a_sample_per_turn_and_weighs_as_one_rollout() -> None:
    found = samples([[sibling(0, 1.0, 1.0, 1.0), sibling(1, 0.0, 1.0, 0.0)]])
    assert [sample.prompt_ids for sample in found[:4]] == [(1, 2, 9), (1, 2, 9), (1, 3, 10), (1, 3, 11)]
    # The first update could help all three answers: means 1 and 1/3. The second only the final two: 1 and 1/2.
    assert [sample.advantage for sample in found[:4]] == pytest.approx([1 / 3, -1 / 3, 1 / 4, -1 / 4])
    assert [sample.group for sample in found[:4]] == ["train/17/update/0"] * 2 + ["train/17/update/1"] * 2
    # Then the answers from one memory after another: two final ones and the early one.
    assert [sample.advantage for sample in found[4:]] == [0.5, 0.0, 0.5, -0.5, 0.0, -0.5]
    assert [sample.group for sample in found[4:]] == ["train/17/memory/0"] * 3 + ["train/17/memory/1"] * 3
    assert {sample.weight for sample in found} == {1 / 5} and {sample.place for sample in found} == {0}


@pytest.mark.parametrize("credit", ["shared", "broadcast"])
def test_a_sibling_without_reward_is_as_if_it_were_not_there(credit: CreditRule) -> None:
    others = [sibling(0, 1.0, 1.0, 1.0), sibling(1, 0.0, 1.0, 0.0), sibling(2, 0.0, 0.0, 0.0)]
    unjudged = sibling(3, None, None, None)
    assert samples([[others[0], unjudged, *others[1:]]], credit) == samples([others], credit)
    plain = [rollout(1.0, (7, 2)), rollout(0.0, (8,), sibling=1), rollout(0.0, (9,), sibling=2)]
    assert samples([[*plain, rollout(None, (6,), sibling=3)]], credit) == samples([plain], credit)
    assert samples([[rollout(None, (7,)), rollout(None, (8,), sibling=1)]], credit) == []


def test_an_answer_without_reward_makes_no_sample_and_its_rollout_still_weighs_one() -> None:
    found = samples([[sibling(0, 1.0, None, 1.0), sibling(1, 0.0, 1.0, None)]])
    assert len(found) == 8
    # Updates: means 1 and 1/2 after the first, 1 and 1/2 after the second.
    assert [sample.advantage for sample in found[:4]] == [0.25, -0.25, 0.25, -0.25]
    # Answers: the first question's are compared; the second question's final and early one have no sibling.
    assert [sample.advantage for sample in found[4:]] == [0.5, 0.0, -0.5, 0.0]
    assert {sample.weight for sample in found} == {1 / 4}


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
    batch = pad_samples(samples, CPU)
    assert batch.input_ids.shape == (3, 6)
    flat = batch.input_ids.flatten()
    assert flat[batch.positions + 1].tolist() == batch.targets.tolist()
    assert batch.targets.tolist() == [token for sample in samples for token in sample.completion_ids]
    for row, sample in zip(batch.input_ids.tolist(), samples, strict=True):
        path = list(sample.prompt_ids + sample.completion_ids)
        assert row == path + [0] * (6 - len(path))


def test_a_path_is_prompt_and_completion() -> None:
    found = random_samples([(3, 2), (1, 4), (5, 1)])
    siblings = [*found, replace(found[0], completion_ids=(7,))]
    paths = token_paths(siblings)
    assert [path.tolist() for path in paths] == [[*s.prompt_ids, *s.completion_ids] for s in siblings]
    assert all(path.dtype == np.int64 for path in paths)


class CountedPrompt(tuple[int, ...]):
    """A prompt that knows how often it was turned into an array."""

    conversions = 0

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        CountedPrompt.conversions += 1
        return np.array(list(self), dtype=np.int64)


def test_a_prompt_that_siblings_share_is_converted_once() -> None:
    prompt_ids = CountedPrompt((3, 1, 2))
    sample = replace(random_samples([(1, 1)])[0], prompt_ids=prompt_ids, completion_ids=(7,))
    assert [path.tolist() for path in token_paths([sample] * 16)] == [[3, 1, 2, 7]] * 16
    assert CountedPrompt.conversions == 1
