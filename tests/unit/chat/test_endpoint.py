"""What an endpoint is asked and answers, against a small server of its kind on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest

from rft.chat.endpoint import ChatReply, Endpoint, Pace, usable
from rft.chat.failures import FailedReply
from rft.chat.server_habits import Habits
from rft.records import Message
from tests.unit.chat.endpoint_server import Response, Server, chat, error, scripted_endpoint, stream

KEY = "sk-a-key-of-the-test"
MESSAGES = [Message(role="system", content="Keep a memory."), Message(role="user", content="I hum jazz. Café?")]

LONGER = [*MESSAGES, Message(role="user", content="And tea.")]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with scripted_endpoint(monkeypatch, KEY) as made:
        yield made


@contextmanager
def endpoint_at(server: Server, url: str | None = None, **more: Any) -> Iterator[Endpoint]:
    made = Endpoint(url or server.url, "some/model", **{"timeout": 20.0, "max_retries": 0} | more)
    try:
        yield made
    finally:
        made.client.close()


def ask(server: Server, max_retries: int = 0, url: str | None = None, **more: Any) -> ChatReply:
    with endpoint_at(server, url, max_retries=max_retries, **more) as endpoint:
        return endpoint.reply(MESSAGES, max_tokens=7)


def test_a_reply_and_what_was_asked_for_it(server: Server):
    server.answers = [chat("- Likes jazz, café.")]
    assert ask(server) == ChatReply(text="- Likes jazz, café.", cut_off=False, prompt_tokens=12, completion_tokens=4)
    assert server.asked == [
        {
            "path": "/v1/chat/completions",
            "model": "some/model",
            "messages": [
                {"role": "system", "content": "Keep a memory."},
                {"role": "user", "content": "I hum jazz. Café?"},
            ],
            "max_tokens": 7,
            "temperature": 0.0,
        }
    ]
    assert server.authorizations == [f"Bearer {KEY}"]


def test_a_reply_at_its_limit_is_cut_off(server: Server):
    server.answers = [chat("- Likes ja", finish_reason="length")]
    assert ask(server).cut_off


def test_a_reply_without_text_and_usage_is_empty(server: Server):
    server.answers = [chat(None, usage=False)]
    assert ask(server) == ChatReply(text="", cut_off=False, prompt_tokens=0, completion_tokens=0)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_passing_error_is_tried_again(server: Server, status: int):
    server.answers = [error(status, "busy"), error(status, "busy"), chat("- Likes jazz.")]
    assert ask(server, max_retries=2).text == "- Likes jazz."
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("status", "reason"),
    [(408, "timeout"), (429, "overloaded"), (500, "server_error"), (502, "server_error"), (503, "overloaded"),
     (504, "timeout"), (529, "overloaded")],
)  # fmt: skip
def test_when_retries_end_the_answer_has_failed(server: Server, status: int, reason: str):
    server.answers = [error(status, "not\n  today")]
    reply = ask(server, max_retries=1)
    assert (reply.text, reply.failure) == ("", reason)
    assert reply.detail == f"{server.url}, model some/model: Error code: {status} - not today"
    assert len(server.asked) == 2


def test_a_refused_request_is_a_failed_answer_and_not_tried_again(server: Server):
    server.answers = [error(400, "no\nsuch option"), chat("- Likes jazz.")]
    reply = ask(server, max_retries=3)
    assert (reply.failure, len(server.asked)) == ("refused_request", 1)
    assert reply.detail.endswith("Error code: 400 - no such option")


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_an_error_is_one_line_that_names_url_and_model_and_not_the_key(server: Server, status: int):
    server.answers = [error(status, "not\n  today")]
    with pytest.raises(ValueError) as caught:
        ask(server)
    message = str(caught.value)
    assert message.startswith(f"{server.url}, model some/model: Error code: {status}")
    assert "not today" in message or "not\\n  today" in message
    assert "\n" not in message and KEY not in message
    hidden = caught.value.__suppress_context__ or caught.value.__context__ is None
    assert hidden, "the traceback would show the request"


def test_a_key_that_the_server_repeats_is_left_out(server: Server):
    server.answers = [error(401, f"no such key: {KEY}")]
    with pytest.raises(ValueError) as caught:
        ask(server)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        "<html>Welcome</html>",  # an address without /v1
        "{oops",
        "[]",
        '{"status": "ok"}',
        "",
        "[" * 100_000,
    ],
)
def test_an_answer_that_is_no_chat_completion_is_one_line(server: Server, body: str):
    server.answers = [(200, body)]
    with pytest.raises(ValueError, match=f"{server.url}, model some/model: ") as caught:
        ask(server)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


def test_where_others_were_answered_it_is_a_failed_answer(server: Server):
    server.answers = [chat("Jazz."), (200, "<html>Bad gateway</html>"), chat("Tea.")]
    with endpoint_at(server) as endpoint:
        replies = [endpoint.reply(MESSAGES, max_tokens=7) for _ in range(3)]
    assert [reply.failure for reply in replies] == [None, "unreadable_reply", None]
    assert "Bad gateway" in replies[1].detail


def test_nothing_listens(server: Server):
    server.url = "http://127.0.0.1:1/v1"
    with pytest.raises(ValueError, match="http://127.0.0.1:1/v1, model some/model: Connection error"):
        ask(server)


def test_an_endpoint_of_one_s_own_needs_no_key(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    server.answers = [chat("- Likes jazz.")]
    assert ask(server).text == "- Likes jazz."
    assert server.authorizations == ["Bearer none"]


@pytest.mark.parametrize(
    "key",
    [None, ""],
)
def test_no_key_and_no_endpoint_is_said_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch, key: str | None):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ValueError, match="set OPENAI_API_KEY, or name the endpoint"):
        Endpoint(None, "some/model")


# ------------------------------------------------------------------------------------------------- failed answers


FILTERED = {"code": "content_filter", "param": "prompt", "innererror": {"code": "ResponsibleAIPolicyViolation"}}


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (error(400, "The response was filtered.", **FILTERED), "content_filter"),
        (error(403, "Your input was flagged by moderation"), "content_filter"),
        (error(400, "Input data may contain inappropriate content.", code="data_inspection_failed"), "content_filter"),
        (error(400, "maximum context length is 4096 tokens", code="context_length_exceeded"), "over_context_length"),
        (error(413, "Payload too large"), "over_context_length"),
        (chat("I can", finish_reason="content_filter"), "content_filter"),
        (chat(None, finish_reason="SAFETY"), "content_filter"),
        (chat(None, finish_reason="refusal"), "refusal"),
        (chat(None, finish_reason="tool_calls"), "tool_calls"),
        (chat("", finish_reason="function_call"), "tool_calls"),
        (chat("Likes", finish_reason="LANGUAGE"), "unknown_finish_reason"),
        ((200, '{"choices": []}'), "no_message"),
        ((200, '{"choices": [{"message": null, "finish_reason": "stop"}]}'), "no_message"),
        ((200, '{"choices": [{"finish_reason": "stop"}]}'), "no_message"),
        ((200, '{"choices": [{"message": {"content": null, "refusal": "No."}}]}'), "refusal"),
        ((200, '{"choices": [{"message": {"content": null, "tool_calls": [{"id": "1"}]}}]}'), "tool_calls"),
        ((200, '{"error": {"message": "the model exploded"}}'), "server_error"),
        ((200, '{"error": "the model exploded"}'), "server_error"),
        ((200, '{"choices": [{"error": {"code": 502, "message": "Provider gone"}, "message": null}]}'), "server_error"),
    ],
)
def test_one_question_fails_with_its_own_reason_and_the_next_is_asked(server: Server, response: Response, reason: str):
    server.answers = [response, chat("- Likes jazz.")]
    with endpoint_at(server) as endpoint:
        failed, answered = (endpoint.reply(MESSAGES, max_tokens=7) for _ in range(2))
    assert failed.failure == reason and not failed.cut_off
    assert failed.detail.startswith(f"{server.url}, model some/model: ") and "\n" not in failed.detail
    assert answered == ChatReply(text="- Likes jazz.", cut_off=False, prompt_tokens=12, completion_tokens=4)


@pytest.mark.parametrize(
    "body",
    [
        '{"error": {"message": "Overloaded", "type": "overloaded_error"}}',
        '{"choices": null, "error": {"message": "overloaded"}}',
        '{"error": {"message": "Rate limit reached", "code": 429}}',
        '{"error": {"message": "high demand", "code": 503}}',
        '{"error": {"message": "busy", "code": 529}}',
        '{"error": {"message": "x", "status": "RESOURCE_EXHAUSTED"}}',
        '{"error": {"message": "Provider returned error", "code": 502}}',
        '{"choices": [{"message": {"content": ""}, "finish_reason": "insufficient_system_resource"}]}',
    ],
)
def test_status_200_with_an_error_is_tried_again_where_it_is_overload(server: Server, body: str):
    server.answers = [(200, body), (200, body), chat("- Likes jazz.")]
    assert ask(server, max_retries=2).text == "- Likes jazz."
    server.answers, server.asked = [(200, body)], []
    reply = ask(server, max_retries=1)
    assert reply.failure in ("overloaded", "server_error") and len(server.asked) == 2


def test_the_server_says_how_long_to_wait(server: Server):
    busy = '{"error": {"message": "overloaded"}}'
    server.answers = [(200, busy, {"retry-after-ms": "300"}), chat("- Likes jazz.")]
    begun = time.monotonic()
    assert ask(server, max_retries=1).text == "- Likes jazz."
    assert time.monotonic() - begun >= 0.3


@pytest.mark.parametrize(
    "response",
    [
        error(429, "You exceeded your current quota.", code="insufficient_quota"),
        error(402, "Insufficient credits"),
        error(400, "Your credit balance is too low"),
        error(401, "Incorrect API key provided"),
        (200, '{"error": {"message": "Invalid API key", "code": 401}}'),
        (200, '{"error": {"message": "Unauthorized"}}'),
        (200, '{"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}'),
        (404, '{"detail": "Not Found"}'),
        error(404, "The model some/model does not exist", code="model_not_found"),
    ],
)
def test_where_every_request_would_fail_one_line_stops_it(server: Server, response: Response):
    server.answers = [response]
    with pytest.raises(ValueError) as caught:
        ask(server)
    assert str(caught.value).startswith(f"{server.url}, model some/model: ") and "\n" not in str(caught.value)
    assert len(server.asked) == 1


def test_an_address_without_v1_gets_a_hint(server: Server):
    server.answers = [(404, '{"detail": "Not Found"}')]
    with pytest.raises(ValueError, match="Not Found; an address often ends in /v1"):
        ask(server, url=server.url.removesuffix("/v1"))


def test_failures_in_a_row_stop_it_and_an_answer_between_them_does_not(server: Server):
    server.answers = [error(500, "broken"), error(500, "broken"), chat("Jazz."), error(500, "broken")]
    with endpoint_at(server, patience=3) as endpoint:
        replies = [endpoint.reply(MESSAGES, max_tokens=7) for _ in range(5)]
        assert [reply.failure for reply in replies] == [*["server_error"] * 2, None, *["server_error"] * 2]
        with pytest.raises(ValueError, match=r"broken \(3 failures in a row\)"):
            endpoint.reply(MESSAGES, max_tokens=7)


def test_filtered_questions_in_a_row_do_not_stop_it(server: Server):
    server.answers = [error(400, "filtered", **FILTERED)]
    with endpoint_at(server, patience=2) as endpoint:
        assert {endpoint.reply(MESSAGES, max_tokens=7).failure for _ in range(5)} == {"content_filter"}


def test_a_hung_server_is_a_timeout_after_its_retries(server: Server):
    waits = threading.Event()

    def hang(body: dict[str, Any]) -> Response:
        waits.wait(5)
        return chat("late")

    server.answer = hang
    reply = ask(server, max_retries=1, timeout=0.2)
    waits.set()
    assert (reply.failure, len(server.asked)) == ("timeout", 2)
    assert reply.detail.startswith(f"{server.url}, model some/model: Request timed out")


def test_a_server_that_went_away_is_a_failed_answer(server: Server):
    server.answers = [chat("Jazz.")]
    with endpoint_at(server) as endpoint:
        endpoint.reply(MESSAGES, max_tokens=7)
        endpoint.client.base_url = "http://127.0.0.1:1/v1/"
        reply = endpoint.reply(MESSAGES, max_tokens=7)
    assert reply.failure == "unreachable" and "Connection refused" in reply.detail


def test_what_cannot_go_on_without_an_answer_is_told_why(server: Server):
    server.answers = [chat(None, finish_reason="content_filter"), chat("Jazz.")]
    with pytest.raises(FailedReply, match="finish reason content_filter") as caught:
        usable(ask(server))
    assert caught.value.failure == "content_filter"
    assert usable(ask(server)).text == "Jazz."


# -------------------------------------------------------------------------------------------- what servers take

REFUSALS = {
    "temperature": "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) value.",
    "seed": "Unrecognized request argument supplied: seed",
    "limit": "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
    "alternating": "Conversation roles must alternate user/assistant/user/assistant/...",
    "system": "System role not supported",
    "stream": "This model only support stream mode, please enable the stream parameter to access the model.",
}


def particular(body: dict[str, Any], takes_not: set[str]) -> Response:
    """A server that refuses several things, one after the other."""
    roles = [message["role"] for message in body["messages"]]
    refused = {
        "temperature": body.get("temperature", 1) != 1,
        "seed": "seed" in body,
        "limit": "max_tokens" in body,
        "system": "system" in roles,
        "alternating": any(one == other for one, other in pairwise(roles)) or roles[0] == "assistant",
        "stream": not body.get("stream"),
    }
    for name, message in REFUSALS.items():
        if name in takes_not and refused[name]:
            return error(400, message)
    return stream("Ja", "zz.") if body.get("stream") else chat("Jazz.")


@pytest.mark.parametrize("name", REFUSALS)
def test_what_a_server_refuses_is_learned_once_and_said_once(
    server: Server, name: str, capsys: pytest.CaptureFixture[str]
):
    server.answer = lambda body: particular(body, {name})
    with endpoint_at(server) as endpoint:
        for _ in range(3):
            assert endpoint.reply(LONGER, max_tokens=7, seed=5).text == "Jazz."
    assert len(server.asked) == 4, "one refusal"
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith(f"note: {server.url}, model some/model: ")


def test_a_server_that_refuses_everything_is_learned_by_many_threads_at_once(
    server: Server, capsys: pytest.CaptureFixture[str]
):
    server.answer = lambda body: particular(body, set(REFUSALS))
    with endpoint_at(server) as endpoint, ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(endpoint.reply, LONGER, 7, seed=seed) for seed in range(24)]
        assert {future.result().text for future in asked} == {"Jazz."}
    told = capsys.readouterr().err.splitlines()
    assert len(told) == len(REFUSALS) == len(set(told))
    last = server.asked[-1]
    assert last == {
        "path": "/v1/chat/completions",
        "model": "some/model",
        "messages": [{"role": "user", "content": "Keep a memory.\n\nI hum jazz. Café?\n\nAnd tea."}],
        "max_completion_tokens": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_what_is_known_beforehand_is_not_tried(server: Server, capsys: pytest.CaptureFixture[str]):
    server.answer = lambda body: particular(body, set(REFUSALS))
    habits = Habits(
        limit_name="max_completion_tokens",
        temperature=False,
        seed=False,
        system_role=False,
        alternating_roles=True,
        stream=True,
    )
    reply = ask(server, habits=habits)
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("Jazz.", 12, 4)
    assert len(server.asked) == 1 and capsys.readouterr().err == ""


def test_a_temperature_that_a_person_asked_for_stays(server: Server):
    server.answer = lambda body: particular(body, {"temperature"})
    assert ask(server, options={"temperature": 0.3}).failure == "refused_request"
    assert len(server.asked) == 1


def test_a_refusal_of_one_question_teaches_nothing(server: Server, capsys: pytest.CaptureFixture[str]):
    server.answers = [error(400, "Bad input"), chat("Jazz.")]
    with endpoint_at(server) as endpoint:
        endpoint.reply(MESSAGES, max_tokens=7)
        assert endpoint.habits == Habits()
    assert capsys.readouterr().err == ""


def test_a_model_that_takes_the_newer_limit_only_is_asked_with_that(server: Server):
    server.answers = [error(400, REFUSALS["limit"]), chat("Jazz."), chat("Tea.")]
    with endpoint_at(server, options={"reasoning_effort": "low"}) as endpoint:
        said = [endpoint.reply(MESSAGES, max_tokens=7, temperature=None).text for _ in range(2)]
    assert said == ["Jazz.", "Tea."]
    limits = [(body.get("max_tokens"), body.get("max_completion_tokens")) for body in server.asked]
    assert limits == [(7, None), (None, 7), (None, 7)]
    assert all("temperature" not in body and body["reasoning_effort"] == "low" for body in server.asked)


# --------------------------------------------------------------------------- what comes back, and where it is asked


def test_a_stream_that_was_not_asked_for_is_read(server: Server):
    server.answers = [stream("- Likes ", "jazz.")]
    reply = ask(server)
    assert reply == ChatReply(text="- Likes jazz.", cut_off=False, prompt_tokens=12, completion_tokens=4)
    assert "stream" not in server.asked[0]


@pytest.mark.parametrize("content_type", ["application/json", "text/plain; charset=iso-8859-1", "application/json; x"])
def test_a_body_in_latin_1_is_one_line_with_the_address(server: Server, content_type: str):
    _, text = chat("Café")
    body = text.replace("Caf\\u00e9", "Café").encode("latin-1")
    server.answers = [(200, body, {"Content-Type": content_type})]
    with pytest.raises(ValueError) as caught:
        ask(server)
    assert str(caught.value).startswith(f"{server.url}, model some/model: ")
    assert "UTF-8" in str(caught.value) and "\n" not in str(caught.value)


def test_a_wrong_content_type_does_not_matter(server: Server):
    server.answers = [(*chat("Café"), {"Content-Type": "text/html; charset=latin-1"})]
    assert ask(server).text == "Café"


def test_half_a_surrogate_is_taken_out_and_never_sent(server: Server):
    server.answers = [(200, '{"choices": [{"message": {"content": "Jazz\\ud83d \\ud83c\\udfb7"}}]}')]
    with endpoint_at(server) as endpoint:
        reply = endpoint.reply([Message(role="user", content="Jazz\ud83d")], max_tokens=7)
    assert reply.text == "Jazz \U0001f3b7"
    assert server.asked[0]["messages"] == [{"role": "user", "content": "Jazz"}]


def test_azure_has_a_query_and_a_header_of_its_own(server: Server):
    server.answers = [chat("Jazz.")]
    url = server.url.removesuffix("/v1") + "/openai/deployments/gpt?api-version=2024-06-01"
    assert ask(server, url=url, api_key_header="api-key").text == "Jazz."
    assert server.asked[0]["path"] == "/openai/deployments/gpt/chat/completions?api-version=2024-06-01"
    assert server.headers[0]["api-key"] == KEY and server.authorizations == [None]
    server.answers = [error(401, f"Access denied for {KEY}")]
    with pytest.raises(ValueError, match=r"gpt\?api-version=2024-06-01, model some/model: .* \[key\]"):
        ask(server, url=url, api_key_header="api-key")


def test_an_address_that_was_pasted_whole_is_asked_once(server: Server):
    server.answers = [chat("Jazz.")]
    assert ask(server, url=f" {server.url}/chat/completions\n").text == "Jazz."
    assert server.asked[0]["path"] == "/v1/chat/completions"


def test_a_password_in_the_address_is_sent_and_never_shown(server: Server):
    url = server.url.replace("http://", "http://me:p%40ssword@") + "?key=sesame-open"
    server.answers = [error(401, "me:p@ssword p@ssword p%40ssword bWU6cEBzc3dvcmQ= sesame-open")]
    with pytest.raises(ValueError) as caught:
        ask(server, url=url)
    assert server.authorizations == ["Basic bWU6cEBzc3dvcmQ="]
    assert server.asked[0]["path"].endswith("?key=sesame-open")
    message = str(caught.value)
    assert message.startswith(f"{server.url}?key=***, model some/model: ")
    assert not any(secret in message for secret in ("ssword", "bWU6", "sesame"))


def test_an_address_of_the_environment_is_masked_and_its_query_is_kept(server: Server, monkeypatch: pytest.MonkeyPatch):
    address = server.url.replace("http://", "http://me:pass-word@") + "?api-version=1&code=sesame"
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    server.answers = [error(401, "no: pass-word, sesame")]
    with pytest.raises(ValueError, match="api-version=1") as caught:
        Endpoint(None, "some/model", max_retries=0).reply(MESSAGES, 7)
    assert server.asked[0]["path"].endswith("?api-version=1&code=sesame")
    assert "pass-word" not in str(caught.value) and "sesame" not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8000/v1", "127.0.0.1", "http://", "http://me:secret@host:notaport/v1", ""])
def test_what_is_no_address_is_said_at_once(server: Server, url: str):
    with pytest.raises(ValueError, match="is no address; write it as http") as caught:
        Endpoint(url, "some/model")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("ending", ["\n", "\r\n", " "])
def test_a_key_with_a_line_end(server: Server, monkeypatch: pytest.MonkeyPatch, ending: str):
    monkeypatch.setenv("OPENAI_API_KEY", KEY + ending)
    server.answers = [chat("Jazz.")]
    assert ask(server).text == "Jazz."
    assert server.authorizations == [f"Bearer {KEY}"]


@pytest.mark.parametrize("key", ["sk-a b", "sk-a\nsk-b", "sk-ключ"])
def test_a_key_that_no_header_can_hold(server: Server, monkeypatch: pytest.MonkeyPatch, key: str):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ValueError, match="OPENAI_API_KEY holds") as caught:
        ask(server)
    assert "sk-" not in str(caught.value)


def test_requests_keep_their_pace():
    pace = Pace(0.05)
    begun = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        passed = sorted(pool.map(lambda _: (pace.wait(), time.monotonic())[1], range(4)))
    assert passed[-1] - begun >= 0.15
    assert all(later - sooner >= 0.03 for sooner, later in pairwise(passed))
    assert timed(Pace(0.0)) < 0.05


def timed(pace: Pace) -> float:
    begun = time.monotonic()
    for _ in range(20):
        pace.wait()
    return time.monotonic() - begun
