"""Replies as streams of events, read as a whole body."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rft.chat.reply_body import ReadReply, read_body
from rft.chat.reply_error import NoCompletion, ReadError


def events(*chunks: Any, gap: str = "\n\n") -> bytes:
    return "".join(f"data: {json.dumps(one) if one != '[DONE]' else one}{gap}" for one in chunks).encode()


def piece(text: Any, **more: Any) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, **more}]}


@pytest.mark.parametrize(
    "body",
    [
        events(piece("Ja"), piece("zz."), piece("", finish_reason="stop"), "[DONE]"),
        events(piece("Ja"), piece("zz."), "[DONE]"),
        events(piece("Ja"), piece("zz.", finish_reason="stop")),
        events(piece("Ja"), piece("zz."), "[DONE]", gap="\r\n\r\n"),
        events(piece("Ja"), piece("zz."), "[DONE]", gap="\n"),
        b": waiting\n\n" + events(piece(None), piece("Jazz."), "[DONE]"),
        b"event: message\nid: 1\n" + events(piece("Jazz.", finish_reason="eos")),
        events(piece([{"type": "thinking", "thinking": "Hm"}]), piece([{"type": "text", "text": "Jazz."}]), "[DONE]"),
        events({"choices": [{"delta": {"reasoning_content": "Hm"}}]}, piece("Jazz."), "[DONE]"),
        events({"choices": [{"message": {"content": "Jazz."}, "finish_reason": "stop"}]}),
        events(piece("Jazz.", finish_reason="stop"), {"choices": [{"message": {"content": "Jazz."}}]}, "[DONE]"),
        events({"choices": [{"text": "Jazz."}]}, "[DONE]"),
        b'data: {"choices": [{"delta":\ndata: {"content": "Jazz."}}]}\n\ndata: [DONE]\n\n',
    ],
)
def test_a_stream_is_read_as_a_whole(body: bytes):
    found = read_body(body)
    assert isinstance(found, ReadReply)
    assert (found.text, found.cut_off, found.failure) == ("Jazz.", False, None)


def test_the_counts_and_the_reason_of_a_stream():
    usage = {"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 4}}
    found = read_body(events(piece("Ja"), piece("", finish_reason="length"), usage, "[DONE]"))
    assert found == ReadReply(text="Ja", cut_off=True, failure=None, prompt_tokens=12, completion_tokens=4)
    filtered = read_body(events(piece("Ja"), piece("", finish_reason="content_filter"), "[DONE]"))
    assert isinstance(filtered, ReadReply) and filtered.failure == "content_filter"


def test_an_error_in_a_stream_is_an_error():
    found = read_body(b"event: error\n" + events({"error": {"message": "Overloaded", "type": "overloaded_error"}}))
    assert isinstance(found, ReadError) and found.words == "Overloaded"
    later = read_body(events(piece("Ja"), {"error": {"message": "gone", "code": 502}}))
    assert isinstance(later, ReadError) and (later.status, later.words) == (502, "gone")


@pytest.mark.parametrize("body", [events(piece("Ja")), b"data: {oops\n\n", b"data:", b": waiting\n\ndata: x"])
def test_a_stream_that_breaks_off_is_no_answer(body: bytes):
    with pytest.raises(NoCompletion):
        read_body(body, "text/event-stream")
