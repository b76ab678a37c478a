"""How many requests are let through: more while replies come, half after a refusal, none before the time it names."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

import pytest

from rft.chat.endpoint import Endpoint
from rft.chat.gate import FIRST_LIMIT, SLOW, Gate, retry_after
from rft.records import Message
from tests.unit.chat.endpoint_server import Response, chat, error, scripted_endpoint


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def replies(gate: Gate, clock: Clock, count: int, seconds: float = 1.0) -> None:
    for _ in range(count):
        began = gate.enter()
        clock.seconds += seconds
        gate.leave(began, overloaded=False)


def test_the_limit_grows_with_every_reply_and_after_a_refusal_by_one_per_limit_replies_up_to_the_most():
    clock = Clock()
    gate = Gate(8, clock)
    assert gate.limit == FIRST_LIMIT
    replies(gate, clock, 4)
    assert gate.limit == 8 == FIRST_LIMIT + 4
    clock.seconds += 1
    gate.leave(gate.enter(), overloaded=True)
    assert gate.limit == 4
    replies(gate, clock, 5)
    assert 5 <= gate.limit < 5.25
    replies(gate, clock, 100)
    assert gate.limit == 8
    assert Gate(1, clock).limit == 1


def test_refusals_of_one_moment_halve_it_once():
    clock = Clock()
    gate = Gate(16, clock)
    replies(gate, clock, 300)
    assert gate.limit == 16
    began = [gate.enter() for _ in range(5)]
    clock.seconds += 1
    for one in began:
        gate.leave(one, overloaded=True)
    assert gate.limit == 8 and gate.num_cuts == 1
    clock.seconds += 1
    gate.leave(gate.enter(), overloaded=True)
    assert gate.limit == 4 and gate.num_cuts == 2
    for _ in range(9):
        clock.seconds += 1
        gate.leave(gate.enter(), overloaded=True)
    assert gate.limit == 1, "one is always let through"


def test_replies_that_become_slow_lower_it_and_another_stage_begins_anew():
    clock = Clock()
    gate = Gate(16, clock)
    replies(gate, clock, 60)
    high = gate.limit
    replies(gate, clock, 60, seconds=3 * SLOW)
    assert gate.limit < high
    low = gate.limit
    gate.forget_times()
    replies(gate, clock, 20, seconds=3 * SLOW)
    assert gate.limit > low


def test_nothing_is_sent_before_the_time_that_a_refusal_names():
    gate = Gate(4)
    gate.leave(gate.enter(), overloaded=True, pause_s=0.15)
    begin = time.monotonic()
    gate.enter()
    assert 0.14 <= time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0.0),
        ({"retry-after": "Sun, 06 Nov 19941994 08:49:37 GMT"}, 0.0),
        ({"retry-after": "nan"}, 0.0),
        ({"retry-after": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_time_is_read_from_either_header(headers: dict[str, str], seconds: float):
    assert retry_after(headers) == seconds


def test_the_time_may_be_a_date():
    assert 55 < retry_after({"retry-after": formatdate(time.time() + 60, usegmt=True)}) <= 61


def test_a_gate_that_is_shut_lets_nobody_through_and_keeps_nobody_waiting():
    gate = Gate(1)
    gate.enter()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(gate.enter)
        time.sleep(0.05)
        gate.shut()
        with pytest.raises(KeyboardInterrupt):
            waiting.result(timeout=5)


def test_every_attempt_of_the_client_passes_the_gate(monkeypatch: pytest.MonkeyPatch):
    """An endpoint that takes two at a time: it is never asked for more than the gate lets through, its refusals make
    the gate narrower, and all replies come in the end."""
    busy, most_busy, lock = 0, 0, threading.Lock()

    def answer(body: dict[str, Any]) -> Response:
        nonlocal busy, most_busy
        with lock:
            busy += 1
            most_busy = max(most_busy, busy)
            too_many = busy > 2
        try:
            if too_many:
                return (*error(429, "too many"), {"retry-after-ms": "20"})
            time.sleep(0.02)
            return chat("yes")
        finally:
            with lock:
                busy -= 1

    gate = Gate(6)
    with scripted_endpoint(monkeypatch) as server:
        server.answer = answer
        endpoint = Endpoint(server.url, "m", max_retries=20, gate=gate, patience=100)
        with ThreadPoolExecutor(12) as pool:
            messages = [Message(role="user", content="well?")]
            found = list(pool.map(lambda _: endpoint.reply(messages, 5).text, range(40)))
        endpoint.client.close()
    assert found == ["yes"] * 40
    assert gate.num_cuts >= 1 and gate.in_flight == 0 and most_busy <= 6
