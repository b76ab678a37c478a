"""Texts as words, for checks that compare texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from rft.plain_text import as_seen

WORD = re.compile(r"[^\W_]+")

FILLERS = frozenset(
    (
        "the", "and", "for", "with", "who", "his", "her", "its", "their", "that", "this", "from", "likes", "prefers",
        "enjoys", "loves", "about", "into", "over", "under", "has", "have", "does", "not", "they", "them", "are",
        "was", "were", "very", "often", "usually", "when", "while", "which", "also", "more", "than", "user",
    )
)  # fmt: skip
"""Words that say nothing of what a preference is about."""


def words_of(text: str) -> list[str]:
    """The words and numbers of a text as a person sees it, in lower case, without punctuation marks."""
    return WORD.findall(as_seen(text).casefold())


def num_texts_with(texts: Iterable[str]) -> Counter[str]:
    """In how many of the texts each word occurs."""
    return Counter(word for text in texts for word in set(words_of(text)))


def content_words(text: str) -> set[str]:
    """The words that say what a text is about."""
    return {word for word in words_of(text) if len(word) > 2 and word not in FILLERS}
