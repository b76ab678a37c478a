"""How wide a text is drawn, so that a chart can leave room for it: an estimate that is rather too wide.

A page takes the font of the reader's system. The widths are those of DejaVu Sans, the widest of the usual ones, rounded
up.
"""

from __future__ import annotations

import unicodedata

NARROW, SMALL, USUAL, CAPITAL, WIDE, OTHER, EMOJI = 0.42, 0.62, 0.64, 0.79, 1.0, 1.1, 1.4
"""Of a character, in units of the font's size."""

NARROW_ONES = frozenset(" !'(),-./:;I[\\]fijlrt|")
SMALL_ONES = frozenset("*?_aceksvxyoz")
WIDE_ONES = frozenset("#%&+<=>@MW^mw~…—")
FIRST_EMOJI = 0x1F000


def text_width(text: str, size: float) -> float:
    """The width of a text, in the unit of `size`, the font's."""
    return size * sum(map(character_width, text))


def character_width(character: str) -> float:
    base = unicodedata.normalize("NFD", character)[0]
    if base in NARROW_ONES:
        return NARROW
    if base in SMALL_ONES:
        return SMALL
    if base in WIDE_ONES:
        return WIDE
    if base.isascii():
        return CAPITAL if base.isupper() else USUAL
    if unicodedata.combining(character):
        return 0.0
    return EMOJI if ord(character) >= FIRST_EMOJI else OTHER


def shortened(text: str, width: float, size: float) -> str:
    """The text, cut at its end where it is wider than `width`."""
    if text_width(text, size) <= width:
        return text
    left = width - text_width("…", size)
    kept = 0
    while kept < len(text) and (left := left - text_width(text[kept], size)) >= 0:
        kept += 1
    return f"{text[:kept]}…"
