"""Texts that say nearly the same: their words propose pairs, their letters decide."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from rft.auditing.likeness import earlier_alike, same_letters
from rft.auditing.lookalikes import as_read

NUM_NEIGHBOURS = 8
"""Earlier texts that each one is compared with letter by letter: those that share most of its words."""

SHARED_WORDS = 0.5
"""Likeness of words (Dice's coefficient) from which on texts are compared."""


def near_duplicates(texts: Sequence[str], ratio: float) -> set[int]:
    """Places of texts that nearly repeat an earlier one, which itself repeats none.

    Args:
        ratio: of matching characters, in (0, 1] (`difflib.SequenceMatcher.ratio`), from which on two are the same.
    """
    written = [" ".join(text.lower().split()) for text in texts]
    first: dict[str, int] = {}
    stays = np.array([first.setdefault(text, place) == place for place, text in enumerate(written)], dtype=bool)
    for place, (others, likeness) in enumerate(earlier_alike(written, SHARED_WORDS)):
        if stays[place]:
            kept = np.flatnonzero(stays[others])
            nearest = kept[np.argsort(-likeness[kept], kind="stable")[:NUM_NEIGHBOURS]]
            stays[place] = not any(same_letters(written[place], written[other], ratio) for other in others[nearest])
    return set(np.flatnonzero(~stays).tolist())


def letters_of(text: str) -> str:
    """Letters and digits alone: what makes two texts differ, and what a secret is in whatever way it is written."""
    return "".join(re.findall(r"[^\W_]+", as_read(text).casefold()))
