"""Texts that say nearly the same: the bm25s library proposes pairs, difflib of the standard library decides."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

NUM_NEIGHBOURS = 8
"""Texts that each one is compared with: those that share most of its rare words."""


def near_duplicates(texts: Sequence[str], ratio: float) -> set[int]:
    """Places of texts that nearly repeat an earlier one.

    Args:
        ratio: of matching characters, in (0, 1] (`difflib.SequenceMatcher.ratio`), from which on two are the same.
    """
    written = [" ".join(text.lower().split()) for text in texts]
    first: dict[str, int] = {}
    found = {place for place, text in enumerate(written) if first.setdefault(text, place) != place}
    # A text that is repeated very often has more of its kind than it has neighbours.
    while more := repeated({place: text for place, text in enumerate(written) if place not in found}, ratio):
        found |= more
    return found


def repeated(texts: Mapping[int, str], ratio: float) -> set[int]:
    """Places of texts that nearly repeat an earlier one, as far as the two are neighbours."""
    import bm25s

    words = bm25s.tokenize(list(texts.values()), stopwords=None, show_progress=False) if len(texts) > 1 else None
    if words is None or not words.vocab:
        return set()
    model = bm25s.BM25()
    model.index(words, show_progress=False)
    neighbours, _ = model.retrieve(words, k=min(NUM_NEIGHBOURS, len(texts)), show_progress=False)
    places = list(texts)
    pairs = {
        (places[max(number, other)], places[min(number, other)])
        for number, near in enumerate(neighbours.tolist())
        for other in near
        if other != number
    }
    found: set[int] = set()
    for later, earlier in sorted(pairs):
        if not {later, earlier} & found and are_alike(texts[later], texts[earlier], ratio):
            found.add(later)
    return found


def are_alike(first: str, second: str, ratio: float) -> bool:
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    return matcher.real_quick_ratio() >= ratio and matcher.quick_ratio() >= ratio and matcher.ratio() >= ratio


def letters_of(text: str) -> str:
    """Letters and digits alone: what makes two texts differ, and what a secret is in whatever way it is written."""
    return "".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).casefold()))
