"""How the questions of a comparison are dealt to ranks."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.eval.asked import Asked
from rft.eval.ranks import Ranks
from tests.unit.eval.builder import make_question


def asked(contexts: list[int], num_samples: int = 1) -> list[Asked]:
    questions = [make_question(number, context_id=f"h{context}") for number, context in enumerate(contexts)]
    return [(question, sample) for sample in range(num_samples) for question in questions]


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 5), st.integers(1, 3))
def test_a_context_is_asked_about_on_one_rank_in_the_given_order(
    contexts: list[int], count: int, num_samples: int
) -> None:
    everything = asked(contexts, num_samples)
    shares = [Ranks(index=index, count=count).share(everything) for index in range(count)]
    assert sorted(map(everything.index, (pair for share in shares for pair in share))) == list(range(len(everything)))
    owners = [{question.context_id for question, _ in share} for share in shares]
    assert sum(map(len, owners)) == len(set().union(*owners))
    for share in shares:
        assert [everything.index(pair) for pair in share] == sorted(everything.index(pair) for pair in share)
    largest = max(Counter(question.context_id for question, _ in everything).values(), default=0)
    assert max(map(len, shares)) - min(map(len, shares)) <= largest


def test_the_launchers_variables_say_which_rank_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert Ranks.launched() == Ranks(index=0, count=1, local_index=0)
    for name, value in {"RANK": "9", "WORLD_SIZE": "16", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    found = Ranks.launched()
    assert found == Ranks(index=9, count=16, local_index=1) and not found.is_first


def test_one_process_needs_no_group() -> None:
    alone = Ranks()
    alone.join(timeout_s=1)
    assert alone.first_says(lambda: 3) == 3 == alone.one_machine_after_another(lambda: 3)
    with pytest.raises(ValueError, match="as it was"), alone.together():
        raise ValueError("as it was")
    alone.leave()
