from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rft.data.sampler import BatchSampler, Unit, deal_units, epoch_batches

histories = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=80)
untimed = settings(deadline=None)
sizes = st.integers(min_value=1, max_value=9)


def flat(units: list[Unit]) -> list[int]:
    return [question for unit in units for question in unit]


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
    questions = [question for batch in batches for question in flat(batch)]
    assert len(batches) == len(context_ids) // per_batch
    assert all(len(flat(batch)) == per_batch for batch in batches)
    assert len(set(questions)) == len(questions)
    assert set(questions) <= set(range(len(context_ids)))
    for unit in (unit for batch in batches for unit in batch):
        assert 1 <= len(unit) <= per_history
        assert len({context_ids[question] for question in unit}) == 1
    assert batches == epoch_batches(context_ids, per_batch, per_history, seed, epoch)


@untimed
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 4))
def test_questions_of_a_history_stand_together(num_histories: int, per_history: int, units_per_history: int) -> None:
    context_ids = [str(i % num_histories) for i in range(num_histories * per_history * units_per_history)]
    per_batch = per_history * (1 if num_histories * units_per_history == 1 else 2)
    for batch in epoch_batches(context_ids, per_batch, per_history, seed=0, epoch=0):
        assert all(len(unit) == per_history for unit in batch)


def test_units_are_not_split_while_others_fit_where_batches_are_no_multiple_of_them() -> None:
    context_ids = [str(i // 25) for i in range(25 * 64)]
    batches = epoch_batches(context_ids, questions_per_batch=30, questions_per_context=4, seed=0, epoch=0)
    split = sum(len(unit) not in (1, 4) for batch in batches for unit in batch)
    # Each batch but those with the units of 1 has to split one into two and two.
    assert split <= 2 * len(batches)


def contexts_of_busiest_rank(context_ids: list[str], batch: list[Unit], world: int) -> int:
    dealt = [deal_units(batch, rank, world) for rank in range(world)]
    return max(len({context_ids[question] for question in flat(units)}) for units in dealt)


def test_a_rank_reads_one_history_wherever_the_numbers_allow_it() -> None:
    """25 questions a history in units of 4 leave a unit of 1 each: 4% of the questions, and 4% of the batches."""
    context_ids = [str(i // 25) for i in range(25 * 640)]
    batches = epoch_batches(context_ids, questions_per_batch=32, questions_per_context=4, seed=0, epoch=0)
    busiest = Counter(contexts_of_busiest_rank(context_ids, batch, world=8) for batch in batches)
    assert busiest[1] >= 0.96 * len(batches)
    assert busiest[1] + busiest[4] == len(batches)
    mixed = [index for index, batch in enumerate(batches) if any(len(unit) == 1 for unit in batch)]
    assert min(mixed) < 0.2 * len(batches) and max(mixed) > 0.8 * len(batches), "they are spread over the epoch"


def test_uneven_histories_leave_ranks_with_two_or_three() -> None:
    rng = random.Random(1)
    context_ids = [str(context) for context in range(700) for _ in range(rng.randint(15, 35))]
    batches = epoch_batches(context_ids, questions_per_batch=32, questions_per_context=4, seed=0, epoch=0)
    busiest = Counter(contexts_of_busiest_rank(context_ids, batch, world=8) for batch in batches)
    assert busiest[1] >= 0.9 * len(batches)
    assert max(busiest) <= 3


def test_epochs_and_seeds_differ() -> None:
    context_ids = [str(i // 5) for i in range(100)]
    drawn = [epoch_batches(context_ids, 10, 5, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(drawn[i] != drawn[j] for i in range(4) for j in range(i))


def test_the_order_is_the_same_everywhere() -> None:
    assert epoch_batches(list("aabbcc"), 2, 2, seed=0, epoch=0) == [[[0, 1]], [[4, 5]], [[2, 3]]]
    uneven = epoch_batches(list("aaaaabbbbbccccc"), 4, 2, seed=0, epoch=0)
    assert uneven == [[[7, 9], [4, 3]], [[13, 10], [11, 12]], [[0, 1], [5, 6]]]


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
@given(histories, st.integers(1, 4), st.integers(1, 6), sizes)
def test_ranks_share_a_batch_equally(context_ids: list[str], world: int, per_rank: int, per_history: int) -> None:
    if len(context_ids) < world * per_rank:
        return
    for batch in epoch_batches(context_ids, world * per_rank, per_history, seed=0, epoch=0):
        dealt = [deal_units(batch, rank, world) for rank in range(world)]
        assert sorted(question for units in dealt for question in flat(units)) == sorted(flat(batch))
        assert {len(flat(units)) for units in dealt} == {per_rank}
        for units in dealt:
            places = [flat(batch).index(unit[0]) for unit in units]
            assert places == sorted(places)
        if per_rank % per_history == 0:
            assert sum(map(len, dealt)) == len(batch), "no unit is split"
        if world == 1:
            assert dealt == [batch]


def test_a_batch_that_ranks_cannot_share_equally_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of the number of processes"):
        deal_units([[0, 1], [2]], 0, 2)


@untimed
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))
def test_equal_units_stay_whole_on_one_rank(world: int, units_per_rank: int, per_history: int) -> None:
    batch = [list(range(i * per_history, (i + 1) * per_history)) for i in range(world * units_per_rank)]
    dealt = [deal_units(batch, rank, world) for rank in range(world)]
    assert all(len(units) == units_per_rank for units in dealt)
    assert sorted(unit for units in dealt for unit in units) == sorted(batch)


def test_small_units_are_spread_over_the_ranks() -> None:
    assert [deal_units([[0], [1], [2], [3], [4, 5], [6, 7]], rank, 2) for rank in range(2)] == [
        [[0], [2], [4, 5]],
        [[1], [3], [6, 7]],
    ]


def test_a_unit_larger_than_a_rank_is_split() -> None:
    assert deal_units([[0, 1, 2, 3], [4, 5]], 0, 2) == [[0, 1, 2]]
    assert deal_units([[0, 1, 2, 3], [4, 5]], 1, 2) == [[3], [4, 5]]


@pytest.mark.parametrize(("per_batch", "per_history"), [(0, 1), (1, 0)])
def test_sizes_below_one_are_refused(per_batch: int, per_history: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        BatchSampler(["a"], per_batch, per_history, seed=0)
