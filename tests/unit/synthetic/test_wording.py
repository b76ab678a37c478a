"""The words that the synthetic data are made of."""

from __future__ import annotations

from collections import Counter

from rft.synthetic.wording import GENERIC, PURPOSES, SECRETS, TOPICS


def test_words_are_unambiguous() -> None:
    values = [value for topic in TOPICS for value in topic.values]
    names = [topic.name for topic in TOPICS]
    everything = [*values, *names, *GENERIC, *SECRETS, *PURPOSES]
    assert [word for word, count in Counter(everything).items() if count > 1] == []
    assert all(word.isalpha() and word.islower() for word in everything)
    assert {len(topic.values) for topic in TOPICS} == {8}
