"""Errors, as servers write them."""

from __future__ import annotations

from typing import Any

import pytest

from rft.chat.reply_error import LONGEST_WORDS, read_error


@pytest.mark.parametrize(
    ("status", "body", "words", "names"),
    [
        (400, {"message": "no", "code": "x", "param": "seed"}, "no", "seed"),
        (400, {"error": {"message": "no", "param": None}}, "no", ""),
        (400, {"error": "no"}, "no", ""),
        (400, {"detail": "no"}, "no", ""),
        (422, {"detail": [{"loc": ["body", "seed"], "msg": "extra fields", "input": {"temperature": 0}}]},
         "seed: extra fields", "seed"),
        (400, {"object": "error", "message": "no", "type": "BadRequestError", "code": 400}, "no", ""),
        (400, [{"error": {"message": "no", "status": "INVALID_ARGUMENT"}}], "no", ""),
        (400, "no", "no", ""),
        (400, None, "", ""),
        (400, {"error": {"message": "no\n\x1b[31m way", "code": None}}, "no way", ""),
        (400, {"errors": [{"message": "no"}]}, "no", ""),
    ],
)  # fmt: skip
def test_errors_in_the_shapes_of_servers(status: int, body: Any, words: str, names: str):
    found = read_error(status, body)
    assert (found.status, found.words, found.names) == (status, words, names)


def test_a_long_error_is_shortened():
    found = read_error(400, {"message": "no " * 1_000_000})
    assert len(found.words) <= LONGEST_WORDS + 4
