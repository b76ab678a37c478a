"""Requests in threads: as they come, a few at a time, and nothing lost when one fails."""

from __future__ import annotations

import os
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


def press_ctrl_c() -> None:
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def test_ctrl_c_waits_for_those_in_flight_and_begins_no_more(capsys: pytest.CaptureFixture[str]):
    told = threading.Event()

    def work(n: int) -> int:
        if n == 3:
            press_ctrl_c()
        assert told.wait(10)
        return n

    found = []
    with pytest.raises(KeyboardInterrupt):
        for _, n in in_threads(((n, n) for n in range(100)), work, 4, told.set):
            found.append(n)
    assert sorted(found) == [0, 1, 2, 3]
    assert capsys.readouterr().err == "waiting for the replies on their way; Ctrl-C once more does not wait\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait():
    told, may_end = threading.Event(), threading.Event()

    def work(n: int) -> None:
        if n == 0:
            press_ctrl_c()
            assert told.wait(10)
            press_ctrl_c()
        may_end.wait(10)

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(in_threads(((n, n) for n in range(100)), work, 4, told.set))
    assert time.monotonic() - begin < 5
    may_end.set()


@pytest.mark.parametrize("num_jobs", [2, 9], ids=["at the last result", "before the last"])
def test_ctrl_c_does_not_tear_what_the_caller_does_with_a_result(num_jobs: int):
    """A row is written whole, and all results that were there are handed out."""
    begun: list[int] = []
    written: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        for _, n in in_threads(((n, n) for n in range(num_jobs)), lambda n: begun.append(n) or n, 1):
            if n == 1:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
            written.append(n)
    assert written == begun
    assert len(begun) <= 3


def test_somebody_else_who_listens_to_sigint_is_left_alone():
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        found = [n for _, n in in_threads(((n, n) for n in range(5)), lambda n: press_ctrl_c() or n, 1)]
    finally:
        signal.signal(signal.SIGINT, before)
    assert found == list(range(5))
    assert len(heard) == 5


def test_another_thread_hears_no_ctrl_c():
    found: list[int] = []
    other = threading.Thread(target=lambda: found.extend(n for _, n in in_threads([(0, 7)], lambda n: n, 1)))
    other.start()
    other.join(timeout=10)
    assert found == [7]
