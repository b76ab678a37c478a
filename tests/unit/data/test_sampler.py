from __future__ import annotations

from collections import Counter
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rft.data.sampler import BatchSampler, epoch_batches, shard

histories = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=80)
untimed = settings(deadline=None)
sizes = st.integers(min_value=1, max_value=9)


@untimed
@given(histories, sizes, sizes, st.integers(0, 3), st.integers(0, 3))
def test_an_epoch_holds_every_question_at_most_once_in_full_batches(
    context_ids: list[str], per_batch: int, per_history: int, seed: int, epoch: int
) -> None:
    if len(context_ids) < per_batch:
        with pytest.raises(ValueError, match="fewer than one batch"):
            epoch_batches(context_ids, per_batch, per_history, seed, epoch)
        return
    batches = epoch_batches(context_ids, per_batch, per_history, seed, epoch)
    questions = [question for batch in batches for question in batch]
    assert len(batches) == len(context_ids) // per_batch
    assert all(len(batch) == per_batch for batch in batches)
    assert len(set(questions)) == len(questions)
    assert set(questions) <= set(range(len(context_ids)))
    assert batches == epoch_batches(context_ids, per_batch, per_history, seed, epoch)


@untimed
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 4))
def test_questions_of_a_history_stand_together(num_histories: int, per_history: int, units_per_history: int) -> None:
    context_ids = [str(i % num_histories) for i in range(num_histories * per_history * units_per_history)]
    per_batch = per_history * (1 if num_histories * units_per_history == 1 else 2)
    for batch in epoch_batches(context_ids, per_batch, per_history, seed=0, epoch=0):
        runs = [len(list(run)) for _, run in groupby(batch, key=lambda question: context_ids[question])]
        assert all(run % per_history == 0 for run in runs)


def test_uneven_units_are_not_split_while_others_fit() -> None:
    # 25 questions a history in units of 4 leave a unit of 1 each.
    context_ids = [str(i // 25) for i in range(25 * 64)]
    batches = epoch_batches(context_ids, questions_per_batch=32, questions_per_context=4, seed=0, epoch=0)
    split = sum(
        count % 4 not in (0, 1) for batch in batches for count in Counter(context_ids[q] for q in batch).values()
    )
    assert split <= 0.02 * len(batches) * 8


def test_epochs_and_seeds_differ() -> None:
    context_ids = [str(i // 5) for i in range(100)]
    drawn = [epoch_batches(context_ids, 10, 5, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(drawn[i] != drawn[j] for i in range(4) for j in range(i))


def test_the_order_is_the_same_everywhere() -> None:
    assert epoch_batches(list("aabbcc"), 2, 2, seed=0, epoch=0) == [[0, 1], [4, 5], [2, 3]]


@untimed
@given(st.integers(0, 40), st.permutations(range(12)))
def test_a_batch_index_is_all_the_state(index: int, order: list[int]) -> None:
    context_ids = [str(i // 3) for i in range(20)]
    straight = BatchSampler(context_ids, 6, 3, seed=7)
    expected = [straight.batch(i) for i in range(12)]
    other = BatchSampler(context_ids, 6, 3, seed=7)
    assert [other.batch(i) for i in order] == [expected[i] for i in order]
    epoch, batch = straight.batch(index)
    assert epoch == index // 3
    assert batch == epoch_batches(context_ids, 6, 3, 7, epoch)[index % 3]


@untimed
@given(histories, st.integers(1, 4), st.integers(1, 6))
def test_ranks_share_a_batch_equally(context_ids: list[str], world: int, per_rank: int) -> None:
    batch = sorted(range(len(context_ids)), key=lambda i: context_ids[i])[: world * per_rank]
    if len(batch) % world:
        with pytest.raises(ValueError, match="multiple of the number of processes"):
            shard(batch, context_ids, 0, world)
        return
    shares = [shard(batch, context_ids, rank, world) for rank in range(world)]
    assert sorted(question for share in shares for question in share) == sorted(batch)
    assert len({len(share) for share in shares}) == 1
    for share in shares:
        assert [batch.index(question) for question in share] == sorted(batch.index(question) for question in share)


@untimed
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))
def test_equal_units_stay_whole_on_one_rank(world: int, units_per_rank: int, per_history: int) -> None:
    context_ids = [str(i // per_history) for i in range(world * units_per_rank * per_history)]
    batch = list(range(len(context_ids)))
    owners = [{context_ids[question] for question in shard(batch, context_ids, rank, world)} for rank in range(world)]
    assert all(len(owner) == units_per_rank for owner in owners)
    assert len(set().union(*owners)) == world * units_per_rank


def test_a_unit_larger_than_a_rank_is_split() -> None:
    batch, context_ids = [0, 1, 2, 3, 4, 5], list("aaaabb")
    assert shard(batch, context_ids, 0, 2) == [0, 1, 2]
    assert shard(batch, context_ids, 1, 2) == [3, 4, 5]


@pytest.mark.parametrize(("per_batch", "per_history"), [(0, 1), (1, 0)])
def test_sizes_below_one_are_refused(per_batch: int, per_history: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        BatchSampler(["a"], per_batch, per_history, seed=0)
