"""Endpoints that answer with something else, are down for long, or list no models; and a disk that is full."""

from __future__ import annotations

import json
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rft.make_data import main
from tests.unit.chat.endpoint_server import Response, Server, chat, error, stream
from tests.unit.making.conftest import Make
from tests.unit.making.test_create import create, digest, report_of, rows_of
from tests.unit.making.writer import Writer

ONE = {"train": {"personas": 1, "questions": 2}}


def cut_stream(text: str) -> Response:
    status, body, headers = stream(text[:20], text[20:])  # type: ignore[misc]
    return status, body[: len(body) // 3], headers


BROKEN: dict[str, Callable[[str], Response]] = {
    "an error": lambda text: (200, json.dumps({"error": {"message": "upstream broke", "code": 502}})),
    "an error beside a choice": lambda text: (
        200, json.dumps({"choices": [{"error": {"message": "died", "code": 502}, "message": {"content": text[:9]}}]})
    ),
    "a page": lambda text: (200, "<html>maintenance</html>"),
    "a cut stream": cut_stream,
    "half": lambda text: (200, chat(text)[1][:-20]),
    "nothing": lambda text: (200, ""),
}  # fmt: skip


@pytest.fixture
def impatient(config_file: Make) -> Path:
    """A config whose requests are sent once."""
    path = config_file(splits=ONE)
    path.write_text(path.read_text().replace("timeout: 20", "timeout: 20\n      max_retries: 0"))
    return path


@pytest.mark.parametrize("what", BROKEN)
def test_a_status_of_200_with_something_else_is_asked_again(
    server: Server, writer: Writer, impatient: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
):
    """Also when the first request of the next run gets it: the endpoint has answered before."""

    def answer(body: dict[str, Any]) -> Response:
        status, text = writer.answer(body)[:2]
        if body["response_format"]["json_schema"]["name"] == "ConflictsReply":
            writer.seen.clear()
            return BROKEN[what](json.loads(text)["choices"][0]["message"]["content"])
        return status, text

    server.answer = answer
    for _ in range(2):
        assert create(impatient) == 75
        assert "1 requests of conflicts got no answer" in capsys.readouterr().err
    server.answer = writer.answer
    assert create(impatient) == 0
    assert [row["failure"] for row in rows_of(tmp_path / "made", "conflicts")][-1] is None
    assert max(writer.seen.values()) == 1


def test_an_endpoint_that_is_overloaded_for_long_costs_no_candidate(
    server: Server, writer: Writer, impatient: Path, tmp_path: Path
):
    """Whoever repeats the command in a loop meanwhile loses nothing: the requests themselves are not at fault."""

    def busy(body: dict[str, Any]) -> Response:
        is_talk = body["response_format"]["json_schema"]["name"] == "ConversationReply"
        return error(503, "busy") if is_talk else writer.answer(body)

    server.answer = busy
    for _ in range(5):
        assert create(impatient, "budget.attempts=2") == 75
    server.answer = writer.answer
    assert create(impatient, "budget.attempts=2") == 0
    assert report_of(tmp_path / "made")["candidates"]["dropped"] == {}


def test_a_request_that_breaks_the_endpoint_again_and_again_is_given_up(
    server: Server, writer: Writer, impatient: Path, tmp_path: Path
):
    def breaking(body: dict[str, Any]) -> Response:
        is_first_talk = body["response_format"]["json_schema"]["name"] == "ConversationReply" and (
            broken.setdefault("seed", body["seed"]) == body["seed"]
        )
        return error(500, "out of order") if is_first_talk else writer.answer(body)

    broken: dict[str, int] = {}
    server.answer = breaking
    assert create(impatient, "budget.attempts=2") == 75
    # Given up in the second run: another attempt is made, with another seed.
    assert create(impatient, "budget.attempts=2") == 0
    failures = [row["failure"] for row in rows_of(tmp_path / "made", "conversations") if row["seed"] == broken["seed"]]
    assert failures == ["server_error", "server_error"]


@contextmanager
def listing(status: int, text: str) -> Iterator[str]:
    """An address that answers GET /models in this way."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/v1"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "text", "exit_status", "words"),
    [
        (404, "{}", 0, "and does not list its models"),
        (500, "x", 0, "and does not list its models"),
        (200, "<html>", 0, "and does not list its models"),
        (403, '{"error": {"message": "Missing scopes: api.model.read"}}', 0, "and does not list its models"),
        (200, json.dumps({"data": [{"id": "\x1b[31mred" + "x" * 5000}]}), 0, "lists other models: redxxx"),
        (200, json.dumps({"data": [{"id": "scripted"}]}), 0, "model scripted is there"),
        (401, '{"error": {"message": "bad key"}}', 2, "bad key"),
    ],
)
def test_validate_takes_what_models_are_listed(
    server: Server, config_file: Make, capsys: pytest.CaptureFixture[str], status: int, text: str, exit_status: int,
    words: str,
):  # fmt: skip
    with listing(status, text) as address:
        override = f"models.writer.endpoint.base_url={address}"
        assert main(["llm", "validate", str(config_file()), override]) == exit_status
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert words in said and "\x1b" not in said and max(map(len, said.splitlines())) < 1000


def test_a_disk_that_is_full_when_the_data_set_is_written_leaves_the_one_before(
    writer: Writer, config_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = config_file(splits=ONE)
    assert create(config) == 0
    before = digest(tmp_path / "made/dataset")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        assert create(config, "history.windows={32k: 200000}") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"error: {tmp_path / 'made'}") and "the same command continues" in said
    assert digest(tmp_path / "made/dataset") == before
    assert create(config, "history.windows={32k: 200000}") == 0
    assert digest(tmp_path / "made/dataset") != before and not (tmp_path / "made/dataset.part").exists()
    assert max(writer.seen.values()) == 1


def test_a_sentence_file_of_any_kind(writer: Writer, config_file: Make, tmp_path: Path):
    people = tmp_path / "people.txt"
    lines = [f"Person {number} of many\r\n\r\nPerson 1 of many\r\n \u200b \r\n" for number in range(2_000)]
    people.write_bytes("\ufeff".encode() + "".join(lines).encode())
    assert create(config_file(splits=ONE, seed_sentences=str(people))) == 0
    (row,) = rows_of(tmp_path / "made", "personas")
    assert row["failure"] is None
    assert "fits this sentence: Person 0 of many\n" in next(sent for sent in writer.seen if "Person 0" in sent).replace(
        "\\n", "\n"
    )


def test_more_personas_than_there_are_sentences_is_said_at_once(
    writer: Writer, config_file: Make, capsys: pytest.CaptureFixture[str]
):
    assert create(config_file(splits={"train": {"personas": 10**9, "questions": 9}})) == 2
    assert "there are word lists for 7,680 personas, not 1,000,000,000" in capsys.readouterr().err
