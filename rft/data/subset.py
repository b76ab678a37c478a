"""The fixed part of a split that is evaluated at every checkpoint."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from rft.records import Question


def stratified_subset(questions: Sequence[Question], size: int, strata: Sequence[str]) -> list[int]:
    """Indices of `size` questions in the proportions of the tags `strata`; all of them when `size` is 0.

    The same questions give the same subset, whatever the seed of the run: within a stratum they are ordered by a
    hash of their id. The result is ordered by context, so that questions of one context are asked together. A question
    without one of the tags belongs to the stratum of those without it.
    """
    if size == 0 or size >= len(questions):
        chosen = list(range(len(questions)))
    else:
        members_of: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for index, question in enumerate(questions):
            members_of[tuple(question.tags.get(name, "") for name in strata)].append(index)
        for members in members_of.values():
            members.sort(key=lambda index: hashlib.sha256(questions[index].question_id.encode()).digest())
        # The k-th of a stratum of m stands at (k + 1/2) / m: taking the `size` smallest keeps the proportions.
        ranked = sorted(
            ((k + 0.5) / len(members), key, index)
            for key, members in members_of.items()
            for k, index in enumerate(members)
        )
        chosen = [index for _, _, index in ranked[:size]]
    return sorted(chosen, key=lambda index: (questions[index].context_id, index))
