"""Whole data sets from a scripted endpoint: good, faulty, slow, overloaded, and cut off in the middle."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rft.config import DataConfig
from rft.data.dataset import check_cluster
from rft.data.readers.personamem_csv import COLUMNS
from rft.data.readers.personamem_v2 import PersonaMemV2
from rft.jsonl import whole_lines
from rft.make_data import main
from rft.making.calls import STAGES
from tests.unit.chat.endpoint_server import Response, Server, error
from tests.unit.making.conftest import Make
from tests.unit.making.writer import Writer

ROOT = Path(__file__).parents[3]
SPLITS = {"train": 6, "val": 4, "benchmark": 4}


def create(config: Path, *overrides: str) -> int:
    return main(["llm", "create", str(config), *overrides])


def rows_of(made: Path, stage: str | None = None) -> list[dict[str, Any]]:
    stages = STAGES if stage is None else (stage,)
    return [json.loads(line) for name in stages for line in whole_lines(made / "calls" / f"{name}.jsonl")]


def report_of(made: Path) -> Any:
    return json.loads((made / "report.json").read_text())


def digest(folder: Path) -> str:
    state = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        state.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return state.hexdigest()


def test_a_good_writer_makes_exactly_what_was_asked_for(
    writer: Writer, config_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert create(config_file(history={"windows": {"32k": 1500, "128k": 4000}})) == 0
    made = tmp_path / "made"
    report = report_of(made)
    assert report["complete"] and report["stopped"] is None
    for window in ("32k", "128k"):
        dataset = PersonaMemV2(DataConfig(source=str(made / "dataset"), window=window, train_split="paper"))
        for split, count in SPLITS.items():
            found = dataset.split(split)
            assert len(found.questions) == count and found.manifest["rows_skipped"] == {}
            for question in found.questions:
                history = dataset.context(question.context_id)
                check_cluster(history, question)
                assert history.notes == {}
                texts = [message.content for message in history.messages]
                assert all(message.content in texts for message in question.evidence)
    csv.field_size_limit(1 << 30)
    personas = []
    for split in SPLITS:
        with (made / f"dataset/benchmark/text/{split}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert set(rows[0]) == set(COLUMNS)
        parsed = [{name: parse(row[name]) for name, parse in COLUMNS.items()} for row in rows]
        personas.append({row["persona_id"] for row in parsed})
        for row in parsed:
            assert row["total_tokens_in_chat_history_32k"] <= 1500 and row["total_tokens_in_chat_history_128k"] > 3500
            assert (row["prev_pref"] is not None) == row["updated"]
            assert (made / "dataset" / row["raw_persona_file"]).exists()
    assert not personas[0] & personas[1] and not personas[1] & personas[2]
    assert max(writer.seen.values()) == 1
    # A second time: nothing is asked, and the same bytes are written.
    asked, before = sum(writer.seen.values()), digest(made / "dataset")
    assert create(config_file(history={"windows": {"32k": 1500, "128k": 4000}})) == 0
    assert sum(writer.seen.values()) == asked and digest(made / "dataset") == before
    # Elsewhere: the same requests, whatever order their replies came in, and the same bytes.
    assert create(config_file(out="again", history={"windows": {"32k": 1500, "128k": 4000}})) == 0
    assert set(writer.seen.values()) == {2} and digest(tmp_path / "again/dataset") == before
    assert report_of(tmp_path / "again") == report
    assert "train: 6 of 6 questions" in capsys.readouterr().out


def test_every_row_names_what_it_was_made_from(writer: Writer, config_file: Make, tmp_path: Path):
    writer.fault = "broken"
    create(config_file())
    rows = rows_of(tmp_path / "made")
    ids = {row["id"] for row in rows}
    assert {row["failure"] for row in rows} == {None, "not_json"}
    for row in rows:
        assert set(row["parents"]) <= ids and row["id"] not in row["parents"]
        assert row["model"] == "writer" and row["prompt_tokens"] == 12 and len(row["prompt_version"]) == 16
        assert (row["value"] is None) == (row["failure"] is not None) == bool(row["text"])
    seeds = [(row["id"], row["seed"]) for row in rows]
    assert len(set(seeds)) == len(seeds), "another try has another seed"
    report = report_of(tmp_path / "made")
    assert report["tokens"] == 16 * len(rows) and report["cost"] == pytest.approx(len(rows) * (12 + 2 * 4) / 1e6)
    assert report["calls"]["questions"]["failed"]["not_json"] == sum(row["failure"] is not None for row in rows)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("hints", "query_gives_preference_away"),
        ("guesses", "answerable_without_history"),
        ("refuses", "question: refusal"),
    ],
)
def test_a_fault_is_counted_by_its_reason_and_never_enters(
    writer: Writer, config_file: Make, tmp_path: Path, fault: str, reason: str
):
    writer.fault = fault
    kinds = {"sensitive_info": 0, "ask_to_forget": 0, "others": 0}
    few = {"train": {"personas": 1, "questions": 4}}
    assert create(config_file(kinds=kinds, splits=few, budget={"candidates_per_persona": 40})) == 1
    report = report_of(tmp_path / "made")
    dropped = report["candidates"]["dropped"]
    # So simple a writer repeats itself.
    assert reason in dropped and set(dropped) <= {reason, "near_duplicate"}
    assert not report["complete"] and report["stopped"]
    assert report["splits"]["train"]["made"] == report["candidates"]["passed"] == 0
    assert sum(report["splits"]["train"]["missing"].values()) == 4
    assert sum(dropped.values()) == report["candidates"]["tried"]


def test_a_writer_whose_right_options_are_mostly_the_longest_is_balanced_by_choice(
    writer: Writer, config_file: Make, tmp_path: Path
):
    writer.fault = "leans"
    splits = {"train": {"personas": 2, "questions": 16}}
    assert create(config_file(splits=splits, budget={"candidates_per_persona": 90})) == 0
    controls = report_of(tmp_path / "made")["splits"]["train"]["controls"]
    assert {row["control"] for row in controls} == {"longest", "shortest", "options_only"}
    groups = {row["group"] for row in controls}
    assert {"all", "who=others", "pref_type=ask_to_forget", "pref_type=sensitive_info"} <= groups
    secrets = [row for row in controls if row["group"] == "pref_type=sensitive_info"]
    assert [(row["rows"], row["not_judged"]) for row in secrets] == [(2, 0), (2, 0), (0, 2)]
    for row in controls:
        assert row["balanced"]
        assert row["share"] is None or abs(row["share"] - 0.25) * row["rows"] <= max(0.03 * row["rows"], 1) + 1e-2


def test_a_writer_that_always_leaks_is_reported_and_not_tried_for_ever(
    writer: Writer, config_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    writer.fault = "leaks"
    splits = {"train": {"personas": 1, "questions": 6}}
    assert create(config_file(splits=splits, budget={"candidates_per_persona": 60})) == 1
    report = report_of(tmp_path / "made")
    assert report["splits"]["train"]["made"] == 6 and not report["complete"]
    assert "rounds brought nothing" in report["stopped"] or "was tried" in report["stopped"]
    assert "out of balance: all, longest is right in 100.0% of 6 rows" in capsys.readouterr().out


def test_an_endpoint_that_is_overloaded_is_waited_for(
    server: Server, writer: Writer, config_file: Make, tmp_path: Path
):
    refused = 0
    lock = threading.Lock()

    def overloaded(body: dict[str, Any]) -> Response:
        nonlocal refused
        with lock:
            if refused < 5:
                refused += 1
                return (*error(429, "Too many requests."), {"retry-after-ms": "60"})
        return writer.answer(body)

    server.answer = overloaded
    begin = time.monotonic()
    assert create(config_file(splits={"train": {"personas": 1, "questions": 2}})) == 0
    assert refused == 5 and time.monotonic() - begin >= 5 * 0.06  # the first stage is one request, refused each time
    assert {row["failure"] for row in rows_of(tmp_path / "made")} == {None}
    assert max(writer.seen.values()) == 1


def test_the_budget_is_kept_and_the_run_continues_when_it_is_raised(
    writer: Writer, config_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = config_file(splits={"train": {"personas": 1, "questions": 2}})
    for key, most, spent in (("max_tokens", 2000, "tokens"), ("max_cost", 0.004, "cost")):
        assert create(config, f"budget.{key}={most}") == 75
        assert f"stopped: budget.{key} = " in capsys.readouterr().err
        rows = rows_of(tmp_path / "made")
        total = {"tokens": 16 * len(rows), "cost": 20 * len(rows) / 1e6}
        assert 0 < total[spent] <= most
    assert not (tmp_path / "made/dataset").exists()
    assert create(config) == 0
    assert max(writer.seen.values()) == 1


@pytest.mark.parametrize("reason", ["server_error", "timeout"])
def test_what_got_no_answer_is_asked_for_again_by_the_same_command(
    server: Server, writer: Writer, config_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], reason: str
):
    def down(body: dict[str, Any]) -> Response:
        if "ConversationReply" in json.dumps(body) and len(writer.seen) % 3 == 0:
            writer.seen["refused"] += 1
            if reason == "timeout":
                time.sleep(0.6)  # the client has gone by then
            return error(500, "out of order")
        return writer.answer(body)

    server.answer = down
    config = config_file(splits={"train": {"personas": 1, "questions": 2}})
    config.write_text(config.read_text().replace("timeout: 20", "timeout: 0.3\n      max_retries: 0"))
    assert create(config) == 75
    assert "got no answer" in capsys.readouterr().err
    unanswered = [row for row in rows_of(tmp_path / "made") if row["failure"] is not None]
    assert {row["failure"] for row in unanswered} == {reason}
    server.answer = writer.answer
    assert create(config) == 0
    by_key: dict[tuple[str, int], list[Any]] = {}
    for row in rows_of(tmp_path / "made"):
        by_key.setdefault((row["id"], row["attempt"]), []).append(row)
    assert all(found[-1]["failure"] is None for found in by_key.values())
    del writer.seen["refused"]
    assert max(writer.seen.values()) == 1, "what was answered is not asked again"


def test_killed_twice_nothing_is_lost_made_twice_or_paid_twice(
    server: Server, writer: Writer, config_file: Make, tmp_path: Path
):
    assert create(config_file(out="straight")) == 0
    total = sum(writer.seen.values())
    writer.seen.clear()
    config = config_file(out="killed")
    on_disk: list[set[tuple[int, str]]] = []
    for kill_after in (total // 4, total // 2):
        reached = threading.Event()

        def counting(body: dict[str, Any], after: int = kill_after, at: threading.Event = reached) -> Response:
            time.sleep(0.002)  # so that some are on their way when it is killed
            reply = writer.answer(body)
            if sum(writer.seen.values()) >= after:
                at.set()
            return reply

        server.answer = counting
        process = subprocess.Popen(
            [sys.executable, "rft/make_data.py", "llm", "create", str(config)],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert reached.wait(timeout=60)
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=20) == -signal.SIGKILL
        asked = sum(writer.seen.values())
        kept = rows_of(tmp_path / "killed")
        assert asked - len(kept) <= 2 * 4, "only what was on its way is lost"
        on_disk.append({(row["seed"], row["id"]) for row in kept})
        with (tmp_path / "killed/calls/checks.jsonl").open("a") as file:
            file.write('{"id": "p0/s')  # as a crash may leave a line
    server.answer = writer.answer
    assert create(config) == 0
    final = rows_of(tmp_path / "killed")
    keys = [(row["id"], row["attempt"]) for row in final]
    assert len(set(keys)) == len(keys) == total, "no row is lost or made twice"
    assert on_disk[0] < on_disk[1] < {(row["seed"], row["id"]) for row in final}
    repeated = [json.loads(sent)["seed"] for sent, count in writer.seen.items() if count > 1]
    assert len(repeated) <= 2 * 4 and not set(repeated) & {seed for seed, _ in on_disk[0]}
    assert digest(tmp_path / "killed/dataset") == digest(tmp_path / "straight/dataset")
    assert report_of(tmp_path / "killed") == report_of(tmp_path / "straight")


def test_another_config_is_refused_or_makes_anew_what_it_touches(
    writer: Writer, config_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = config_file(splits={"train": {"personas": 1, "questions": 2}})
    assert create(config) == 0
    capsys.readouterr()
    assert create(config, "option_words=22") == 2
    said = capsys.readouterr().err
    assert "made with other settings (option_words)" in said and "on_change=restart" in said and said.count("\n") == 1
    assert create(config, "budget.max_cost=1000", "history.windows={32k: 2000}") == 0, "costs and histories may change"
    before = {stage: (tmp_path / f"made/calls/{stage}.jsonl").read_bytes() for stage in STAGES[:4]}
    writer.seen.clear()
    assert create(config, "option_words=22", "on_change=restart") == 0
    for stage, content in before.items():
        assert (tmp_path / f"made/calls/{stage}.jsonl").read_bytes() == content, stage
    assert (tmp_path / "made/calls/questions.jsonl.before").exists()
    assert all("PersonaReply" not in sent and "ConversationReply" not in sent for sent in writer.seen)
    assert create(config, "option_words=22") == 0, "it is now made with these"


def test_more_questions_keep_those_that_are_there(writer: Writer, config_file: Make, tmp_path: Path):
    assert create(config_file(splits={"train": {"personas": 1, "questions": 2}})) == 0
    writer_before = dict(writer.seen)
    assert create(config_file(splits={"train": {"personas": 2, "questions": 5}})) == 0
    assert all(writer.seen[sent] == 1 for sent in writer_before)
    assert report_of(tmp_path / "made")["splits"]["train"]["made"] == 5


def test_another_run_in_the_same_folder_is_refused(
    writer: Writer, config_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = config_file()
    code = (
        "import sys, time; from pathlib import Path; from rft.run_lock import RunLock; "
        "RunLock(Path(sys.argv[1])); print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "made")],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
    ) as other:  # fmt: skip
        assert other.stdout is not None and other.stdout.readline() == b"locked\n"
        assert create(config) == 2
        other.kill()
    assert "belongs to a run that is going on" in capsys.readouterr().err
    assert not writer.seen
