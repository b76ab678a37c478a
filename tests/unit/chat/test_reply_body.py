"""Bodies of replies, as servers write them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.chat.reply_body import ReadReply, read_body
from rft.chat.reply_error import NoCompletion, ReadError


def completion(**choice: Any) -> bytes:
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 12, "completion_tokens": 4}}).encode()


def read(body: bytes) -> ReadReply:
    found = read_body(body)
    assert isinstance(found, ReadReply)
    return found


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Jazz.", "Jazz."),
        (None, ""),
        ([], ""),
        ([{"type": "text", "text": "Ja"}, {"type": "text", "text": "zz."}], "Jazz."),
        ([{"type": "thinking", "thinking": [{"text": "Hm."}]}, {"type": "text", "text": "Jazz."}], "Jazz."),
        ([{"type": "reasoning", "text": "Hm."}, {"type": "output_text", "text": "Jazz."}], "Jazz."),
        ([{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "Jazz."}], "Jazz."),
        ([{"text": "Jazz."}], "Jazz."),
        ([{"type": "text", "text": {"value": "Jazz."}}], "Jazz."),
        (["Ja", "zz."], "Jazz."),
        ({"type": "text", "text": "Jazz."}, "Jazz."),
        ({"parts": ["Ja", "zz."]}, "Jazz."),
        ([{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": None}, None, 3], ""),
        (4, "4"),
        (True, ""),
    ],
)  # fmt: skip
def test_content_as_text_or_parts(content: Any, text: str):
    assert read(completion(message={"content": content}, finish_reason="stop")).text == text


def test_fields_of_reasoning_are_no_answer():
    message = {"content": "Jazz.", "reasoning_content": "Tea?", "reasoning": "Tea?", "reasoning_details": [{}]}
    assert read(completion(message=message)).text == "Jazz."
    assert read(completion(message={"content": None, "reasoning_content": "Tea?"})).text == ""


def test_older_and_odd_shapes():
    assert read(completion(text="Jazz.", finish_reason="stop")).text == "Jazz."
    assert read(completion(message="Jazz.")).text == "Jazz."
    assert read(json.dumps({"choices": {"message": {"content": "Jazz."}}}).encode()).text == "Jazz."
    assert read(b"\xef\xbb\xbf" + completion(message={"content": "Jazz."})).text == "Jazz."


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (None, (0, 0)),
        ("many", (0, 0)),
        ({}, (0, 0)),
        ({"prompt_tokens": None, "completion_tokens": None}, (0, 0)),
        ({"prompt_tokens": 12}, (12, 0)),
        ({"prompt_tokens": "12", "completion_tokens": 4.0}, (12, 4)),
        ({"input_tokens": 12, "output_tokens": 4}, (12, 4)),
        ({"prompt_tokens": -1, "completion_tokens": "x"}, (0, 0)),
        ({"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 316}, (12, 304)),
        ({"prompt_tokens": 12, "total_tokens": 16}, (12, 4)),
        ({"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 9}, (12, 4)),
        ({"total_tokens": 16}, (0, 0)),
        ({"prompt_tokens": 12, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 10}}, (12, 4)),
        ({"prompt_tokens": [1], "completion_tokens": {}}, (0, 0)),
    ],
)
def test_usage_null_absent_or_partial(usage: Any, counts: tuple[int, int]):
    found = read_body(json.dumps({"choices": [{"message": {"content": "x"}}], "usage": usage}).encode())
    assert isinstance(found, ReadReply) and (found.prompt_tokens, found.completion_tokens) == counts
    absent = read_body(b'{"choices": [{"message": {"content": "x"}}]}')
    assert isinstance(absent, ReadReply) and (absent.prompt_tokens, absent.completion_tokens) == (0, 0)


def test_a_reply_cut_before_its_first_word_is_cut_off_and_no_failure():
    found = read(completion(message=None, finish_reason="MAX_TOKENS"))
    assert (found.text, found.cut_off, found.failure) == ("", True, None)


@pytest.mark.parametrize("code", [429, "429"])
def test_an_error_in_status_200_names_its_own(code: Any):
    found = read_body(json.dumps({"error": {"message": "slow down", "code": code}}).encode())
    assert isinstance(found, ReadError) and (found.status, found.words) == (429, "slow down")


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "error", "usage", "delta", "text", "finish_reason", "detail"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_read_or_refused(value: Any):
    for body in (json.dumps(value).encode(), f"data: {json.dumps(value)}\n\ndata: [DONE]\n\n".encode()):
        try:
            found = read_body(body)
        except NoCompletion as error:
            assert "\n" not in str(error)
        else:
            assert "\n" not in found.words
            assert isinstance(found, ReadError) or found.text.encode() is not None


@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes):
    try:
        read_body(body)
    except NoCompletion as error:
        assert str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    ("named", "cut_off", "failure"),
    [
        ({"native_finish_reason": "MAX_TOKENS"}, True, None),
        ({"finish_details": {"type": "max_tokens"}}, True, None),
        ({"finishReason": "SAFETY"}, False, "content_filter"),
        ({"stop_reason": "max_tokens"}, True, None),
        ({"finish_reason": "stop", "stop_reason": "max_tokens"}, False, None),
        ({"stop_reason": 151645}, False, None),
    ],
)
def test_a_finish_reason_under_another_name(named: dict[str, Any], cut_off: bool, failure: str | None):
    found = read_body(json.dumps({"choices": [{"message": {"content": "Jazz."}, **named}]}).encode())
    assert isinstance(found, ReadReply) and (found.cut_off, found.failure) == (cut_off, failure)


def test_filter_results_beside_an_empty_text():
    def failure_of(text: str, filtered: bool) -> Any:
        results = {"hate": {"filtered": filtered, "severity": "safe"}}
        choice = {"message": {"content": text}, "finish_reason": "stop", "content_filter_results": results}
        found = read_body(json.dumps({"choices": [choice]}).encode())
        assert isinstance(found, ReadReply)
        return found.failure

    assert failure_of("", True) == "content_filter"
    assert failure_of("", False) is None and failure_of("Jazz.", True) is None


def test_the_error_of_a_server_that_sends_null_choices():
    body = {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}
    found = read_body(json.dumps(body).encode())
    assert isinstance(found, ReadError) and found.words == "insufficient balance"


def test_a_reply_of_another_api_is_no_completion():
    with pytest.raises(NoCompletion, match="often ends in /v1"):
        read_body(json.dumps({"model": "m", "message": {"role": "assistant", "content": "Jazz."}}).encode())
