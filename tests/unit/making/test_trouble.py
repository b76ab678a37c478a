"""Trouble from outside: odd replies, endpoints that go away, full disks, damaged files, Ctrl-C."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.chat.endpoint import ChatReply
from rft.chat.failures import ReplyFailure
from rft.make_data import main
from rft.making.calls import CallRow, Calls, settle_changes
from rft.making.config import MakingConfig, ModelSource
from rft.making.report import cost_of_rows
from rft.making.spending import charged_tokens, most_prompt_tokens
from rft.records import Message
from tests.unit.chat.endpoint_server import Response, Server, chat, error
from tests.unit.making.conftest import Make
from tests.unit.making.test_create import ROOT, create, report_of, rows_of
from tests.unit.making.writer import Writer

Load = Callable[..., MakingConfig]


def a_row(name: str, text: str = "", tokens: tuple[int, int] = (1, 1)) -> CallRow:
    return CallRow(
        id=name, attempt=0, parents=(), model="m", seed=1, prompt_version="v", request="r", prompt_tokens=tokens[0],
        completion_tokens=tokens[1], failure=None, detail="", value={"text": text}, text="",
    )  # fmt: skip


ONE = {"train": {"personas": 1, "questions": 2}}


def answered(message: dict[str, Any], finish_reason: str = "stop") -> Response:
    return 200, json.dumps({"choices": [{"finish_reason": finish_reason, "message": message}]})


def first_then(server: Server, writer: Writer, odd: list[Response]) -> None:
    """The endpoint gives these replies in turn, then the writer's."""
    waiting: Iterator[Response] = iter(odd)
    server.answer = lambda body: next(waiting, None) or writer.answer(body)


ODD_REPLIES: list[tuple[Response, str]] = [
    (chat('{"name": "An', finish_reason="length"), "cut_off"),
    (chat(""), "not_json"),
    (chat(None), "not_json"),
    (answered({"content": None, "reasoning_content": "Whom shall I invent?"}), "not_json"),
    (answered({"content": None, "reasoning_content": "Whom shall I"}, "length"), "cut_off"),
    (answered({"content": None, "refusal": "I cannot do that."}), "refusal"),
    (chat("", finish_reason="content_filter"), "content_filter"),
    (answered({"content": None, "tool_calls": [{"id": "1"}]}), "tool_calls"),
    ((200, json.dumps({"choices": []})), "no_message"),
    (chat("Gladly! Anna is a baker."), "not_json"),
    (chat('{"name": "Anna"}'), "wrong_form"),
    (chat('["Anna"]'), "not_json"),
    (chat('{"name": "Anna"}', usage=False), "wrong_form"),
    (error(400, "I do not like this prompt"), "refused_request"),
]


def test_every_odd_reply_has_its_reason_and_is_asked_for_again(
    server: Server, writer: Writer, config_file: Make, tmp_path: Path
):
    first_then(server, writer, [reply for reply, _ in ODD_REPLIES])
    config = config_file(splits=ONE, history={"windows": {"32k": 5, "128k": 5000}})
    assert create(config, f"budget.attempts={len(ODD_REPLIES) + 1}") == 0
    rows = rows_of(tmp_path / "made", "personas")
    assert [row["failure"] for row in rows] == [*(reason for _, reason in ODD_REPLIES), None]
    assert len({row["seed"] for row in rows}) == len(rows)
    assert all(row["text"] or not row["failure"] or row["failure"] not in ("wrong_form",) for row in rows)
    assert report_of(tmp_path / "made")["histories_longer_than_window"] == {"32k": 1, "128k": 0}
    unpaid = [row["failure"] for row in rows if not row["prompt_tokens"]]
    assert unpaid == ["refused_request"], "what the endpoint does not count is reckoned"


def test_marks_of_a_chat_template_do_not_enter(server: Server, writer: Writer, config_file: Make, tmp_path: Path):
    plain = writer.answer

    def leaky(body: dict[str, Any]) -> Response:
        status, text, *_ = plain(body)
        is_odd = body["response_format"]["json_schema"]["name"] != "PersonaReply" and body["seed"] % 3 == 0
        return status, str(text).replace("Polish", "<|im_end|>\\\\n<｜User｜>Polish") if is_odd else text

    server.answer = leaky
    assert create(config_file(splits=ONE)) == 0
    failures = [row["failure"] for row in rows_of(tmp_path / "made", "conversations")]
    assert set(failures) == {None, "control_token"}
    written = "".join(path.read_text() for path in (tmp_path / "made/dataset").rglob("*.*"))
    assert "im_end" not in written and "User｜" not in written


