"""Answers that an endpoint failed to give: written last, counted, told, and asked again where they may pass.

They come last so that a run that is stopped does not count them, and a system to which nobody answered has no file.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from rft.chat.failures import PASSING_FAILURES, ReplyFailure
from rft.eval.predictions import Prediction, append_predictions, read_predictions
from rft.jsonl import keep_whole_lines, rewrite_lines, whole_lines


def has_failed(failure: str | None) -> bool:
    """Whether a failure is an endpoint's, and not one of reading what it said."""
    return failure in set(ReplyFailure)


def may_pass(failure: str | None) -> bool:
    """Whether it is asked again."""
    return failure in PASSING_FAILURES


class Reply(Protocol):
    """What one line of a file of replies says."""

    @property
    def failure(self) -> str | None: ...


AnyReply = TypeVar("AnyReply", bound=Reply)


def replies_to_keep(path: Path, read: Callable[[Path], list[AnyReply]]) -> list[AnyReply]:
    """The replies of a file, ready to be added to: a line that a crash cut short, and replies that are asked for again,
    are taken out of it."""
    keep_whole_lines(path)
    found = read(path)
    kept = [reply for reply in found if not may_pass(reply.failure)]
    if len(kept) < len(found):
        lines = zip(whole_lines(path), found, strict=True)
        rewrite_lines(path, [line for line, reply in lines if not may_pass(reply.failure)])
    return kept


def answers_to_keep(path: Path) -> list[Prediction]:
    """The answers of predictions.jsonl that are not asked again."""
    return replies_to_keep(path, read_predictions)


def write_answers(path: Path, name: str, predictions: Iterable[Prediction], each: Callable[[], object]) -> None:
    """Appends each answer as it comes, and at the end those that failed.

    Args:
        path: predictions.jsonl.
        name: of the system, for messages.
        each: called with every answer.

    Raises:
        ValueError: all of them failed, and the file has no answer either.
    """
    failed = []
    for prediction in predictions:
        if has_failed(prediction.failure):
            failed.append(prediction)
        else:
            append_predictions(path, [prediction])
        each()
    if not failed:
        return
    if not whole_lines(path):
        raise ValueError(f"{name}: {told(failed, len(failed))}")
    append_predictions(path, failed)
    again = sum(may_pass(prediction.failure) for prediction in failed)
    remedy = f"; the same command asks again for the {again} that may pass" if again else ""
    print(f"note: {name}: {told(failed, len(whole_lines(path)))}{remedy}", file=sys.stderr)


def told(failed: Sequence[Prediction], total: int) -> str:
    """What people are told of failed answers, in one line."""
    reasons = Counter(str(prediction.failure) for prediction in failed)
    counts = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
    return f"{len(failed)} of {total} answers failed ({counts}), the last one: {failed[-1].detail}"
