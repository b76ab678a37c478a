"""Texts that say nearly the same: the bm25s library proposes pairs, difflib of the standard library decides."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

NUM_NEIGHBOURS = 8
"""Texts that each one is compared with: those that share most of its rare words."""


def near_duplicates(texts: Sequence[str], ratio: float) -> set[int]:
    """Places of texts that nearly repeat an earlier one.

    Args:
        ratio: of matching characters, in (0, 1] (`difflib.SequenceMatcher.ratio`), from which on two are the same.
    """
    import bm25s

    written = [" ".join(text.lower().split()) for text in texts]
    if len(written) < 2:
        return set()
    words = bm25s.tokenize(written, stopwords=None, show_progress=False)
    if not words.vocab:
        return {place for place, text in enumerate(written) if text in written[:place]}
    model = bm25s.BM25()
    model.index(words, show_progress=False)
    neighbours, _ = model.retrieve(words, k=min(NUM_NEIGHBOURS, len(written)), show_progress=False)
    found = set()
    for place, near in enumerate(neighbours.tolist()):
        earlier = [other for other in near if other < place and other not in found]
        if any(are_alike(written[place], written[other], ratio) for other in earlier):
            found.add(place)
    return found


def are_alike(first: str, second: str, ratio: float) -> bool:
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    return matcher.real_quick_ratio() >= ratio and matcher.quick_ratio() >= ratio and matcher.ratio() >= ratio
