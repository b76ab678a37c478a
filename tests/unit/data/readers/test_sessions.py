"""Sessions: the first message with text says when it was."""

from __future__ import annotations

from rft.data.readers.sessions import date_session, places_note
from rft.records import Message


def test_the_first_message_with_text_is_dated_and_places_are_kept() -> None:
    hi, hello = Message(role="user", content="Hi."), Message(role="assistant", content="Hello.")
    dated = Message(role="user", content="[8 May] Hi.")
    assert date_session("8 May", [hi, hello]) == [dated, hello]
    assert date_session("8 May", [None, hi, None, hello]) == [None, dated, None, hello]


def test_a_session_without_text_has_no_date() -> None:
    assert date_session("8 May", [None, None]) == [None, None]
    assert date_session("8 May", []) == []


def test_a_note_names_the_first_few_places() -> None:
    assert places_note("conv-1", "turns are left out", ["D1:1"]) == "conv-1: turns are left out, 1 of them (D1:1)"
    many = places_note("conv-1", "turns are left out", [f"D{n}:1" for n in range(7)])
    assert many == "conv-1: turns are left out, 7 of them (D0:1, D1:1, D2:1, D3:1, D4:1 and 2 more)"
