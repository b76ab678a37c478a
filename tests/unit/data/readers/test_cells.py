"""Cell parsers: a value, or one line about what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rft.data.readers.cells import (
    CellError,
    check_levels,
    encodable,
    one_line,
    parse_bool,
    parse_count,
    parse_json,
    parse_messages,
    parse_optional,
    parse_python,
    parse_text,
    text_of,
    to_messages,
    whole_number,
)
from rft.records import Message

PARSERS: list[Callable[[str], Any]] = [
    parse_python,
    parse_json,
    parse_count,
    parse_bool,
    parse_text,
    parse_messages,
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(PARSERS), st.text() | st.from_regex(r"[\[{\"'(]{1,8}[\w\"':,\]})]*"))
def test_a_parser_returns_or_says_in_one_line_what_is_wrong(parser: Callable[[str], Any], text: str) -> None:
    problem = ""
    try:
        parser(text)
    except CellError as error:
        problem = str(error)
    assert "\n" not in problem


@pytest.mark.parametrize("parser", [parse_python, parse_json, parse_messages])
@pytest.mark.parametrize("text", ["[" * 5000, "[" * 5000 + "]" * 5000, '{"a":' * 5000])
def test_deep_nesting_is_no_traceback(parser: Callable[[str], Any], text: str) -> None:
    with pytest.raises(CellError):
        parser(text)


@settings(deadline=None)
@given(JSON)
def test_any_json_value_is_read(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value


@given(st.integers(-(2**53), 2**53))
def test_whole_numbers_are_read_as_pandas_writes_them(number: int) -> None:
    assert parse_count(str(number)) == parse_count(f"{number}.0") == number


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1.5", "1,000"])
def test_other_numbers_are_refused(text: str) -> None:
    with pytest.raises(CellError, match="not a whole number"):
        parse_count(text)


def test_small_parsers() -> None:
    assert (parse_bool("True"), parse_bool("false")) == (True, False)
    assert (parse_optional(""), parse_optional(" ")) == (None, " ")
    assert parse_text(" a ") == " a "
    assert parse_python("{'a': \"it's\"}") == {"a": "it's"}
    for parser, text in ((parse_bool, "yes"), (parse_text, " \n"), (parse_python, "open('x')")):
        with pytest.raises(CellError):
            parser(text)


def test_messages_without_text_keep_their_place() -> None:
    items = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": " "},
    ]
    assert list(to_messages(items)) == [Message(role="user", content="Hi"), None, None]
    assert parse_messages(json.dumps(items)) == (Message(role="user", content="Hi"),)


@settings(deadline=None, max_examples=200)
@given(JSON)
def test_any_value_gives_messages_or_one_line(items: Any) -> None:
    try:
        found = list(to_messages(items))
    except CellError as error:
        assert "\n" not in str(error)
    else:
        assert len(found) == len(items)


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ({}, "lacks answer"),
        ({"answer": None}, "answer is neither text nor a number"),
        ({"answer": True}, "neither text nor a number"),
        ({"answer": ["x"]}, "neither text nor a number"),
        ({"answer": "  "}, "answer is empty"),
        ({"answer": "\ud83d"}, "half of a surrogate pair"),
    ],
)
def test_what_is_no_text_or_number_is_named(item: dict[str, Any], problem: str) -> None:
    with pytest.raises(CellError, match=problem):
        text_of(item, "answer")


def test_texts_and_numbers_are_texts() -> None:
    assert [text_of({"answer": value}, "answer") for value in ("7 May", 2022, 1.5, 0)] == ["7 May", "2022", "1.5", "0"]


@given(st.text(st.characters(codec="utf-8")))
def test_what_utf_8_can_hold_is_encodable(text: str) -> None:
    assert encodable(text) == text


def test_an_error_of_many_lines_becomes_one() -> None:
    assert one_line(ValueError("a\n  b\n" + "c" * 500)) == "a b " + "c" * 296


@pytest.mark.parametrize("depth", [5_000, 200_000])
@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":['])
@pytest.mark.parametrize("parser", [parse_json, parse_python, parse_messages])
def test_json_nested_200_000_deep_is_one_line(parser: Callable[[str], Any], opening: str, depth: int) -> None:
    with pytest.raises(CellError) as caught:
        parser(opening * depth)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["1e23", "-1e23", "9" * 400, "1e308", "9007199254740993e3"])
def test_a_distance_of_1e23_is_no_count(text: str) -> None:
    with pytest.raises(CellError, match="counts nothing that there is|not a whole number"):
        parse_count(text)


def test_counts_up_to_the_largest_are_read() -> None:
    assert [parse_count(text) for text in ("0", "12.0", str(2**53), "-3")] == [0, 12, 2**53, -3]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, None, [], {}, " "])
def test_a_text_that_json_spells_as_nan_or_as_no_text_is_refused(value: Any) -> None:
    with pytest.raises(CellError, match="^answer is "):
        text_of({"answer": value}, "answer")


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"a": value}])
def test_values_that_are_kept_have_a_bounded_depth(wrap: Callable[[Any], Any]) -> None:
    value: Any = 1
    for _ in range(99):
        value = wrap(value)
    check_levels(value)
    for _ in range(100_000):
        value = wrap(value)
    with pytest.raises(CellError, match="more than 100 levels deep"):
        check_levels(value)


@given(st.integers(-(2**53), 2**53))
def test_a_whole_number_is_read_however_json_has_it(number: int) -> None:
    assert whole_number(number) == whole_number(str(number)) == number
    assert whole_number(float(number)) == number


@pytest.mark.parametrize("value", [None, True, False, 1.5, float("nan"), float("inf"), "", "x", "1.5", [1], {"a": 1}])
def test_what_is_no_whole_number_is_none(value: Any) -> None:
    assert whole_number(value) is None
