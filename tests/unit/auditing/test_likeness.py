"""Every pair of texts that share words, found."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.auditing.likeness import earlier_alike, same_letters
from rft.auditing.options import repeated_option
from rft.auditing.words import words_of

TEXTS = st.lists(
    st.lists(st.sampled_from(["tea", "jazz", "music", "quiet", "any", "idea"]), max_size=8).map(" ".join), max_size=12
)


def dice(first: str, second: str) -> float:
    ours, theirs = Counter(words_of(first)), Counter(words_of(second))
    total = ours.total() + theirs.total()
    return 2 * (ours & theirs).total() / total if total else 0.0


@given(TEXTS, st.sampled_from((0.3, 0.5, 0.75, 1.0)))
def test_it_finds_what_comparing_all_pairs_finds(texts: list[str], least: float) -> None:
    found = [
        dict(zip(places.tolist(), likeness.tolist(), strict=True)) for places, likeness in earlier_alike(texts, least)
    ]
    for later, near in enumerate(found):
        expected = {at: dice(texts[at], texts[later]) for at in range(later)}
        assert near == pytest.approx({at: value for at, value in expected.items() if value >= least})


def test_letters_decide_by_difflib() -> None:
    assert same_letters("harbour", "harbor", 0.9) and not same_letters("harbour", "airport", 0.9)


@pytest.mark.parametrize(
    "options",
    [
        ("Ice-cream, please.", "ice cream PLEASE"),
        ("Go \U0001f44d", "go"),
        ("?", "?"),
        ("\u0441\u043er\u0435", "core"),
        ("\u0664\u0665 days", "45 days"),
    ],
)
def test_options_that_read_the_same(options: tuple[str, ...]) -> None:
    assert repeated_option(("Another one", *options)) == (1, 2)


@pytest.mark.parametrize(
    "options",
    [
        ("-5", "5", "+5", "5%", "$5"),
        ("C", "C++", "C#"),
        ("1.5", "15"),
        ("I feel \U0001f600", "I feel \U0001f622"),
        ("+", "-", "*", "/"),
        ("\u0926\u093f\u0928", "\u0926\u093e\u0928"),
    ],
)
def test_options_that_differ_by_a_sign(options: tuple[str, ...]) -> None:
    assert repeated_option(options) is None
