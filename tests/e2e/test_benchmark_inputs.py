"""Faulty files of the benchmarks beside PersonaMem, through the documented commands: what is read is counted in
results.json, and the rest is one line that names the file, the record and a remedy, with exit status 2."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rft import evaluate
from tests.unit.chat.endpoint_server import Response, Server, chat, scripted_endpoint
from tests.unit.data.readers.test_locomo import SAMPLE, changed
from tests.unit.data.readers.test_locomo_plus import CONVERSATION
from tests.unit.data.readers.test_locomo_plus import ITEM as CUE
from tests.unit.data.readers.test_longmemeval import ITEM
from tests.unit.data.readers.test_perma import QUESTION, TIMELINE, TOPICS

CONFIG = str(Path(__file__).parents[2] / "configs" / "qwen3_4b.yaml")
PERMA_QUESTION = "evaluation/user7/meta/overall/SD-Books-task-1_2.json"
RELEASES: dict[str, dict[str, Any]] = {
    "locomo": {"locomo10.json": [SAMPLE, SAMPLE | {"sample_id": "conv-2"}]},
    "locomo_plus": {"locomo10.json": [CONVERSATION], "locomo_plus.json": [CUE, CUE]},
    "longmemeval": {"longmemeval_s.json": [ITEM, ITEM | {"question_id": "b"}]},
    "perma": {
        PERMA_QUESTION: QUESTION,
        PERMA_QUESTION.replace("1_2", "2_2"): QUESTION,
        "tasks/user7/interleaved_timeline.json": TIMELINE,
        "tasks/user7/raw_dialogues_c.json": TOPICS,
    },
}
"""By format, what each file holds."""

FIRST = {"locomo": "locomo10.json", "locomo_plus": "locomo_plus.json", "longmemeval": "longmemeval_s.json"} | {
    "perma": PERMA_QUESTION
}


def respond(body: dict[str, Any]) -> Response:
    return chat("\\boxed{1}" if body["model"] == "judge" else "Hm. \\boxed{a}")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with scripted_endpoint(monkeypatch) as made:
        made.answer = respond
        yield made


def write(folder: Path, data_format: str, **files: Any) -> None:
    for name, value in (RELEASES[data_format] | files).items():
        path = folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def run(folder: Path, server: Server, data_format: str, *overrides: str) -> int:
    judge = (
        "compare.answers=open", f"compare.judge.endpoint.base_url={server.url}", "compare.judge.endpoint.model=judge",
    )  # fmt: skip
    return evaluate.main([
        CONFIG, f"output_dir={folder / 'out'}", f"data.format={data_format}", f"data.source={folder / 'data'}",
        "eval.split=benchmark", "system=full_history", f"compare.endpoint.base_url={server.url}",
        "compare.endpoint.model=m", "compare.endpoint.max_retries=0", *(judge if data_format != "perma" else ()),
        *overrides,
    ])  # fmt: skip


def read_data(folder: Path) -> dict[str, Any]:
    """What results.json says of the data."""
    (path,) = (folder / "out").rglob("results.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["data"]
    return found


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    told = capsys.readouterr().err
    assert "Traceback" not in told
    (line,) = [line for line in told.splitlines() if line.startswith("error:")]
    return line


def as_lines(content: bytes) -> bytes:
    value = json.loads(content)
    return b"\n".join(json.dumps(item).encode() for item in (value if isinstance(value, list) else [value, value]))


READ: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda content: content,
    "a byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "carriage returns": lambda content: content.replace(b"\n", b"\r\n"),
}
REFUSED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "UTF-16": (lambda content: content.decode().encode("utf-16"), "is UTF-16, not UTF-8; save it as UTF-8"),
    "truncated": (lambda content: content[: len(content) // 2], "is not complete JSON"),
    "empty": (lambda content: b"", "is not complete JSON"),
    "gzip": (gzip.compress, "is compressed (gzip); decompress it first"),
    "Git LFS": (lambda content: b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    "Parquet": (lambda content: b"PAR1" + content, "is a Parquet file; fetch the JSON file of the release"),
    "lines": (as_lines, "holds one JSON value per line; put them into one list"),
    "nesting": (lambda content: b"[" * 100_000 + b"]" * 100_000, "is nested too deeply to be read as JSON"),
}


@pytest.mark.parametrize("data_format", RELEASES)
@pytest.mark.parametrize("form", READ)
def test_files_are_read_however_they_are_written(tmp_path: Path, server: Server, data_format: str, form: str):
    write(tmp_path, data_format)
    for name in RELEASES[data_format]:
        path = tmp_path / "data" / name
        path.write_bytes(READ[form](path.read_bytes()))
    assert run(tmp_path, server, data_format, "data.bad_rows=error") == 0
    found = read_data(tmp_path)
    assert found["num_questions"] == {"locomo": 10}.get(data_format, 2) and found["rows_skipped"] == {}


@pytest.mark.parametrize("data_format", ["locomo", "perma"])
@pytest.mark.parametrize("form", REFUSED)
def test_a_file_that_is_something_else_is_one_line(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str], data_format: str, form: str
):
    write(tmp_path, data_format)
    path = tmp_path / "data" / FIRST[data_format]
    spoil, message = REFUSED[form]
    path.write_bytes(spoil(path.read_bytes()))
    assert run(tmp_path, server, data_format, "data.bad_rows=error") == 2
    assert f"{path} {message}" in error_line(capsys)
    assert server.asked == []


ROWS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a category that is true": (
        "locomo",
        {"locomo10.json": [changed(("qa", 0, "category"), True)]},
        "locomo10.json conversation conv-1, question 0 (counted from 0) has the category 'True'",
    ),
    "an answer that is a list": (
        "locomo",
        {"locomo10.json": [changed(("qa", 0, "answer"), ["jazz"])]},
        "question 0 (counted from 0) answer is neither text nor a number",
    ),
    "a session twice": (
        "locomo",
        {"locomo10.json": [changed(("conversation", "session_02"), [])]},
        "conversation 0 (counted from 0) has both session_2 and session_02",
    ),
    "a gap that is null": (
        "locomo_plus",
        {"locomo_plus.json": [CUE, CUE | {"time_gap": None}]},
        "locomo_plus.json item 1 (counted from 0) time_gap is neither text nor a number",
    ),
    "a date in another form": (
        "longmemeval",
        {"longmemeval_s.json": [ITEM, ITEM | {"question_id": "b", "haystack_dates": ["May 20", "May 21"]}]},
        "question 1 (counted from 0) haystack_dates holds 'May 20'",
    ),
    "an id twice": (
        "longmemeval",
        {"longmemeval_s.json": [ITEM, ITEM]},
        "question 1 (counted from 0) repeats question_id",
    ),
    "a label that is no option": (
        "perma",
        {PERMA_QUESTION: QUESTION | {"gold_label": "G"}},
        f"{PERMA_QUESTION} gold_label is 'G', and the options are A, B, C",
    ),
    "a dialogue twice": (
        "perma",
        {"tasks/user7/raw_dialogues_c.json": [*TOPICS, TOPICS[1]]},
        "tasks/user7 has two dialogues 'event_1 (Travel)'",
    ),
}


@pytest.mark.parametrize("kind", ROWS)
def test_a_row_that_cannot_be_used_is_one_line_or_counted(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str], kind: str
):
    data_format, files, message = ROWS[kind]
    write(tmp_path, data_format, **files)
    assert run(tmp_path, server, data_format, "data.bad_rows=error") == 2
    line = error_line(capsys)
    assert message in line and "set data.bad_rows=skip" in line and server.asked == []
    status = run(tmp_path, server, data_format, "data.bad_rows=skip")
    if status == 0:
        assert sum(read_data(tmp_path)["rows_skipped"].values()) == 1
    else:
        assert message.split(" (counted")[0].split("/")[-1] in error_line(capsys), (
            "none is left, and the first says why"
        )


def test_what_is_left_out_of_conversations_is_counted(tmp_path: Path, server: Server):
    turned = {key: ITEM[key][::-1] for key in ("haystack_dates", "haystack_sessions")}
    write(tmp_path, "longmemeval", **{"longmemeval_s.json": [ITEM | turned | {"answer_session_ids": ["s9"]}]})
    assert run(tmp_path, server, "longmemeval") == 0
    found = read_data(tmp_path)
    assert found["odd_contexts"] == {"messages_without_text": 1, "sessions_out_of_order": 1}
    assert found["evidence_not_found"] == 1
    assert [note.partition(",")[0] for note in found["notes"]] == [
        "e47b: sessions and messages without text are left out", "e47b: sessions are put in the order of their dates",
    ]  # fmt: skip
    said = [message["content"] for body in server.asked if body["model"] == "m" for message in body["messages"]]
    assert [text for text in said if text.startswith("[2023/05/2")] == [
        "[2023/05/20 (Sat) 02:21] Hi.", "[2023/05/21 (Sun) 10:00] I hum jazz.",
    ]  # fmt: skip
