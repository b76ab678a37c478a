"""Widths of texts: never less than a font draws, and a cut text fits."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageFont

from rft.reporting.text_width import shortened, text_width


def test_no_character_is_wider_than_it_is_taken_for():
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    font = ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), 1000)
    characters = [chr(code) for code in (*range(0x20, 0x7F), *range(0xC0, 0x180), 0x2026, 0x2014)]
    wider = {one: font.getlength(one) / 1000 for one in characters if font.getlength(one) / 1000 > text_width(one, 1.0)}
    assert wider == {}


@given(st.text(max_size=60), st.floats(20, 500))
def test_a_text_fits_whole_or_its_beginning_does(text: str, width: float):
    shown = shortened(text, width, 12.0)
    assert text_width(shown, 12.0) <= width
    assert shown == text if text_width(text, 12.0) <= width else text.startswith(shown[:-1]) and shown.endswith("…")


def test_widths_grow_with_the_letters_and_the_font():
    assert text_width("iii", 10) < text_width("aaa", 10) < text_width("AAA", 10) < text_width("WWW", 10)
    assert text_width("é", 10) == text_width("e\u0301", 10) == text_width("e", 10)
    assert text_width("ab", 20) == 2 * text_width("ab", 10)
