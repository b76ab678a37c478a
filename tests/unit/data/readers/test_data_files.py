"""Files that are not what their names say, and links that lead out of a data set: every reader refuses them by name."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.config import DataConfig
from rft.data.dataset import Dataset, RecordError
from rft.data.formats import FORMATS, open_dataset
from rft.data.readers.data_files import SourceFolder, beside, wrong_form
from tests.unit.data.builder import make_config, make_history, make_row, write_csv, write_dataset, write_history
from tests.unit.data.readers.test_locomo import SAMPLE
from tests.unit.data.readers.test_locomo_plus import ITEM as CUE
from tests.unit.data.readers.test_locomo_plus import write as write_plus
from tests.unit.data.readers.test_longmemeval import ITEM
from tests.unit.data.readers.test_perma import QUESTION
from tests.unit.data.readers.test_perma import write as write_perma
from tests.unit.data.readers.test_personamem_v1 import ROW
from tests.unit.data.readers.test_personamem_v1 import write as write_v1

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
HISTORY = make_row(1, 0)["chat_history_32k_link"]
PERMA_QUESTION = "evaluation/user7/meta/overall/SD-task-1_2.json"

DISGUISES = {
    "a Git LFS pointer": (POINTER, "is a Git LFS pointer, not the file it stands for; fetch the file"),
    "gzip": (gzip.compress(b"{}"), "is compressed (gzip); decompress it first"),
    "a workbook": (b"PK\x03\x04" + bytes(30), "is a zip archive or a workbook"),
    "Parquet": (b"PAR1" + bytes(30), "is a Parquet file"),
    "a web page": (b"\n<!DOCTYPE html><html>", "is a web page; fetch the file itself"),
    "UTF-16": ("persona_id,who\r\n".encode("utf-16"), "is UTF-16, not UTF-8; save it as UTF-8"),
    "UTF-16 without mark": ("persona_id,who\r\n".encode("utf-16-be"), "is UTF-16, not UTF-8"),
    "UTF-32": ("persona_id,who\r\n".encode("utf-32"), "is UTF-32, not UTF-8"),
}


def write_v2(root: Path) -> None:
    write_dataset(root, {"benchmark": (1,)})


def write_jsonl(root: Path) -> None:
    (root / "contexts.jsonl").write_text('{"context_id": "c", "text": "Tea."}\n')
    (root / "questions.jsonl").write_text('{"context_id": "c", "query": "q", "answer": "a", "split": "val"}\n')


FILES: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "v2's table": ("personamem_v2", write_v2, "benchmark/text/benchmark.csv"),
    "v2's history": ("personamem_v2", write_v2, HISTORY),
    "v1's table": ("personamem_v1", lambda root: write_v1(root, ROW), "questions_32k.csv"),
    "v1's contexts": ("personamem_v1", lambda root: write_v1(root, ROW), "shared_contexts_32k.jsonl"),
    "questions.jsonl": ("jsonl", write_jsonl, "questions.jsonl"),
    "contexts.jsonl": ("jsonl", write_jsonl, "contexts.jsonl"),
    "longmemeval": ("longmemeval", lambda root: dump(root / "longmemeval_s.json", [ITEM]), "longmemeval_s.json"),
    "locomo": ("locomo", lambda root: dump(root / "locomo10.json", [SAMPLE]), "locomo10.json"),
    "locomo_plus": ("locomo_plus", lambda root: write_plus(root, [CUE]), "locomo_plus.json"),
    "locomo_plus's conversations": ("locomo_plus", lambda root: write_plus(root, [CUE]), "locomo10.json"),
    "perma's question": ("perma", lambda root: write_perma(root, {"SD-task-1_2": QUESTION}), PERMA_QUESTION),
    "perma's timeline": (
        "perma",
        lambda root: write_perma(root, {"SD-task-1_2": QUESTION}),
        "tasks/user7/interleaved_timeline.json",
    ),
    "perma's dialogues": (
        "perma",
        lambda root: write_perma(root, {"SD-task-1_2": QUESTION}),
        "tasks/user7/raw_dialogues_c.json",
    ),
}
"""Every kind of file that a data set is read from: its format, how it is written, its path."""


def dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def read_all(root: Path, data_format: str, **data: Any) -> Dataset:
    """Reads every question that is evaluated, and its context."""
    dataset = open_dataset(make_config(root, format=data_format, **data).data)
    split = "benchmark" if "benchmark" in dataset.splits else "val"
    for question in dataset.split(split).questions:
        dataset.context(question.context_id)
    return dataset


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_file_that_is_something_else_is_named_with_what_it_is(tmp_path: Path, kind: str, disguise: str) -> None:
    data_format, write, name = FILES[kind]
    write(tmp_path)
    read_all(tmp_path, data_format)
    content, message = DISGUISES[disguise]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_all(tmp_path, data_format)
    assert f"{tmp_path / name} {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", FILES)
def test_a_link_inside_the_data_folder_that_points_out_of_it_is_refused_unless_asked_for(
    tmp_path: Path, kind: str
) -> None:
    data_format, write, name = FILES[kind]
    root, outside = tmp_path / "data", tmp_path / "outside"
    root.mkdir()
    write(root)
    (root / name).rename(outside)
    (root / name).symlink_to(outside)
    with pytest.raises(ValueError) as caught:
        read_all(root, data_format)
    assert f"{root / name} is behind a link that leads out of data.source, to {outside}" in str(caught.value)
    assert "data.follow_links=true" in str(caught.value)
    assert "\n" not in str(caught.value)
    read_all(root, data_format, follow_links=True)


@pytest.mark.parametrize("kind", FILES)
def test_a_link_that_stays_inside_and_a_link_to_the_folder_are_followed(tmp_path: Path, kind: str) -> None:
    data_format, write, name = FILES[kind]
    root = tmp_path / "data"
    root.mkdir()
    write(root)
    (root / "kept").mkdir()
    (root / name).rename(root / "kept" / "file")
    (root / name).symlink_to(root / "kept" / "file")
    (tmp_path / "link").symlink_to(root)
    read_all(tmp_path / "link", data_format)


def test_a_linked_folder_of_histories_is_a_link_out_too(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_v2(root)
    (root / "data").rename(tmp_path / "elsewhere")
    (root / "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RecordError, match="leads out of data.source") as caught:
        read_all(root, "personamem_v2")
    assert caught.value.reason == "history_link"
    read_all(root, "personamem_v2", follow_links=True)


def test_a_file_that_the_user_names_may_be_a_link(tmp_path: Path) -> None:
    dump(tmp_path / "big.json", [ITEM])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "longmemeval_s.json").symlink_to(tmp_path / "big.json")
    dataset = open_dataset(make_config(tmp_path / "data" / "longmemeval_s.json", format="longmemeval").data)
    assert len(dataset.split("benchmark").questions) == 1


def test_a_snapshot_in_a_cache_of_the_hub_is_made_of_links(tmp_path: Path) -> None:
    repository = tmp_path / "datasets--owner--name"
    snapshot = repository / "snapshots" / ("a" * 40)
    write_v2(snapshot)
    (repository / "blobs").mkdir()
    for number, path in enumerate(sorted(path for path in snapshot.rglob("*") if path.is_file())):
        path.rename(repository / "blobs" / str(number))
        path.symlink_to(os.path.relpath(repository / "blobs" / str(number), path.parent))
    read_all(snapshot, "personamem_v2")
    path.unlink()
    path.symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="leads out of data.source"):
        read_all(snapshot, "personamem_v2")


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a broken link", "a loop"])
@pytest.mark.parametrize("file", ["v2's history", "perma's question", "perma's timeline"])
def test_what_is_no_file_is_one_line(tmp_path: Path, file: str, kind: str) -> None:
    data_format, write, name = FILES[file]
    write(tmp_path)
    path = tmp_path / name
    path.unlink()
    match kind:
        case "a folder":
            path.mkdir()
        case "a pipe":
            os.mkfifo(path)
        case "a broken link":
            path.symlink_to(tmp_path / "nothing")
        case "a loop":
            path.symlink_to(path)
    with pytest.raises(RecordError, match=path.name) as caught:
        read_all(tmp_path, data_format)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 300 + ".json", "a\0b.json", "..", "."])
def test_a_link_that_no_file_system_can_have_is_one_line(tmp_path: Path, name: str) -> None:
    write_csv(tmp_path, "benchmark", [make_row(1, 0, chat_history_32k_link=f"data/chat_history_32k/{name}")])
    write_history(tmp_path, 1, make_history(1))
    with pytest.raises(RecordError) as caught:
        read_all(tmp_path, "personamem_v2")
    assert "\n" not in str(caught.value)


def test_a_file_of_nearly_the_same_name_is_told(tmp_path: Path) -> None:
    write_v2(tmp_path)
    path = tmp_path / "benchmark/text/benchmark.csv"
    path.rename(path.with_suffix(".csv.gz"))
    with pytest.raises(ValueError, match=r"benchmark\.csv does not exist \(the folder holds benchmark\.csv\.gz\)"):
        read_all(tmp_path, "personamem_v2")
    assert beside(tmp_path / "nowhere" / "file") == ""


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60))
def test_a_text_in_utf_8_is_no_other_kind_of_file(text: str) -> None:
    for content in (json.dumps([text], ensure_ascii=False), f'"{text}",b\n'):
        assert wrong_form(content.encode()) is None
        assert wrong_form(b"\xef\xbb\xbf" + content.encode()) is None


def test_a_folder_and_its_root(tmp_path: Path) -> None:
    folder = SourceFolder(tmp_path)
    assert folder.problem_of(tmp_path / "a" / "b.json") is None
    assert folder.problem_of(tmp_path.parent / "b.json") is not None
    assert SourceFolder(tmp_path, follow_links=True).problem_of(tmp_path.parent / "b.json") is None


@pytest.mark.parametrize("source", ["x" * 5000, "~nobody-of-this-name/data", "a" * 300 + "/b", "/etc/hostname/data"])
@pytest.mark.parametrize("data_format", list(FORMATS))
def test_a_source_that_no_path_can_be_is_one_short_line(tmp_path: Path, data_format: str, source: str) -> None:
    with pytest.raises(ValueError, match=r"^data\.source") as caught:
        open_dataset(DataConfig(source=source, format=data_format, cache_dir=str(tmp_path)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("data_format", list(FORMATS))
def test_a_relative_source_says_where_it_was_looked_for(
    tmp_path: Path, data_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as caught:
        open_dataset(DataConfig(source="data/nothing", format=data_format, revision="a" * 40))
    assert f"looked in {tmp_path}" in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="everything may be read by root")
def test_a_folder_that_may_not_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0)
    with pytest.raises(ValueError, match=r"^data\.source .* may not be read"):
        open_dataset(DataConfig(source=str(tmp_path / "data")))
