"""Saved samples: what is read is what was written, to the bit, or one line says which file cannot be used and why."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rft.grpo.replay import SCHEMA, VERSION_KEY, num_saved, read_samples, save_samples, table_of_samples
from rft.records import Sample
from tests.tiny import random_samples

token_ids = st.lists(st.integers(0, 2**31 - 1), max_size=8).map(tuple)
PROMPTS = [(1, 5, 9), (1, 5), (), (2**31 - 1,)]


@st.composite
def any_sample(draw: st.DrawFn) -> Sample:
    completion_ids = draw(token_ids)
    size = len(completion_ids)
    return Sample(
        prompt_ids=draw(st.sampled_from(PROMPTS) | token_ids),
        completion_ids=completion_ids,
        sampling_logprobs=tuple(draw(st.lists(st.floats(), min_size=size, max_size=size))),
        advantage=draw(st.floats()),
        group=draw(st.text(max_size=5)),
        weight=draw(st.floats()),
        place=draw(st.integers(0, 2**31 - 1)),
    )


def bits(samples: list[Sample]) -> list[tuple[object, ...]]:
    """All of some samples, with floats as bytes: -0.0 is not 0.0, and one nan is not another."""

    def exact(*values: float) -> bytes:
        return struct.pack(f"{len(values)}d", *values)

    return [
        (s.prompt_ids, s.completion_ids, exact(*s.sampling_logprobs, s.advantage, s.weight), s.group, s.place)
        for s in samples
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(samples=st.lists(any_sample(), max_size=12), number=st.integers(0, 3))
def test_round_trip(tmp_path: Path, samples: list[Sample], number: int) -> None:
    save_samples(tmp_path, number, samples)
    found = read_samples(tmp_path, number)
    assert bits(found) == bits(samples)
    assert all(type(token) is int for sample in found for token in (*sample.prompt_ids, *sample.completion_ids))


def test_a_prompt_is_stored_and_read_once(tmp_path: Path) -> None:
    first, other = random_samples([(3000, 5), (3000, 5)])
    siblings = [Sample(**{**fields(first), "advantage": float(n)}) for n in range(8)]
    save_samples(tmp_path, 0, [first, other])
    save_samples(tmp_path, 1, [*siblings, other])
    sizes = [path.stat().st_size for path in sorted(tmp_path.iterdir())]
    assert sizes[1] < sizes[0] + 8 * 100
    found = read_samples(tmp_path, 1)
    assert found == [*siblings, other]
    assert all(sample.prompt_ids is found[0].prompt_ids for sample in found[:8])


def fields(sample: Sample) -> dict[str, object]:
    return {name: getattr(sample, name) for name in Sample.__dataclass_fields__}


def test_every_field_of_a_sample_is_kept() -> None:
    assert set(SCHEMA.names) == {*Sample.__dataclass_fields__, "prompt_row"}


def test_batches_are_counted_and_an_interrupted_write_is_none(tmp_path: Path) -> None:
    for number in range(3):
        save_samples(tmp_path / "samples", number, random_samples([(3, 2)] * (number + 1)))
    (tmp_path / "samples" / ".batch-000003.parquet.tmp").write_bytes(b"PAR1 half")
    (tmp_path / "samples" / "notes.txt").write_text("mine")
    assert num_saved(tmp_path / "samples") == 3
    assert [len(read_samples(tmp_path / "samples", number)) for number in range(3)] == [1, 2, 3]


def test_a_batch_written_again_replaces_what_an_earlier_run_left(tmp_path: Path) -> None:
    for number in range(4):
        save_samples(tmp_path, number, random_samples([(3, 2)]))
    save_samples(tmp_path, 1, random_samples([(3, 2)] * 5))
    assert num_saved(tmp_path) == 2
    assert len(read_samples(tmp_path, 1)) == 5


def one_line(function: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as caught:
        function()
    assert "\n" not in str(caught.value) and caught.value.__cause__ is None
    return str(caught.value)


def test_a_folder_that_is_absent_or_empty(tmp_path: Path) -> None:
    assert f"{tmp_path / 'none'} is no folder" in one_line(lambda: num_saved(tmp_path / "none"))
    assert f"{tmp_path / 'none'} is no folder" in one_line(lambda: read_samples(tmp_path / "none", 0))
    assert f"no saved samples (batch-000000.parquet, ...) in {tmp_path}" in one_line(lambda: num_saved(tmp_path))


def test_a_gap_and_an_end(tmp_path: Path) -> None:
    for number in range(3):
        save_samples(tmp_path, number, random_samples([(3, 2)]))
    message = one_line(lambda: read_samples(tmp_path, 3))
    assert f"{tmp_path / 'batch-000003.parquet'} does not exist: 3 batches are saved" in message
    (tmp_path / "batch-000001.parquet").unlink()
    assert f"{tmp_path / 'batch-000001.parquet'} is missing" in one_line(lambda: num_saved(tmp_path))


def test_another_version(tmp_path: Path) -> None:
    path = tmp_path / "batch-000000.parquet"
    table = table_of_samples(random_samples([(3, 2)]))
    pq.write_table(table.replace_schema_metadata({VERSION_KEY: b"7"}), path)
    message = one_line(lambda: read_samples(tmp_path, 0))
    assert str(path) in message and "version '7'" in message and "reads version 1" in message
    pq.write_table(pa.table({"a": [1]}), path)
    assert "version ''" in one_line(lambda: read_samples(tmp_path, 0))


def test_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "batch-000000.parquet"
    table = table_of_samples(random_samples([(3, 2)])).drop_columns(["place"])
    pq.write_table(table.replace_schema_metadata({VERSION_KEY: b"1"}), path)
    message = one_line(lambda: read_samples(tmp_path, 0))
    assert str(path) in message and "its columns are prompt_row, prompt_ids" in message


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused_by_name_and_never_read_wrongly(tmp_path: Path, data: st.DataObject) -> None:
    """Cut short anywhere, or any byte changed: one line, or (a byte that nobody reads) the samples as they were."""
    samples = random_samples([(30, 20), (30, 10), (7, 4)])
    path = tmp_path / "batch-000000.parquet"
    save_samples(tmp_path, 0, samples)
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(whole[:at])
    else:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :])
    try:
        assert read_samples(tmp_path, 0) == samples
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error)
