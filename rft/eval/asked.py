"""What is asked: questions and the numbers of their samples, and the seeds that a rerun draws the same with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from rft.eval.predictions import Prediction
from rft.records import Question

Asked = tuple[Question, int]
"""A question and the number of its sample."""


def left_to_ask(questions: Sequence[Question], num_samples: int, done: Iterable[Prediction]) -> list[Asked]:
    """What is not answered yet: sample after sample, so that one pass over the contexts serves each, in the given
    order."""
    answered = {(prediction.question_id, prediction.sample) for prediction in done}
    return [
        (question, sample)
        for sample in range(num_samples)
        for question in questions
        if (question.question_id, sample) not in answered
    ]


def comparison_seed(seed: int, sample: int, name: str) -> int:
    """The sampling seed of one request, in [0, 2**31), which every endpoint takes.

    Args:
        seed: of the comparison.
        sample: its number.
        name: of the request, unique within a sample.
    """
    digest = hashlib.blake2b(f"evaluate/{seed}/{sample}/{name}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
