"""Texts that share most of their words with an earlier one: every such pair, and none is guessed.

Two finders use it. What counts as the same differs, so each decides for itself among the pairs: an audit by words
and by what rows are about (rows.py), data making by letters (rft/making/duplicates.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

import numpy as np
import numpy.typing as npt

from rft.auditing.words import words_of

Numbers = npt.NDArray[np.int64]

EMPTY = np.zeros(0, dtype=np.int64)


def earlier_alike(texts: Sequence[str], least: float) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]]:
    """Of each text, the places of earlier ones that are like it, in their order, and how much.

    Words are counted by the texts that have them: a text costs the texts before it once for each of its words, so n
    texts of one pattern cost about n^2 / 2 additions a word (25,000 of 12 words: see LOG.md).

    Args:
        least: Dice's coefficient of the words, 2 |A and B| / (|A| + |B|), from which on texts are alike; above 0.
    """
    bags = [Counter(words_of(text)) for text in texts]
    words = [[(word, n) for word, count in bag.items() for n in range(count)] for bag in bags]
    sizes = np.array([len(found) for found in words], dtype=np.int64)
    number: dict[tuple[str, int], int] = {}
    numbered = [np.array([number.setdefault(word, len(number)) for word in found], dtype=np.int64) for found in words]
    texts_with, begin = by_word(numbered, len(number))
    seen = np.zeros(len(number), dtype=np.int64)
    for place, found in enumerate(numbered):
        having = [texts_with[begin[word] : begin[word] + seen[word]] for word in found.tolist()]
        seen[found] += 1
        shared = np.bincount(np.concatenate([*having, EMPTY]), minlength=place)
        likeness = 2 * shared / np.maximum(sizes[:place] + sizes[place], 1)
        places = np.flatnonzero(likeness >= least)
        yield places, likeness[places]


def by_word(numbered: Sequence[Numbers], num_words: int) -> tuple[Numbers, Numbers]:
    """The texts that have each word, one word after the other, and where each word begins."""
    words = np.concatenate([*numbered, EMPTY])
    texts = np.repeat(np.arange(len(numbered)), [len(found) for found in numbered])
    order = np.argsort(words, kind="stable")
    begin = np.searchsorted(words[order], np.arange(num_words))
    return texts[order], begin


def same_letters(first: str, second: str, ratio: float) -> bool:
    """Whether two texts are alike letter by letter: `difflib.SequenceMatcher.ratio` is `ratio` or more."""
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    return matcher.real_quick_ratio() >= ratio and matcher.quick_ratio() >= ratio and matcher.ratio() >= ratio
