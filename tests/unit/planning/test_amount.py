"""A number of bytes of which only a range is known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rft.planning.amount import NOTHING, Amount, exactly, total

sizes = st.integers(0, 2**40)
amounts = st.tuples(sizes, sizes, sizes).map(sorted).map(lambda s: Amount(low=s[0], expected=s[1], high=s[2]))


def test_a_sum_adds_up_each_bound():
    found = Amount(low=1, expected=2, high=4) + exactly(10)
    assert found == Amount(low=11, expected=12, high=14)


def test_nothing_together_is_nothing():
    assert total([]) == NOTHING == exactly(0)


@given(st.lists(amounts))
def test_a_sum_stays_in_order_whatever_is_added(parts: list[Amount]):
    found = total(parts)
    assert found.low <= found.expected <= found.high
    assert found.expected == sum(part.expected for part in parts)
