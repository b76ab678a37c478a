"""Parquet files are read as the CSV file or the JSON object that they were made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rft.data.dataset import RecordError
from rft.data.formats import open_dataset
from rft.data.readers.parquet_rows import cell_text
from rft.data.readers.personamem_csv import COLUMNS, csv_path
from rft.data.readers.personamem_v2 import PersonaMemV2
from tests.unit.data.builder import make_config, make_history, make_row, write_csv
from tests.unit.data.readers.test_personamem_v1 import ROW
from tests.unit.data.readers.test_personamem_v1 import write as write_v1

HISTORY = make_row(1, 0)["chat_history_32k_link"]

PLACES = {
    "the hub's conversion of CSV files": "data/{name}_text-00000-of-00001.parquet",
    "datasets' own": "data/{name}-00000-of-00001.parquet",
    "the hub's branch of conversions": "default/{name}_text/0000.parquet",
    "beside the CSV files": "benchmark/text/{name}.parquet",
    "alone": "{name}.parquet",
}


def open_v2(root: Path, **data: Any) -> PersonaMemV2:
    return PersonaMemV2(make_config(root, **data).data)


def to_parquet(root: Path, place: str) -> None:
    """Replaces each CSV file, its columns typed as pandas finds them: counts, truth values, empty columns."""
    for name in PersonaMemV2.splits:
        source, target = csv_path(root, name), root / place.format(name=name)
        target.parent.mkdir(parents=True, exist_ok=True)
        pd.read_csv(source).to_parquet(target)
        source.unlink()


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_the_same_rows_as_parquet_are_read_without_any_csv(dataset: Path, place: str) -> None:
    write_csv(
        dataset, "val", [make_row(p, n, topic_query="café, naïve", prev_pref="") for p in (3, 7, 9) for n in (0, 1)]
    )
    before = {name: open_v2(dataset).split(name) for name in PersonaMemV2.splits}
    as_released = open_v2(dataset, train_split="paper").split("val")
    to_parquet(dataset, place)
    after = open_v2(dataset)
    assert {name: after.split(name) for name in PersonaMemV2.splits} == before
    assert open_v2(dataset, train_split="paper").split("val") == as_released
    question = before["val"].questions[0]
    assert after.option_order(question) == open_v2(dataset).option_order(question)


def test_one_split_needs_its_own_parquet_file_alone(dataset: Path) -> None:
    before = open_v2(dataset).split("benchmark")
    to_parquet(dataset, "data/{name}_text-00000-of-00001.parquet")
    for name in ("train", "val"):
        (dataset / f"data/{name}_text-00000-of-00001.parquet").unlink()
    assert open_v2(dataset).split("benchmark") == before
    with pytest.raises(ValueError, match=r"train\.csv does not exist; with data.train_split=persona"):
        open_v2(dataset).split("train")


def test_columns_that_hold_lists_and_objects_are_the_json_they_were(dataset: Path) -> None:
    before = open_v2(dataset).split("benchmark")
    frame = pd.read_csv(csv_path(dataset, "benchmark"))
    for column in ("incorrect_answers", "related_conversation_snippet", "expanded_persona"):
        frame[column] = frame[column].map(json.loads)
    frame["user_query"] = frame["user_query"].map(lambda text: COLUMNS["user_query"](text)).map(as_message)
    frame.to_parquet(dataset / "benchmark.parquet")
    csv_path(dataset, "benchmark").unlink()
    assert open_v2(dataset).split("benchmark") == before


def as_message(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_shards_are_one_table_and_rows_are_numbered_through(dataset: Path) -> None:
    before = open_v2(dataset).split("benchmark")
    frame = pd.read_csv(csv_path(dataset, "benchmark"))
    for shard, rows in enumerate((frame[:2], frame[2:])):
        rows.to_parquet(dataset / f"data/benchmark_text-0000{shard}-of-00002.parquet")
    csv_path(dataset, "benchmark").unlink()
    assert open_v2(dataset).split("benchmark") == before
    (dataset / "data/benchmark_text-00000-of-00002.parquet").unlink()
    with pytest.raises(ValueError, match="are not the 2 files of one table; fetch all of them"):
        open_v2(dataset).split("benchmark")


def test_where_both_are_there_the_csv_file_is_read(dataset: Path) -> None:
    before = open_v2(dataset).split("benchmark")
    pd.DataFrame({"x": [1]}).to_parquet(dataset / "benchmark.parquet")
    assert open_v2(dataset).split("benchmark") == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 12\n", "is a Git LFS pointer"),
        (b"", "is not whole Parquet"),
        (b"PAR1" + bytes(100), "is not whole Parquet"),
        (None, "is not whole Parquet"),
    ],
)
def test_a_parquet_file_that_is_cut_or_a_pointer_is_named(dataset: Path, content: bytes | None, message: str) -> None:
    to_parquet(dataset, "{name}.parquet")
    path = dataset / "benchmark.parquet"
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    with pytest.raises(ValueError, match=message) as caught:
        open_v2(dataset).split("benchmark")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_column_and_a_bad_cell_are_named(dataset: Path) -> None:
    frame = pd.read_csv(csv_path(dataset, "benchmark"))
    csv_path(dataset, "benchmark").unlink()
    path = dataset / "benchmark.parquet"
    frame.drop(columns="who").to_parquet(path)
    with pytest.raises(ValueError, match=r"benchmark\.parquet lacks the column who"):
        open_v2(dataset).split("benchmark")
    frame["distance_from_related_snippet_to_query_32k"] = 1e23
    frame.to_parquet(path)
    with pytest.raises(RecordError, match=r"benchmark\.parquet row 0 .*distance.*'1e\+23'"):
        open_v2(dataset).split("benchmark")


def test_a_history_as_parquet_is_the_history(dataset: Path) -> None:
    before = open_v2(dataset).context(HISTORY)
    path = dataset / HISTORY
    path.unlink()
    pq.write_table(pa.Table.from_pylist([make_history(1)]), path.with_suffix(".parquet"))
    assert open_v2(dataset).context(HISTORY) == before
    for rows, reason in (([make_history(1)] * 2, "history_parquet"), ([{"role": "user"}], "history_format")):
        pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
        with pytest.raises(RecordError) as caught:
            open_v2(dataset).context(HISTORY)
        assert caught.value.reason == reason
    path.with_suffix(".parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(RecordError, match="is a Git LFS pointer"):
        open_v2(dataset).context(HISTORY)


@pytest.mark.parametrize(
    "place", ["questions_32k.parquet", "data/32k-00000-of-00001.parquet", "benchmark/32k/0000.parquet"]
)
def test_version_1_as_parquet(tmp_path: Path, place: str) -> None:
    config = make_config(write_v1(tmp_path, ROW), format="personamem_v1").data
    before = open_dataset(config).split("benchmark")
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    pd.read_csv(tmp_path / "questions_32k.csv").to_parquet(tmp_path / place)
    (tmp_path / "questions_32k.csv").unlink()
    assert open_dataset(config).split("benchmark") == before


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (True, "True"),
        (3, "3"),
        (12.0, "12.0"),
        ("é", "é"),
        (b"x", "x"),
        ([{"a": "é"}], '[{"a": "é"}]'),
    ],
)
def test_values_become_the_texts_of_a_csv_file(value: Any, text: str) -> None:
    assert cell_text(value) == text
