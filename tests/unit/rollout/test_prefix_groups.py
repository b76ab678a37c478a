"""Which requests are generated together: never a worse choice than any other, and the recipe's contexts apart."""

from __future__ import annotations

from itertools import combinations, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from rft.rollout.prefix_groups import CHUNK, DecodeCost, common_prefix, split_by_prefix

prompts = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=5).map(tuple), max_size=7)
costs = st.builds(
    lambda step, shortest, fewest: DecodeCost(
        step=step, token=3, cascades=lambda prefix, requests: prefix >= shortest and requests >= fewest
    ),
    st.integers(0, 40),
    st.integers(0, 4),
    st.integers(1, 4),
)

H100 = DecodeCost(step=14 * 10**9, token=147_456, cascades=lambda prefix, requests: prefix >= 256 and requests > 16)
"""Qwen3-4B: by vLLM's formula 17 sequences fill the card."""


def read_by(parts: list[slice], asked: list[tuple[int, ...]], cost: DecodeCost) -> int:
    total = 0
    for part in parts:
        group = asked[part]
        prefix = len(group[0])
        for one in group:
            prefix = min(prefix, common_prefix(group[0], one))
        total += cost.of_group(sum(map(len, group)), len(group), prefix)
    return total


@settings(deadline=None)
@given(prompts, costs)
def test_no_other_way_to_cut_the_requests_reads_less(asked: list[tuple[int, ...]], cost: DecodeCost) -> None:
    parts = split_by_prefix(asked, cost)
    assert [asked[i] for part in parts for i in range(part.start, part.stop)] == asked
    assert all(part.start < part.stop for part in parts)
    for count in range(len(asked)):
        for cuts in combinations(range(1, len(asked)), count):
            other = [slice(start, end) for start, end in pairwise((0, *cuts, len(asked)))]
            # Equal prompts stay together: apart they would only read more.
            if all(asked[cut - 1] != asked[cut] for cut in cuts):
                assert read_by(parts, asked, cost) <= read_by(other, asked, cost)


@given(st.integers(0, 3 * CHUNK), st.integers(0, 30), st.integers(0, 30))
def test_the_common_prefix_ends_at_the_first_other_token(shared: int, first: int, second: int) -> None:
    assert common_prefix((*range(shared), *[-1] * first), (*range(shared), *[-2] * second)) == shared


def context(number: int, length: int) -> tuple[int, ...]:
    return tuple(range(number * 10**6, number * 10**6 + length))


def asked_of(number: int, questions: int, siblings: int, length: int = 37_000) -> list[tuple[int, ...]]:
    return [(*context(number, length), question) for question in range(questions) for _ in range(siblings)]


def test_long_histories_are_generated_one_after_another() -> None:
    asked = [prompt for number in range(4) for prompt in asked_of(number, questions=4, siblings=16)]
    assert split_by_prefix(asked, H100) == [slice(64 * number, 64 * (number + 1)) for number in range(4)]


def test_siblings_too_few_for_cascade_stay_together() -> None:
    asked = [prompt for number in range(4) for prompt in asked_of(number, questions=1, siblings=16)]
    assert split_by_prefix(asked, H100) == [slice(0, 64)]


def test_histories_too_short_to_pay_for_a_step_stay_together() -> None:
    asked = [prompt for number in range(4) for prompt in asked_of(number, questions=4, siblings=16, length=300)]
    assert split_by_prefix(asked, H100) == [slice(0, 256)]


def test_a_beginning_that_all_contexts_share_does_not_join_them() -> None:
    system = context(99, 2_000)
    asked = [system + prompt for number in range(2) for prompt in asked_of(number, questions=2, siblings=16)]
    assert split_by_prefix(asked, H100) == [slice(0, 32), slice(32, 64)]


def test_nothing_asked_is_no_part() -> None:
    assert split_by_prefix([], H100) == []
