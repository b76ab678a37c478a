"""Which samples share a micro-batch: within the budget, whole groups in order, the same for every number of ranks."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.config import TrainConfig
from rft.grpo.forest import build_forest
from rft.grpo.packing import forest_packs, group_unique_tokens, pack_micro_batches, packs_of_rank
from rft.records import Sample

LONGEST = 60


def batch(num_contexts: int, questions: int, siblings: int, seed: int = 0) -> list[Sample]:
    """Contexts of up to 30 tokens, their questions of up to 10, completions of up to 20."""
    rng = random.Random(seed)

    def tokens(most: int) -> tuple[int, ...]:
        return tuple(rng.randrange(100) for _ in range(rng.randint(1, most)))

    samples = []
    for h in range(num_contexts):
        context = (1000 + h, *tokens(29))
        for q in range(questions):
            prompt = (*context, 2000 + q, *tokens(9))
            for _ in range(siblings):
                completion = tokens(20)
                samples.append(
                    Sample(
                        prompt_ids=prompt,
                        completion_ids=completion,
                        sampling_logprobs=(0.0,) * len(completion),
                        advantage=1.0,
                        group=f"train/{h}/{q}",
                    )
                )
    return samples


def unique_tokens(samples: list[Sample], pack: list[int]) -> int:
    return build_forest([samples[i].prompt_ids + samples[i].completion_ids for i in pack]).num_tokens


batches = st.builds(batch, st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(0, 99))


@given(batches, st.integers(LONGEST, 400), st.integers(1, 4))
def test_every_sample_once_and_within_the_budget(samples: list[Sample], max_tokens: int, num_ranks: int) -> None:
    ranks = forest_packs(samples, max_tokens, num_ranks)
    assert len(ranks) == num_ranks
    packs = [pack for rank in ranks for pack in rank]
    assert sorted(index for pack in packs for index in pack) == list(range(len(samples)))
    assert all(unique_tokens(samples, pack) <= max_tokens for pack in packs)
    assert max(map(len, ranks)) - min(map(len, ranks)) <= 1 or len(packs) < num_ranks


@given(batches)
def test_siblings_with_one_prompt_are_counted_as_those_with_equal_ones(samples: list[Sample]) -> None:
    equal = [replace(sample, prompt_ids=(*sample.prompt_ids,)) for sample in samples]
    size = sum(sample.group == samples[0].group for sample in samples)
    assert samples[0].prompt_ids is samples[size - 1].prompt_ids
    assert size == 1 or equal[0].prompt_ids is not equal[size - 1].prompt_ids
    group = list(range(size))
    assert group_unique_tokens(samples, group) == group_unique_tokens(equal, group) == unique_tokens(samples, group)
    assert forest_packs(samples, 200, 2) == forest_packs(equal, 200, 2)


@given(batches, st.integers(1, 4))
def test_a_group_that_fits_is_never_split(samples: list[Sample], num_ranks: int) -> None:
    ranks = forest_packs(samples, 10_000, num_ranks)
    where: dict[str, set[int]] = {}
    for number, pack in enumerate(pack for rank in ranks for pack in rank):
        for index in pack:
            where.setdefault(samples[index].group, set()).add(number)
    assert all(len(packs) == 1 for packs in where.values())


def test_questions_of_a_context_share_a_pack() -> None:
    samples = batch(num_contexts=3, questions=4, siblings=2)
    per_context = [list(range(start, start + 8)) for start in (0, 8, 16)]
    budget = max(unique_tokens(samples, pack) for pack in per_context)
    packs = [pack for rank in forest_packs(samples, budget, 1) for pack in rank]
    assert packs == per_context


def test_ranks_get_packs_of_like_size() -> None:
    samples = batch(num_contexts=8, questions=2, siblings=4, seed=5)
    total = unique_tokens(samples, list(range(len(samples))))
    ranks = forest_packs(samples, 10_000, 4)
    assert [len(rank) for rank in ranks] == [1, 1, 1, 1], "one large pack would leave three ranks idle"
    assert max(unique_tokens(samples, pack) for rank in ranks for pack in rank) <= 1.35 * total / 4


def test_a_group_larger_than_the_budget_is_split() -> None:
    samples = batch(num_contexts=1, questions=1, siblings=16)
    packs = forest_packs(samples, LONGEST, 1)[0]
    assert len(packs) > 1
    assert sorted(index for pack in packs for index in pack) == list(range(16))


def test_fewer_groups_than_ranks() -> None:
    ranks = forest_packs(batch(1, 1, 4), 10_000, 3)
    assert sorted(map(len, ranks)) == [0, 0, 1]


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_the_plain_path_takes_runs_of_samples(num_ranks: int) -> None:
    samples = [replace(sample, advantage=float(i)) for i, sample in enumerate(batch(2, 1, 4))]
    config = TrainConfig(shared_prefix=False, per_device_train_batch_size=3)
    ranks = pack_micro_batches(config, samples, num_ranks)
    assert sorted(pack for rank in ranks for pack in rank) == [[0, 1, 2], [3, 4, 5], [6, 7]]


@pytest.mark.parametrize("shared_prefix", [True, False])
@pytest.mark.parametrize("num_ranks", [1, 2, 3, 5])
def test_every_rank_makes_equally_many_passes_and_every_sample_counts_once(num_ranks: int, shared_prefix: bool) -> None:
    samples = batch(3, 1, 4)
    config = TrainConfig(shared_prefix=shared_prefix, per_device_train_batch_size=3, max_tokens_per_microbatch=80)
    every = [packs_of_rank(config, samples, rank, num_ranks) for rank in range(num_ranks)]
    assert len({len(packs) for packs in every}) == 1
    counted = sorted(index for packs in every for pack, weight in packs if weight for index in pack)
    assert counted == list(range(len(samples)))


@pytest.mark.parametrize("shared_prefix", [True, False])
def test_no_samples_are_no_packs_on_any_rank(shared_prefix: bool) -> None:
    config = TrainConfig(shared_prefix=shared_prefix)
    assert pack_micro_batches(config, [], 3) == [[], [], []]
    assert [packs_of_rank(config, [], rank, 2) for rank in range(2)] == [[], []]


def test_a_sample_longer_than_the_budget_has_a_place() -> None:
    samples = batch(2, 2, 2)
    packs = [pack for rank in forest_packs(samples, 10, 2) for pack in rank]
    assert sorted(index for pack in packs for index in pack) == list(range(len(samples)))
