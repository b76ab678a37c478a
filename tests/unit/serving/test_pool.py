"""Whatever happens to a server, each request is answered once, by the weights it was asked with; or the run is told."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from rft.records import TurnRequest
from rft.rollout.engine import GREEDY, EngineLost
from rft.serving import batch as batch_module
from rft.serving.client import Server, ServerFault
from rft.serving.pool import Pool
from tests.unit.serving.scripted import STOP, VOCAB, ScriptedServer, expected, scripted

LABEL = "run-3"
PRESENT = "run-3/a1"
"""What a server calls the weights with that label."""
REQUESTS = [
    TurnRequest(prompt_ids=(history,) * 30 + (question,), seed=100 * history + sibling, max_tokens=4)
    for history in range(2, 8)
    for question in range(2)
    for sibling in range(3)
]


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ScriptedServer]]:
    monkeypatch.setattr(batch_module, "HEALTH_EVERY_S", 0.1)
    monkeypatch.setattr(batch_module, "FIRST_WAIT_S", 0.1)
    with scripted(2) as servers:
        for server in servers:
            server.version = PRESENT
        yield servers


def make_pool(servers: list[ScriptedServer], timeout_s: float = 2.0, most: int = 4, request_s: float = 30.0) -> Pool:
    def renew(server: Server) -> str:
        found = next(one for one in servers if one.url == server.url)
        if not found.takes_weights:
            raise ServerFault("refuses")
        found.version = f"{LABEL}/{uuid.uuid4().hex}"
        return found.version

    return Pool(
        [Server(one.url, request_s, 5.0) for one in servers],
        most=most, timeout_s=timeout_s, first=0, stop_token_ids=[STOP], vocab_size=VOCAB, renew=renew,
    )  # fmt: skip


def serve(pool: Pool) -> list[tuple[int, ...]]:
    served = pool.serve(REQUESTS, GREEDY, 3, LABEL)
    assert {one.policy_version for one in served.completions} == {3}
    assert served.cached_tokens == 3 * len(REQUESTS)
    return [one.token_ids for one in served.completions]


WANTED = [expected(request) for request in REQUESTS]


def test_answers_come_in_the_order_of_the_requests_and_histories_stay_together(two: list[ScriptedServer]):
    assert serve(make_pool(two)) == WANTED
    seen = [{tuple(body["token_ids"][:30]) for body in server.asked} for server in two]
    assert seen[0] and seen[1] and not seen[0] & seen[1]
    assert sum(len(server.asked) for server in two) == len(REQUESTS)
    assert {body["cache_salt"] for server in two for body in server.asked} == {LABEL}


def test_a_server_has_no_more_in_hand_than_it_may(two: list[ScriptedServer]):
    most = threading.Semaphore(2)
    real = two[0].complete

    def counted(body):
        assert most.acquire(blocking=False), "more than two at a time"
        try:
            return real(body)
        finally:
            most.release()

    two[0].delay_s = two[1].delay_s = 0.01
    two[0].complete = counted  # type: ignore[method-assign]
    assert serve(make_pool(two, most=2)) == WANTED


def test_a_server_that_dies_leaves_its_work_to_the_other(two: list[ScriptedServer], caplog: pytest.LogCaptureFixture):
    two[0].dies_after = 4
    two[0].delay_s = 0.02
    assert serve(make_pool(two)) == WANTED
    assert "does not answer" in caplog.text


def test_what_a_dead_server_had_said_and_nobody_confirmed_is_asked_again(two: list[ScriptedServer]):
    two[0].dies_after = 4
    assert serve(make_pool(two)) == WANTED
    # Its answers could have come from a process that was started again: none of them counts.
    assert len(two[1].asked) == len(REQUESTS)


def rename_after(server: ScriptedServer, answers: int, version: str) -> None:
    """After so many completions its weights have another name."""
    real = server.complete

    def complete(body: dict[str, Any]) -> Any:
        found = real(body)
        if server.answered == answers:
            server.version = version
        return found

    server.complete = complete  # type: ignore[method-assign]


def test_a_server_that_was_started_again_without_a_word_is_found_out_and_gets_the_weights(two: list[ScriptedServer]):
    rename_after(two[0], 3, "default")
    assert serve(make_pool(two)) == WANTED
    assert len(two[0].asked) + len(two[1].asked) > len(REQUESTS), "what it had answered was asked again"


def test_nobody_is_fooled_by_a_server_that_another_rank_has_sent_the_weights_meanwhile(two: list[ScriptedServer]):
    """Started again, asked with the weights of its folder, then renewed: the label is right, the name is not."""
    rename_after(two[0], 3, f"{LABEL}/of-another-rank")
    assert serve(make_pool(two)) == WANTED
    assert len(two[0].asked) + len(two[1].asked) > len(REQUESTS)


def test_a_server_that_comes_back_gets_its_share_of_what_nobody_was_asked_yet(two: list[ScriptedServer]):
    two[0].delay_s = two[1].delay_s = 0.1
    two[0].stop()
    threading.Timer(0.3, two[0].start).start()
    assert serve(make_pool(two, most=1)) == WANTED
    assert two[0].asked


def test_a_request_that_cannot_be_answered_is_no_fault_of_the_server(two: list[ScriptedServer]):
    for server in two:
        server.refuses = True
    with pytest.raises(RuntimeError, match="refuses a request: .*the prompt is too long") as caught:
        serve(make_pool(two))
    assert not isinstance(caught.value, EngineLost)


def test_each_server_is_asked_for_the_canary(two: list[ScriptedServer]):
    found = make_pool(two).one_from_each(REQUESTS[0], GREEDY, 3, LABEL)
    assert [one.token_ids for one in found] == [WANTED[0], WANTED[0]]
    assert [len(server.asked) for server in two] == [1, 1]
    two[1].stop()
    assert len(make_pool(two).one_from_each(REQUESTS[0], GREEDY, 3, LABEL)) == 1


def test_a_silent_server_is_given_up(two: list[ScriptedServer]):
    two[0].hangs = True
    begin = time.monotonic()
    assert serve(make_pool(two, timeout_s=0.5)) == WANTED
    assert time.monotonic() - begin < 10
    assert len(two[1].asked) == len(REQUESTS)


def test_a_server_whose_engine_hangs_is_given_up_after_the_time_for_a_request(two: list[ScriptedServer]):
    two[0].delay_s = 20.0  # and says that it is well
    assert serve(make_pool(two, request_s=0.5)) == WANTED


def test_a_server_that_answers_nonsense_is_left_alone(two: list[ScriptedServer], caplog: pytest.LogCaptureFixture):
    two[0].nonsense = True
    assert serve(make_pool(two)) == WANTED
    assert "answers nonsense (a token outside of the vocabulary of 50)" in caplog.text


def test_nonsense_from_all_of_them_ends_in_time(two: list[ScriptedServer]):
    for server in two:
        server.nonsense = True
    with pytest.raises(EngineLost):
        serve(make_pool(two, timeout_s=1.0))


def test_with_none_left_the_run_is_told(two: list[ScriptedServer]):
    for server in two:
        server.stop()
    begin = time.monotonic()
    with pytest.raises(EngineLost, match=r"no server of rollout.servers has answered for 1 s .*start them again"):
        serve(make_pool(two, timeout_s=1.0))
    assert time.monotonic() - begin < 10


def test_a_server_that_comes_back_in_time_goes_on_with_the_present_weights(two: list[ScriptedServer]):
    two[1].stop()
    two[0].dies_after = 5
    two[0].delay_s = 0.02

    def restart() -> None:
        time.sleep(1.0)
        two[0].start()

    threading.Thread(target=restart, daemon=True).start()
    pool = make_pool(two, timeout_s=20.0)
    assert serve(pool) == WANTED
    assert two[0].version.startswith(f"{LABEL}/")


def test_a_server_that_does_not_take_the_weights_serves_nothing(two: list[ScriptedServer]):
    two[0].version, two[0].takes_weights = "older", False
    assert serve(make_pool(two)) == WANTED
    assert len(two[1].asked) == len(REQUESTS), "what the other said was with other weights"


def test_the_next_batch_begins_with_the_servers_that_are_up(two: list[ScriptedServer]):
    pool = make_pool(two)
    two[0].stop()
    assert serve(pool) == WANTED
    asked = len(two[1].asked)
    assert serve(pool) == WANTED
    assert len(two[1].asked) == asked + len(REQUESTS)