def test_an_endpoint_that_knows_no_schema_is_told_it_in_words(
    server: Server, writer: Writer, config_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def without_schemas(body: dict[str, Any]) -> Response:
        if "response_format" in body:
            return error(400, "Unrecognized request argument: response_format")
        prompt, _, schema = body["messages"][-1]["content"].rpartition("\n\nThe JSON object follows this schema: ")
        form = {"json_schema": {"name": json.loads(schema)["title"]}}
        asked = body | {"messages": [{"role": "user", "content": prompt}], "response_format": form}
        status, text, *_ = writer.answer(asked)
        written = json.loads(str(text))["choices"][0]["message"]["content"]
        return status, chat(f"Here you are:\n```json\n{written}\n```")[1]

    server.answer = without_schemas
    config = config_file(splits=ONE)
    assert create(config) == 2
    said = capsys.readouterr().err
    assert "Unrecognized request argument: response_format" in said and "models.writer.structured" in said
    assert said.count("\n") == 1
    assert create(config, "models.writer.structured=none", "on_change=restart") == 0
    assert report_of(tmp_path / "made")["complete"]


def test_errors_that_pass_are_not_seen_in_the_rows(server: Server, writer: Writer, config_file: Make, tmp_path: Path):
    cut = (*chat('{"name": "Anna'), {"Content-Length": "5000"})
    first_then(
        server, writer,
        [
            cut, error(500, "out of order"), error(503, "busy"),
            (*error(429, "slow down"), {"retry-after-ms": "", "Retry-After": formatdate(time.time() + 1, usegmt=True)}),
        ],
    )  # fmt: skip
    assert create(config_file(splits=ONE)) == 0
    (row,) = rows_of(tmp_path / "made", "personas")
    assert (row["attempt"], row["failure"]) == (0, None)


def test_an_endpoint_that_dies_for_good_is_a_pause_of_the_run_and_not_a_mistake(
    server: Server, writer: Writer, config_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def dying(body: dict[str, Any]) -> Response:
        return writer.answer(body) if len(writer.seen) < 12 else error(503, "gone")

    server.answer = dying
    config = config_file(splits={"train": {"personas": 1, "questions": 20}})
    config.write_text(config.read_text().replace("timeout: 20", "timeout: 20\n      max_retries: 0"))
    assert create(config) == 75
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("stopped: ") and "the same command continues" in said
    unanswered = [row for row in rows_of(tmp_path / "made") if row["failure"]]
    assert 0 < len(unanswered) < 20, "it is not asked for everything"
    server.answer = writer.answer
    assert create(config) in (0, 1)
    assert max(writer.seen.values()) == 1 and len(writer.seen) > 200


def test_what_an_endpoint_does_not_count_is_reckoned_within_what_was_held():
    source = ModelSource(thought_tokens=50)

    def charged(failure: ReplyFailure | None = None, text: str = "", cut_off: bool = False, counts: Any = (0, 0)):
        reply = ChatReply(
            text=text, cut_off=cut_off, prompt_tokens=counts[0], completion_tokens=counts[1], failure=failure
        )
        return charged_tokens(reply, (100, 300), source)

    assert charged(text="x" * 40, counts=(7, 9)) == (7, 9)
    assert charged(text="x" * 40) == (100, 70), "its thoughts may have been as long as they might"
    assert charged(text="x" * 4000) == (100, 300)
    assert charged(cut_off=True) == (100, 300)
    assert charged(ReplyFailure.REFUSAL) == (100, 50)
    assert charged(text="x" * 40, counts=(7, 0)) == (7, 70)
    assert charged(counts=(7, 0)) == (7, 0)
    assert charged(ReplyFailure.REFUSED_REQUEST) == charged(ReplyFailure.UNREACHABLE) == (0, 0)


@given(st.permutations([a_row(f"p{count}", tokens=(count, 3)) for count in range(2, 12)]))
def test_the_cost_is_the_same_in_whatever_order_the_replies_came(rows: list[CallRow]):
    """6.5 millionths, added up in another order, may be a little more or less than that."""
    config = MakingConfig(models={"m": ModelSource(price_in=0.1)})
    assert cost_of_rows(config, rows) == cost_of_rows(config, sorted(rows, key=lambda row: row.prompt_tokens))


def test_a_schema_is_held_for_like_a_prompt():
    messages = [Message(role="user", content="é" * 100)]
    assert most_prompt_tokens(messages, {}) >= 100
    assert most_prompt_tokens(messages, {"response_format": "x" * 400}) >= 200


# ------------------------------------------------------------------------------------------------------------- Ctrl-C


def test_ctrl_c_sends_nothing_more_and_keeps_what_was_on_its_way(
    server: Server, writer: Writer, config_file: Make, tmp_path: Path
):
    on_their_way, may_go_on = threading.Semaphore(0), threading.Event()

    def hanging(body: dict[str, Any]) -> Response:
        if body["response_format"]["json_schema"]["name"] == "ConversationReply":
            on_their_way.release()
            may_go_on.wait(20)
        return writer.answer(body)

    server.answer = hanging
    config = config_file(splits={"train": {"personas": 1, "questions": 20}})
    with subprocess.Popen(
        [sys.executable, "rft/make_data.py", "llm", "create", str(config)], cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for _ in range(4):
            assert on_their_way.acquire(timeout=60)
        process.send_signal(signal.SIGINT)
        while "waiting for the replies on their way" not in (line := process.stderr.readline()):
            assert line
        may_go_on.set()
        said = process.stderr.read()
        assert process.wait(timeout=20) == 130
    assert said == "stopped; the same command of `llm` continues\n"
    assert len(rows_of(tmp_path / "made", "conversations")) == 4
    assert not on_their_way.acquire(timeout=0.1)


# ------------------------------------------------------------------------------------------------------- files on disk


def test_a_full_disk_costs_the_row_that_did_not_fit_and_none_before(tmp_path: Path):
    calls = Calls(tmp_path)
    calls.add("checks", a_row("p0", "é" * 1000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5001, limits[1]))
    try:
        with pytest.raises(OSError, match="checks.jsonl"):
            calls.add("checks", a_row("p1", "é" * 10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with pytest.raises(OSError, match="checks.jsonl"):
        calls.add("checks", a_row("p2"))  # it would run into the line that was cut short
    assert [row.id for row in Calls(tmp_path).rows["checks"]] == ["p0"]


def test_a_folder_that_cannot_be_written_is_one_line(
    writer: Writer, config_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "file").write_text("")
    assert create(config_file(), f"output_dir={tmp_path / 'file' / 'made'}") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path / 'file'}") and said.count("\n") == 1
    assert not writer.seen


@pytest.mark.parametrize("damage", [b'{"id": "p1"}\n', b"\x00\x00\x00\n", b'{"id": "p1", "\xff\n'])
def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path, damage: bytes):
    calls = Calls(tmp_path)
    calls.add("checks", a_row("p0"))
    path = calls.path("checks")
    whole = path.read_bytes()
    path.write_bytes(whole + damage + whole)
    with pytest.raises(ValueError, match=r"checks.jsonl line 2 is no"):
        Calls(tmp_path)
    path.write_bytes(whole + damage.rstrip(b"\n"))
    assert [row.id for row in Calls(tmp_path).rows["checks"]] == ["p0"], "at the end it is left out"


def test_what_was_there_before_stays_however_often_it_is_made_anew(tmp_path: Path):
    settings: dict[str, dict[str, Any]] = {stage: {"words": 1} for stage in Calls(tmp_path).rows}
    for words in (1, 2, 3):
        settings["checks"] = {"words": words}
        assert settle_changes(tmp_path, settings, "restart") == (["checks"] if words > 1 else [])
        Calls(tmp_path).add("checks", a_row(f"p{words}"))
    kept = sorted(path.name for path in tmp_path.glob("checks*"))
    assert kept == ["checks.jsonl", "checks.jsonl.before", "checks.jsonl.before1"]
    (tmp_path / "settings.json").write_text("")
    with pytest.raises(ValueError, match=r"settings.json is damaged; delete it"):
        settle_changes(tmp_path, settings, "refuse")


def test_other_sentences_are_other_settings_and_more_of_them_are_not(
    writer: Writer, config_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    people = tmp_path / "people.txt"
    people.write_bytes("\ufeffA nurse\r\n\r\nA nurse\r\n  \u202bخباز \r\nA pilot\r\n".encode())
    config = config_file(splits=ONE, seed_sentences=str(people))
    assert create(config) == 0
    people.write_text("A nurse\nA baker\n")
    more = {"train": {"personas": 2, "questions": 3}}
    assert create(config_file(splits=more, seed_sentences=str(people))) == 0
    people.write_text("A nurse\nA tailor\n")
    assert create(config_file(splits=more, seed_sentences=str(people))) == 2
    assert "made with other settings (seed_sentences), on which personas, " in capsys.readouterr().err
    assert create(config_file(splits=more, seed_sentences=str(people)), "on_change=restart") == 0
    assert report_of(tmp_path / "made")["complete"]
    asked = [json.loads(sent)["messages"][-1]["content"] for sent in writer.seen]
    assert not any("\ufeff" in prompt or "\r" in prompt for prompt in asked)


def test_a_persona_that_fails_is_told_with_its_reason(
    server: Server, writer: Writer, config_file: Make, capsys: pytest.CaptureFixture[str]
):
    server.answer = lambda body: chat("I would rather not.")
    assert create(config_file(splits=ONE)) == 1
    said = capsys.readouterr().out
    assert "personas: 0\n      1  persona: not_json" in said and "stopped: there is no persona" in said
    assert main(["llm", "preview", str(config_file(splits=ONE)), "--rows", "-1"]) == 2
