"""What the report shows of rollouts, before it is a page."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.reporting.rollout_views import changes, chosen_groups, verdict_of
from rft.reporting.run_folder import groups_of
from tests.unit.reporting.builder import answer


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"parsed": "a", "reward": 1.0}, "a"),
        ({"parsed": "b"}, "b, right is a"),
        ({"parsed": None, "failure": "no_box"}, "no_box, right is a"),
        ({"parsed": None, "reference": "2031", "reward": 0.5}, "reward 0.50, right is 2031"),
        ({"parsed": None, "reference": "2031", "reward": None}, "reward none, right is 2031"),
    ],
)
def test_an_answer_says_what_was_read_and_what_is_right(changes: dict[str, Any], verdict: str):
    assert verdict_of(answer(**changes)) == verdict


def test_lines_of_a_memory_are_compared():
    found = changes("a\nb\nc", "a\nB\nc\nd")
    assert [(line.kind, line.text) for line in found if line.kind != "same"] == [
        ("removed", "b"), ("added", "B"), ("added", "d"),
    ]  # fmt: skip
    assert changes("", "") == []
    moved = [(line.kind, line.text) for line in changes("a\nb\na", "b\na\na\na")]
    assert moved == [("same", "b"), ("same", "a"), ("same", "a"), ("added", "a")]
    assert [line.kind for line in changes("a\nb", "")] == ["removed", "removed"]


lines_of_text = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=12).map("\n".join)


@given(before=lines_of_text, after=lines_of_text)
def test_no_line_of_a_memory_is_lost_in_the_comparison(before: str, after: str):
    found = changes(before, after)
    assert [line.text for line in found if line.kind != "removed"] == after.splitlines()
    old = [line.text for line in found if line.kind != "added"]
    assert sorted(old) == sorted(before.splitlines())


def test_the_first_and_the_newest_groups_with_a_difference_are_shown():
    rows = [answer(step=step, question_id=f"q{n}", sibling=n) for step in range(50) for n in (0, 0, 1)]
    shown = chosen_groups(groups_of(rows))
    assert [group.step for group in shown] == [0, 1, 2, 3, *range(42, 50)]
    assert all(group.worst is not None for group in shown)
