"""Requests of one context stay together, and every request is dealt once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rft.records import TurnRequest
from rft.serving.deal import deal, families


def request(prompt: tuple[int, ...], max_tokens: int = 4) -> TurnRequest:
    return TurnRequest(prompt_ids=prompt, seed=0, max_tokens=max_tokens)


def test_questions_of_one_history_are_a_family_and_count_its_tokens_once():
    first, second = tuple(range(100)), tuple(range(200, 260))
    requests = [request((*first, 7)), request((*first, 7)), request((*first, 8, 9)), request((*second, 1))]
    found = families(requests, range(4))
    assert [family.places for family in found] == [(0, 1, 2), (3,)]
    assert found[0].work == (101 + 4) + 4 + (2 + 4), "the prompt, and what each adds"
    assert found[1].work == 61 + 4


def test_equal_loads_begin_at_the_rank_s_own_server():
    found = families([request((n, n, n)) for n in range(3)], range(3))
    assert [len(one) for one in deal(found, [0, 0, 0], first=1)] == [1, 1, 1]
    assert deal(found, [0, 0, 0], first=1)[1] == [found[0]]


prompts = st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.integers(0, 40), st.integers(1, 9)), min_size=1)


@given(prompts, st.lists(st.integers(0, 10**6), min_size=1, max_size=4), st.integers(0, 3))
def test_every_request_is_dealt_once_and_no_server_gets_more_than_its_share_and_one_family(
    drawn: list[tuple[int, int, int]], loads: list[int], first: int
):
    requests = [request((history,) * 50 + (question,) * (question + 1), tokens) for history, question, tokens in drawn]
    found = families(requests, range(len(requests)))
    dealt = deal(found, loads, first)
    places = [place for server in dealt for family in server for place in family.places]
    assert sorted(places) == list(range(len(requests)))
    largest = max(family.work for family in found)
    totals = [load + sum(family.work for family in server) for load, server in zip(loads, dealt, strict=True)]
    busy = [total for total, server in zip(totals, dealt, strict=True) if server]
    assert max(busy) - min(totals) <= largest
