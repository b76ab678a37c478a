"""Data sets of one JSON file: which file is meant, and what it must hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from rft.data.readers.json_release import find_release, read_list, release_name


@pytest.mark.parametrize("name", ["longmemeval_s_cleaned.json", "longmemeval_s", "LongMemEval_S.json"])
def test_the_file_alone_in_its_folder_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[1]", encoding="utf-8")
    for other in ("README.md", "longmemeval.zip", "locomo10.json"):
        (tmp_path / other).write_text("", encoding="utf-8")
    (tmp_path / "longmemeval_cache").mkdir()
    assert find_release(str(tmp_path), "longmemeval") == tmp_path / name


@pytest.mark.parametrize("name", ["longmemeval_s", "mine.txt"])
def test_a_file_is_taken_whatever_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[1]", encoding="utf-8")
    (tmp_path / "longmemeval_m.json").write_text("[2]", encoding="utf-8")
    assert find_release(str(tmp_path / name), "longmemeval") == tmp_path / name


def test_of_several_files_one_must_be_chosen(tmp_path: Path) -> None:
    for name in ("longmemeval_m.json", "longmemeval_s"):
        (tmp_path / name).write_text("[1]", encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"holds 2 files, longmemeval_m\.json, longmemeval_s; .* data\.source"
    ) as caught:
        find_release(str(tmp_path), "longmemeval")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "longmemeval_m.json") in str(caught.value)


def test_one_of_several_files_is_chosen_by_name_with_or_without_its_ending(tmp_path: Path) -> None:
    for name in ("longmemeval_m.json", "longmemeval_s", "longmemeval_oracle.json"):
        (tmp_path / name).write_text("[1]", encoding="utf-8")
    for name in ("longmemeval_m.json", "longmemeval_s", "longmemeval_oracle.json"):
        assert find_release(str(tmp_path / name), "longmemeval").name == name
    assert find_release(str(tmp_path / "longmemeval_m"), "longmemeval").name == "longmemeval_m.json"


def test_a_file_of_another_ending_is_told(tmp_path: Path) -> None:
    (tmp_path / "longmemeval_s.json.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(ValueError, match=r"does not exist .*\(the folder holds longmemeval_s\.json\.gz\)"):
        find_release(str(tmp_path / "longmemeval_s.json"), "longmemeval")
    with pytest.raises(ValueError, match=r"holds no longmemeval\*\.json, but longmemeval_s\.json\.gz; fetch it"):
        find_release(str(tmp_path), "longmemeval")


def test_a_folder_of_that_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "longmemeval_s.json").mkdir()
    with pytest.raises(ValueError, match=r"holds no longmemeval\*\.json, but longmemeval_s\.json \(a folder\); fetch"):
        find_release(str(tmp_path), "longmemeval")


def test_carriage_returns_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'[\r\n{"a": 1}\r\n]\r\n')
    assert read_list(path, "questions") == [{"a": 1}]


def test_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no longmemeval\*\.json"):
        find_release(str(tmp_path), "longmemeval")
    with pytest.raises(
        ValueError, match=r"owner/name does not exist \(looked in /.*\); name a longmemeval file or the"
    ):
        find_release("owner/name", "longmemeval")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_fine(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(mark + b'[{"a": 1}]')
    assert read_list(path, "questions") == [{"a": 1}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not complete JSON"),
        (b"[1, 2", "not complete JSON"),
        (b"[" * 5000, "nested too deeply"),
        (b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b"[]", "not a list of questions, or an empty one"),
        (b'{"a": 1}', "not a list of questions"),
        ("[1]".encode("utf-16"), "not UTF-8"),
        (b'{"a": 1}\n{"a": 2}\n', "holds one JSON value per line; put them into one list"),
        (b'{"a": 1}\r\n{"a": 2', "holds one JSON value per line"),
        (b'{"a": 1} {"a": 2}', "not complete JSON .Extra data"),
        (b'[{"a": 1}]\n[{"a": 2}]', "not complete JSON .Extra data"),
        (b"PAR1" + bytes(30), "is a Parquet file; fetch the JSON file of the release, or export the table as JSON"),
        (b"9" * 5000, "not complete JSON"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_list(path, "questions")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_tell_variants_apart() -> None:
    names = [release_name("locomo", Path(name)) for name in ("locomo10.json", "locomo_v1.2", "mine.json")]
    assert names == ["locomo10", "locomo_v1.2", "locomo-mine"]
