"""Replies whose text stands under several keys."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.data.readers.cells import parse_messages
from rft.data.readers.split_replies import put_together, stray_keys


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"content": "He wrote ", "see you at noon": " and left."}, "He wrote see you at noon and left."),
        ({"content": "See:", "Subject": "Thanks", "Body": "Dear Ann"}, "See: Subject: Thanks\nBody: Dear Ann"),
        ({"content": "One.", "content_2": "Two."}, "One. Two."),
        ({"content": "One", ", and two": None}, "One, and two"),
        ({"content": None, "response": "All of it."}, "All of it."),
        ({"response": "All of it."}, "All of it."),
        ({"content": "List:", "items": ["a", "b"]}, "List: a\nb"),
        ({"content ": "All of it."}, "All of it."),
        ({"Content": "All", "CONTENT": "of it."}, "All of it."),
        ({"content": "One.", "2": "Two."}, "One. Two."),
        ({"message": {"role": "assistant", "content": "All of it."}}, "All of it."),
        ({"content": "He wrote ", "see you": {"at noon": " and left."}}, "He wrote see you at noon and left."),
        ({"parts": [{"type": "text", "text": "All"}, {"text": "of it."}]}, "All\nof it."),
    ],
)  # fmt: skip
def test_text_under_stray_keys_is_put_behind_the_content(item: dict[str, Any], text: str) -> None:
    assert put_together({"role": "assistant", **item}) == {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    "item",
    [
        {"role": "user", "content": "Hello."},
        {"role": "user", "content": "Hello.", "timestamp": "2026-01-02", "name": "Ann"},
        {"role": "user", "content": "Hello.", "finish_reason": "stop", "usage": {"model": "m"}},
        {"role": "user", "content": "Hello.", "confidence": 0.4, "nested": {"a": 1}},
        {"role": "user", "content": [{"type": "text", "text": "Hello."}], "extra words": "x"},
        {"role": "user", "content": ""},
        "no object",
        None,
    ],
)
def test_anything_else_stays_as_it_is(item: Any) -> None:
    assert put_together(item) is item


def test_side_keys_are_not_stray() -> None:
    assert stray_keys({"role": "user", "content": "a", "Timestamp": 1, "odd": 2, "more words": ""}) == [
        "odd", "more words",
    ]  # fmt: skip


def test_evidence_is_put_together_as_histories_are() -> None:
    (message,) = parse_messages('[{"role": "assistant", "content": "One.", "content_2": "Two."}]')
    assert message.content == "One. Two."


@given(st.dictionaries(st.text(), st.none() | st.text() | st.integers() | st.lists(st.text())))
def test_no_text_is_lost(item: dict[str, Any]) -> None:
    item = {"role": "assistant", "content": "start", **{f"a {key}": value for key, value in item.items()}}
    whole = put_together(item)["content"]
    assert whole.startswith("start")
    for key, value in item.items():
        if key not in ("role", "content"):
            assert key.strip() in whole
            assert not isinstance(value, str) or value.strip() in whole
