"""The fixed part of a split that is evaluated at every checkpoint."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from rft.records import Question


def stratified_subset(questions: Sequence[Question], size: int) -> list[int]:
    """Indices of `size` questions in the proportions of (pref_type, who, updated); all of them when `size` is 0.

    The same questions give the same subset, whatever the seed of the run: within a stratum they are ordered by a
    hash of their id. The result is ordered by history, so that questions of one history are asked together.
    """
    if size == 0 or size >= len(questions):
        chosen = list(range(len(questions)))
    else:
        strata: dict[tuple[str, str, bool], list[int]] = defaultdict(list)
        for index, question in enumerate(questions):
            strata[question.pref_type, question.who, question.updated].append(index)
        for members in strata.values():
            members.sort(key=lambda index: hashlib.sha256(questions[index].question_id.encode()).digest())
        # The k-th of a stratum of m stands at (k + 1/2) / m: taking the `size` smallest keeps the proportions.
        ranked = sorted(
            ((k + 0.5) / len(members), key, index) for key, members in strata.items() for k, index in enumerate(members)
        )
        chosen = [index for _, _, index in ranked[:size]]
    return sorted(chosen, key=lambda index: (questions[index].history_id, index))
