"""Config files: bases, broken files, and files that would blow up."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.config import load_config
from rft.config_parser import parse_override
from rft.config_yaml import LONGEST_MESSAGE, merge, parse_yaml


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path) -> str:
    """The one short line that says why a file is refused, given at once."""
    start = time.perf_counter()
    with pytest.raises(ValueError) as caught:
        load_config(path)
    assert time.perf_counter() - start < 5
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) <= LONGEST_MESSAGE
    return message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "mappings"),
        ("", "not an empty file"),
        ("train: [\n", "not valid yaml"),
        ("a\0b", "not valid yaml"),
        ("train: {seed: 1}\ndata: {}\ntrain: {seed: 2}\n", "'train' is set twice in line 3"),
        ("base: run.yaml\n", "comes back to itself"),
        ("base: 5\n", "'base' must be the path of one yaml file, got 5"),
        ("base: [a]\n", "'base' must be the path of one yaml file, got ['a']"),
        ('base: "a\\0b"\n', "'base' must be the path"),
        ("base: .\n", "cannot be read: Is a directory"),
        ("base: nowhere.yaml\n", "nowhere.yaml does not exist"),
        ("train:\n  seed: " + "[" * 5000 + "]" * 5000, "more than 20 levels deep"),
        ("task_options: &a {again: *a}\n", "more than 20 levels deep"),
    ],
    ids=lambda text: text[:30],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, message: str):
    line = refused(write(tmp_path, "run.yaml", text))
    assert message in line
    assert "run.yaml" in line


def test_a_chain_of_many_bases_is_one_line(tmp_path: Path):
    for number in range(2000):
        write(tmp_path, f"{number}.yaml", f"base: {number + 1}.yaml\n")
    assert "more than 20 files refine each other" in refused(tmp_path / "0.yaml")


@pytest.mark.parametrize("base", ["true", "{a: 1}", "2026.5", "[[a]]", ".nan", "!!int 5"])
def test_a_base_that_is_no_path_is_one_line(tmp_path: Path, base: str):
    assert "'base' must be the path of one yaml file" in refused(write(tmp_path, "run.yaml", f"base: {base}\n"))


def test_a_file_in_another_encoding_is_named(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_bytes("train: {seed: 1}".encode("utf-16"))
    assert "run.yaml is not valid yaml: it is not UTF-8" in refused(path)


def blown_up(line: str, levels: int = 8) -> str:
    """A few hundred bytes whose aliases stand for 9 to the power of `levels` values."""
    lines = ["task_options:", "  a0: &a0 {x: 1}"]
    lines += [f"  a{i + 1}: &a{i + 1} " + line.format(", ".join([f"*a{i}"] * 9)) for i in range(levels)]
    return "\n".join(lines)


@pytest.mark.parametrize("line", ["[{}]", "{{<<: [{}]}}"], ids=["lists", "merge keys"])
def test_aliases_cannot_blow_a_file_up(tmp_path: Path, line: str):
    text = blown_up(line)
    assert len(text) < 600
    assert "more than 10,000 values" in refused(write(tmp_path, "run.yaml", text))


def test_an_absent_file_is_named_with_the_place_where_it_was_looked_for(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"config file nothing.yaml does not exist in {tmp_path}" in refused(Path("nothing.yaml"))
    assert f"{tmp_path}/nothing.yaml does not exist;" in refused(tmp_path / "nothing.yaml")
    assert "cannot be read: Is a directory" in refused(tmp_path)


def test_merge_changes_neither_side():
    base, over = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}, "e": {}}
    assert merge(base, over) == {"a": {"b": 4, "c": 2}, "d": 3, "e": {}}
    assert (base, over) == ({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}, "e": {}})


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
def test_any_text_is_read_or_refused_in_one_line(text: str):
    for read in (lambda: parse_yaml(text, "run.yaml"), lambda: parse_override(text)):
        try:
            read()
        except ValueError as error:
            assert "\n" not in str(error)


@given(st.text(alphabet="[]{}&*a:, \n<!-?|>'\"%@", max_size=40))
def test_any_punctuation_is_read_or_refused_in_one_line(text: str):
    try:
        parse_yaml(text, "run.yaml")
    except ValueError as error:
        assert "\n" not in str(error)
