"""Several requests at a time, each answer handed out as it comes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any, TypeVar

from tqdm import tqdm

from rft.chat.ctrl_c import CtrlC

Tag = TypeVar("Tag")
Job = TypeVar("Job")
Result = TypeVar("Result")


LOOKS_FOR_CTRL_C_S = 0.2

WAITING = "waiting for the replies on their way; Ctrl-C once more does not wait"


def in_threads(
    jobs: Iterable[tuple[Tag, Job]], work: Any, num_threads: int, interrupted: Callable[[], None] = lambda: None
) -> Iterator[tuple[Tag, Any]]:
    """(tag, work(job)) as they come, `num_threads` at a time; jobs are taken when a thread is free.

    When one fails, those in flight are waited for and handed out, no further one begins, and its error is raised.
    Ctrl-C is such a failure, too, wherever the caller stands meanwhile; a second one is raised at once.

    Args:
        interrupted: called after the first Ctrl-C, before the next result is handed out.
    """
    waiting = iter(jobs)
    running: dict[Future[Any], Tag] = {}
    failure: BaseException | None = None
    pool = ThreadPoolExecutor(max_workers=num_threads)
    with CtrlC() as ctrl_c:
        try:
            while True:
                if ctrl_c.pressed and failure is None:
                    failure = KeyboardInterrupt()
                    tqdm.write(WAITING, file=sys.stderr)
                    interrupted()
                if failure is None:
                    for tag, job in islice(waiting, num_threads - len(running)):
                        running[pool.submit(work, job)] = tag
                if not running:
                    break
                for future in wait(running, LOOKS_FOR_CTRL_C_S, FIRST_COMPLETED).done:
                    tag = running.pop(future)
                    if error := future.exception():
                        failure = failure or error
                    else:
                        yield tag, future.result()
        finally:
            pool.shutdown(wait=False)  # those that are left over after a second Ctrl-C are not waited for
    if failure is None and ctrl_c.pressed:
        raise KeyboardInterrupt
    if failure is not None:
        raise failure
