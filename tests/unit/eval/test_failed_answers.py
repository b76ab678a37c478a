"""What an endpoint fails to answer: in the table with its reason, asked again where it may pass, never a stop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rft.eval.failed_answers import answers_to_keep, write_answers
from rft.eval.predictions import Prediction, append_predictions, read_predictions
from tests.unit.chat.endpoint_server import Response, Server, chat, error, scripted_endpoint, stream
from tests.unit.eval.builder import make_prediction, make_question
from tests.unit.eval.test_comparison import by_system, compare, find_town, results_of, write_data

FOLDER = Path("out") / "evaluation" / "jsonl-towns-test"
FULL = "system=full_history"


def prediction(number: int, failure: str | None = None, **changes: Any) -> Prediction:
    values = {"failure": failure, "detail": f"http://host, model m: {failure} {number}" if failure else ""}
    return make_prediction(make_question(number), **values | changes)


# ------------------------------------------------------------------------------------------------------------- files


def test_failed_answers_are_written_last_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "predictions.jsonl"
    given = [prediction(0, "timeout"), prediction(1), prediction(2, "content_filter"), prediction(3, "no_box")]
    seen: list[int] = []
    write_answers(path, "full_history", iter(given), lambda: seen.append(1))
    assert read_predictions(path) == [given[1], given[3], given[0], given[2]] and len(seen) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "note: full_history: 2 of 4 answers failed (content_filter 1, timeout 1), the last one: http://host, model m: "
        "content_filter 2; the same command asks again for the 1 that may pass"
    )


def test_where_all_fail_it_is_one_line_and_no_file(tmp_path: Path):
    path = tmp_path / "predictions.jsonl"
    with pytest.raises(ValueError, match=r"^full_history: 2 of 2 answers failed \(content_filter 2\), .*filter 1$"):
        write_answers(path, "full_history", [prediction(n, "content_filter") for n in range(2)], lambda: None)
    assert not path.exists()


def test_where_others_were_answered_before_nothing_stops(tmp_path: Path):
    path = tmp_path / "predictions.jsonl"
    append_predictions(path, [prediction(0)])
    write_answers(path, "full_history", [prediction(1, "timeout")], lambda: None)
    assert [one.failure for one in read_predictions(path)] == [None, "timeout"]


def test_a_run_that_is_stopped_keeps_what_was_answered(tmp_path: Path):
    def answers() -> Iterator[Prediction]:
        yield prediction(0, "timeout")
        yield prediction(1)
        raise ValueError("gone")

    path = tmp_path / "predictions.jsonl"
    with pytest.raises(ValueError, match="gone"):
        write_answers(path, "full_history", answers(), lambda: None)
    assert read_predictions(path) == [prediction(1)]


def test_what_may_pass_is_taken_out_and_other_lines_stay_as_they_are(tmp_path: Path):
    path = tmp_path / "predictions.jsonl"
    kept = [prediction(0), prediction(1, "content_filter")]
    append_predictions(path, [kept[0], prediction(2, "timeout"), kept[1], prediction(3, "overloaded")])
    lines = path.read_text().splitlines()
    with path.open("a") as file:
        file.write('{"question_id": "val/9')  # a crash in the middle of a line
    assert answers_to_keep(path) == kept
    assert path.read_text().splitlines() == [lines[0], lines[2]]
    assert answers_to_keep(path) == kept and answers_to_keep(tmp_path / "absent.jsonl") == []


# ------------------------------------------------------------------------------------------------- the whole command


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with scripted_endpoint(monkeypatch) as made:
        made.answer = find_town
        yield made


def of_town(body: dict[str, Any], town: str) -> bool:
    return any(f"is {town}." in message["content"] for message in body["messages"])


def rows(folder: Path, system: str = "full_history") -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in (folder / FOLDER / "m" / system / "predictions.jsonl").read_text().splitlines()
    ]


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (error(400, "The prompt was filtered.", code="content_filter"), "content_filter"),
        (chat("Rome", finish_reason="content_filter"), "content_filter"),
        (chat(None, finish_reason="refusal"), "refusal"),
        (chat(None, finish_reason="tool_calls"), "tool_calls"),
        ((200, '{"choices": [{"message": null}]}'), "no_message"),
        (error(400, "This model's maximum context length is 9 tokens."), "over_context_length"),
    ],
)
def test_a_question_that_the_endpoint_refuses_is_a_wrong_answer_with_its_reason(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str], response: Response, reason: str
):
    write_data(tmp_path / "towns")
    server.answer = lambda body: response if of_town(body, "Rome") else find_town(body)
    assert compare(tmp_path, server, FULL) == 0
    (row,) = results_of(tmp_path).systems
    assert row.result.failures == {reason: 2} and row.result.num_unrated == 0
    assert (row.result.overall.n, row.result.overall.accuracy) == (6, pytest.approx(4 / 6))
    told = capsys.readouterr()
    assert f"2 of 6 answers failed ({reason} 2)" in told.err and "asks again" not in told.err
    assert "failed" in told.out
    assert all(one["detail"].startswith(server.url) for one in rows(tmp_path) if one["failure"])
    num_asked = len(server.asked)
    assert compare(tmp_path, server, FULL) == 0
    assert len(server.asked) == num_asked, "it is not asked again"


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (error(503, "busy"), "overloaded"),
        ((200, '{"error": {"message": "Overloaded", "type": "overloaded_error"}}'), "overloaded"),
        (error(500, "broken"), "server_error"),
        ((200, "<html>Bad gateway</html>"), "unreadable_reply"),
    ],
)
def test_what_may_pass_has_no_reward_and_is_asked_again(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str], response: Response, reason: str
):
    write_data(tmp_path / "towns")
    server.answer = lambda body: response if of_town(body, "Rome") else find_town(body)
    assert compare(tmp_path, server, FULL) == 0
    (row,) = results_of(tmp_path).systems
    assert (row.result.failures, row.result.num_unrated) == ({reason: 2}, 2)
    assert (row.result.overall.n, row.result.overall.accuracy) == (4, 1.0)
    assert "the same command asks again for the 2 that may pass" in capsys.readouterr().err
    before = [one for one in rows(tmp_path) if not one["failure"]]
    server.answer, server.asked = find_town, []
    assert compare(tmp_path, server, FULL) == 0
    assert len(server.asked) == 2
    assert rows(tmp_path)[:4] == before and [one["failure"] for one in rows(tmp_path)] == [None] * 6
    (row,) = results_of(tmp_path).systems
    assert (row.result.failures, row.result.overall.accuracy) == ({}, 1.0)


@pytest.mark.parametrize(
    "response",
    [
        error(401, "Incorrect API key provided"),
        error(402, "Insufficient credits"),
        error(403, "Not for you"),
        error(404, "The model m does not exist"),
        error(429, "no quota", code="insufficient_quota"),
        error(400, "unknown field: foo"),
        error(400, "filtered", code="content_filter"),
        error(500, "broken"),
        (200, "<html>Welcome</html>"),
        (200, "Café".encode("latin-1")),
    ],
)
def test_where_every_answer_fails_it_is_one_line_and_status_2(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str], response: Response
):
    write_data(tmp_path / "towns")
    server.answer = lambda body: response
    assert compare(tmp_path, server, FULL) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert told[-1].startswith("error: ") and f"{server.url}, model m: " in told[-1]
    assert not any("Traceback" in line for line in told)
    assert not (tmp_path / FOLDER / "m" / "full_history" / "predictions.jsonl").exists()
    server.answer = find_town
    assert compare(tmp_path, server, FULL) == 0
    assert results_of(tmp_path).systems[0].result.overall.accuracy == 1.0


def test_a_server_that_goes_away_stops_the_run_and_the_answers_stay(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
):
    write_data(tmp_path / "towns")
    answered: list[int] = []

    def leave(body: dict[str, Any]) -> Response:
        if len(answered) == 6:
            return 503, "{}"
        answered.append(1)
        return find_town(body)

    server.answer = leave
    systems = "system=full_history,no_history,bm25"
    assert compare(tmp_path, server, systems) == 2
    assert "6 of 6 answers failed (overloaded 6)" in capsys.readouterr().err
    assert [one["failure"] for one in rows(tmp_path)] == [None] * 6
    server.answer = find_town
    assert compare(tmp_path, server, systems) == 0
    assert {row.result.overall.n for row in by_system(results_of(tmp_path)).values()} == {6}


def test_what_a_server_takes_is_learned_once_for_all_systems(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
):
    write_data(tmp_path / "towns")

    def particular(body: dict[str, Any]) -> Response:
        if body.get("temperature", 1) != 1:
            return error(400, "Unsupported value: 'temperature' does not support 0.0 with this model.")
        if not body.get("stream"):
            return error(400, "This model only supports streaming")
        _, text = find_town(body)[:2]
        return stream(json.loads(text)["choices"][0]["message"]["content"])

    server.answer = particular
    assert compare(tmp_path, server, "system=full_history,no_history") == 0
    assert len(server.asked) == 12 + 2
    told = [line for line in capsys.readouterr().err.splitlines() if "note:" in line]
    assert len(told) == 2 and "temperature" in told[0] and "stream" in told[1]
    assert by_system(results_of(tmp_path))["full_history"].result.overall.accuracy == 1.0


def test_the_options_of_an_endpoint(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another")
    monkeypatch.setenv("KEY_OF_AZURE", "sk-a-key-of-the-test\n")
    write_data(tmp_path / "towns")
    url = server.url.replace("http://", "http://me:sesame@") + "?api-version=2024-06-01&code=open-it"
    server.answer = lambda body: stream(json.loads(find_town(body)[1])["choices"][0]["message"]["content"])
    options = (
        f"compare.endpoint.base_url={url}", "compare.endpoint.api_key_header=api-key", "compare.endpoint.stream=true",
        "compare.endpoint.omit=[temperature,seed]", "compare.endpoint.system_role=false",
        "compare.endpoint.alternating_roles=true", "compare.endpoint.api_key_env=KEY_OF_AZURE",
    )  # fmt: skip
    assert compare(tmp_path, server, FULL, *options) == 0
    asked, headers = server.asked[0], server.headers[0]
    assert asked["path"] == "/v1/chat/completions?api-version=2024-06-01&code=open-it"
    assert headers["api-key"] == "sk-a-key-of-the-test" and headers["authorization"].startswith("Basic ")
    assert asked["stream"] is True and "temperature" not in asked and "seed" not in asked
    assert [message["role"] for message in asked["messages"]] == ["user"]
    for path in (tmp_path / "out").rglob("*"):
        text = path.read_text(errors="replace") if path.is_file() else ""
        assert not any(secret in text for secret in ("sesame", "open-it", "sk-")), path
