"""Requests in threads: as they come, a few at a time, and nothing lost when one fails."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from rft.chat.threads import in_threads


def test_every_result_comes_back_with_its_tag():
    jobs = ((f"tag {n}", n) for n in range(50))
    found = dict(in_threads(jobs, lambda n: n * n, 7))
    assert found == {f"tag {n}": n * n for n in range(50)}


def test_few_run_at_a_time_and_jobs_are_taken_when_there_is_room():
    running, most, taken = 0, 0, 0
    lock = threading.Lock()

    def jobs() -> Iterator[tuple[int, int]]:
        nonlocal taken
        for n in range(20):
            taken += 1
            yield n, n

    def work(n: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1
        return n

    results = in_threads(jobs(), work, 3)
    next(results)
    assert taken <= 6, "jobs are not all made at the start"
    assert len(list(results)) == 19
    assert most <= 3


def test_when_one_fails_the_others_in_flight_are_kept_and_no_more_begin():
    begun: list[int] = []

    def work(n: int) -> int:
        begun.append(n)
        time.sleep(0.05 if n != 1 else 0.0)
        if n == 1:
            raise ValueError("gone")
        return n

    found = []
    with pytest.raises(ValueError, match="gone"):
        for tag, _ in in_threads(((n, n) for n in range(100)), work, 4):
            found.append(tag)
    assert sorted(found) == sorted(set(begun) - {1})
    assert len(begun) <= 8


def test_the_first_of_several_failures_is_told():
    def work(n: int) -> int:
        raise ValueError(f"failure {n}")

    with pytest.raises(ValueError, match="failure 0"):
        list(in_threads(((n, n) for n in range(9)), work, 1))


def test_no_jobs_no_results():
    assert list(in_threads([], int, 3)) == []


def test_ctrl_c_waits_for_those_in_flight_and_a_second_one_does_not():
    may_end, calls = threading.Event(), 0

    def press() -> None:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def interrupted() -> None:
        nonlocal calls
        calls += 1
        threading.Timer(0.05, may_end.set if calls == 1 else press).start()

    def work(n: int) -> int:
        may_end.wait(10)
        return n

    found = []
    threading.Timer(0.05, press).start()
    with pytest.raises(KeyboardInterrupt):
        for _, n in in_threads(((n, n) for n in range(100)), work, 4, interrupted):
            found.append(n)
    assert sorted(found) == [0, 1, 2, 3]
    may_end.clear()
    threading.Timer(0.05, press).start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(in_threads(((n, n) for n in range(100)), work, 4, interrupted))
    assert time.monotonic() - begin < 5 and calls == 2
    may_end.set()
