"""Files of one JSON value per line, as a crash may leave them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.jsonl import keep_whole_lines, whole_lines


def test_a_line_cut_short_does_not_run_into_the_next(tmp_path: Path):
    path = tmp_path / "predictions.jsonl"
    path.write_text('{"a": 1}\n{"a": ')
    keep_whole_lines(path)
    assert path.read_text() == '{"a": 1}\n'
    keep_whole_lines(path)
    assert path.read_text() == '{"a": 1}\n'
    path.write_text('{"a"')
    keep_whole_lines(path)
    assert path.read_text() == ""
    keep_whole_lines(tmp_path / "absent")


def test_a_line_may_be_cut_in_the_middle_of_a_character(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"a": 1}\n{"a": "é'.encode()[:-1])
    assert whole_lines(path) == ['{"a": 1}']
    keep_whole_lines(path)
    assert path.read_bytes() == b'{"a": 1}\n'
    path.write_bytes(b'{"a": 1}\n{"a": "\xff"}\n')
    with pytest.raises(ValueError, match=r"rows.jsonl line 2 is not in UTF-8"):
        whole_lines(path)


def test_a_line_cut_short_is_not_read(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": ')
    assert whole_lines(path) == ['{"a": 1}']
    path.write_text('{"a"')
    assert whole_lines(path) == whole_lines(tmp_path / "absent") == []


@given(st.lists(st.text(st.characters(codec="utf-8") | st.sampled_from("\u2028\u2029\x85\r\n\x0b"))))
def test_any_text_of_a_model_is_one_line(tmp_path_factory, texts: list[str]):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), "utf-8")
    assert [json.loads(line)["text"] for line in whole_lines(path)] == texts
