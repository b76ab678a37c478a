"""Sessions: the first message with text says when it was."""

from __future__ import annotations

from rft.data.readers.sessions import date_session
from rft.records import Message


def test_the_first_message_with_text_is_dated_and_places_are_kept() -> None:
    hi, hello = Message(role="user", content="Hi."), Message(role="assistant", content="Hello.")
    dated = Message(role="user", content="[8 May] Hi.")
    assert date_session("8 May", [hi, hello]) == [dated, hello]
    assert date_session("8 May", [None, hi, None, hello]) == [None, dated, None, hello]


def test_a_session_without_text_has_no_date() -> None:
    assert date_session("8 May", [None, None]) == [None, None]
    assert date_session("8 May", []) == []
