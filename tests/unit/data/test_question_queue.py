"""The queue of adaptive selection: each question once per epoch, whatever batches consume."""

from __future__ import annotations

import json
import random
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st

from rft.data.question_queue import QuestionQueue, candidates

SIZES = st.lists(st.integers(1, 7), min_size=1, max_size=9)


def contexts(sizes: list[int]) -> list[str]:
    return [f"context {number}" for number, size in enumerate(sizes) for _ in range(size)]


@settings(deadline=None)
@given(SIZES, st.integers(0, 5), st.data())
def test_an_epoch_asks_every_question_once_but_those_of_a_last_part_of_a_batch(
    sizes: list[int], seed: int, data: st.DataObject
):
    ids = contexts(sizes)
    queue = QuestionQueue(ids, seed)
    places = data.draw(st.integers(1, len(ids)))
    asked: dict[int, list[int]] = {}
    rng = random.Random(seed)
    while queue.epoch < 3:
        queue.begin_batch(places)
        assert len(queue) >= places
        number = min(len(queue), places + data.draw(st.integers(0, 5)))
        some = list(islice(candidates(queue.visits, places, lambda q: q % 3, 0.2, rng), number))
        assert len(set(some)) == number, "nothing twice in a batch"
        over = some[: data.draw(st.integers(0, number - places))]
        asked.setdefault(queue.epoch, []).extend(question for question in some if question not in over)
        queue.end_batch(some, over)
    for epoch in (0, 1, 2):
        counts = asked[epoch]
        assert len(counts) == len(set(counts)), "once per epoch"
        assert len(counts) > len(ids) - places, "no more than a part of a batch is left out"


def test_what_was_left_over_comes_first_and_opened_contexts_come_last():
    queue = QuestionQueue(contexts([3, 3, 3]), seed=0)
    first, second, third = ([*visit] for visit in queue.visits)
    queue.end_batch(asked=[first[0], first[1], second[0]], first_next=[first[1]])
    assert queue.visits == [[first[1]], third, [first[2]], second[1:]]


def test_questions_left_at_the_end_of_an_epoch_come_first_in_the_next():
    queue = QuestionQueue(contexts([4, 4]), seed=1)
    everything = [question for visit in queue.visits for question in visit]
    queue.end_batch(asked=everything[:-2], first_next=[])
    queue.begin_batch(3)
    assert queue.epoch == 1 and len(queue) == 8
    assert set(queue.visits[0]) == set(everything[-2:])


def test_contexts_take_turns_and_the_most_valuable_question_of_each_is_first():
    visits = [[0, 1, 2], [3, 4], [5]]
    value = {0: 0.1, 1: 0.9, 2: 0.5, 3: 0.5, 4: 0.5, 5: 1.0}
    order = list(candidates(visits, 2, value.__getitem__, 0.0, random.Random(0)))
    assert order == [1, 3, 2, 4, 0, 5]
    assert list(candidates(visits, 2, value.__getitem__, 1.0, random.Random(0))) == [0, 3, 1, 4, 2, 5]


def test_the_state_goes_through_json():
    queue = QuestionQueue(contexts([5, 2, 4]), seed=2)
    queue.end_batch(asked=[0, 1], first_next=[1])
    other = QuestionQueue(contexts([5, 2, 4]), seed=2)
    other.load(json.loads(json.dumps(queue.state())))
    for some in ([3, 4], [5, 6, 7]):
        queue.end_batch(some, [])
        other.end_batch(some, [])
        queue.begin_batch(9)
        other.begin_batch(9)
        assert (queue.epoch, queue.visits) == (other.epoch, other.visits)
