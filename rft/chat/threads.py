"""Several requests at a time, each answer handed out as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any, TypeVar

Tag = TypeVar("Tag")
Job = TypeVar("Job")
Result = TypeVar("Result")


def in_threads(
    jobs: Iterable[tuple[Tag, Job]], work: Any, num_threads: int, interrupted: Callable[[], None] = lambda: None
) -> Iterator[tuple[Tag, Any]]:
    """(tag, work(job)) as they come, `num_threads` at a time; jobs are taken when a thread is free.

    When one fails, those in flight are waited for and handed out, no further one begins, and its error is raised.
    Ctrl-C is such a failure, too; a second one is raised at once.

    Args:
        interrupted: called at the first Ctrl-C.
    """
    waiting = iter(jobs)
    running: dict[Future[Any], Tag] = {}
    failure: BaseException | None = None
    pool = ThreadPoolExecutor(max_workers=num_threads)
    try:
        while True:
            if failure is None:
                for tag, job in islice(waiting, num_threads - len(running)):
                    running[pool.submit(work, job)] = tag
            if not running:
                break
            try:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
            except KeyboardInterrupt as stop:
                if failure is not None:
                    raise
                failure = stop
                interrupted()
                continue
            for future in done:
                tag = running.pop(future)
                if error := future.exception():
                    failure = failure or error
                else:
                    yield tag, future.result()
    finally:
        pool.shutdown(wait=False)  # those that are left over after a second Ctrl-C are not waited for
    if failure is not None:
        raise failure
