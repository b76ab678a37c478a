"""What steers a terminal is taken out, and nothing else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.plain_text import as_seen, has_text, without_control_sequences, without_half_surrogates


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("- Likes jazz.\n\t- A lot: 日本語 🎷 é", "- Likes jazz.\n\t- A lot: 日本語 🎷 é"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Hgone", "gone"),
        ("\x9b31mred", "red"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP1;2qdata\x1b\\text", "text"),
        ("\x1b]0;never ends", "0;never ends"),
        ("\x1b(Btext\x1bc", "text"),
        ("a\x00b\x07c\x08d\x7fe\x80f", "abcdef"),
        ("one\r\ntwo\rthree\x0bfour\x0cfive\x85six", "one\ntwo\nthree\nfour\nfive\nsix"),
    ],
)
def test_control_characters_in_a_model_s_text(text: str, shown: str):
    assert without_control_sequences(text) == shown


@given(st.lists(st.sampled_from(["\x1b", "[", "]", "\x9b", "\x9d", "\x90", "\x07", "1;", "m", "\\", "a", "\n"])))
def test_no_control_character_is_left(pieces: list[str]):
    text = without_control_sequences("".join(pieces))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    assert without_control_sequences(text) == text


@pytest.mark.parametrize("piece", ["\x1b", "\x9b", "\x9d", "\x90", "\x1b]", "\x1bP", "\x1b[", "\x9d0;", "\x1b[1"])
@pytest.mark.timeout(20)
def test_sequences_that_never_end_take_no_longer(piece: str):
    without_control_sequences(piece * 300_000)


def test_half_surrogates_are_taken_out_and_counted_and_whole_ones_joined():
    assert without_half_surrogates("jazz \ud83c !\udf77") == ("jazz  !", 2)
    assert without_half_surrogates("\ud83c\udf77 and \udf77\ud83c") == ("\U0001f377 and ", 2)
    assert without_half_surrogates("\ufeffplain 🎷") == ("\ufeffplain 🎷", 0)


@pytest.mark.parametrize(
    "text", ["", " \n\t", "\u00a0", "\u200b\ufeff\u2060", "\u3164", "\u2800", "\u00ad", "\x00\x07"]
)
def test_what_shows_nothing_is_no_text(text: str):
    assert not has_text(text)


@pytest.mark.parametrize("text", ["a", ".", " 0 ", "שלום", "🎷", "👩\u200d👩", "\u200bx"])
def test_whatever_shows_is_text(text: str):
    assert has_text(text)


def test_texts_that_look_the_same_are_the_same():
    assert as_seen("ca\u00adf\u200be\u0301") == as_seen("café") == "café"
    assert as_seen("\uff21\u00a0b") == "A b"
