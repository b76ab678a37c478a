"""Histories of one window against each other: those that say the same, those of another length than the others."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from rft.auditing.findings import Case
from rft.auditing.histories import HistoryFacts
from rft.records import Question

MOST_SHARERS = 10
"""Histories that have one message, above which it is a phrase."""

MOST_SHARED = 0.6
"""Share of a history's messages, above which another history that has them is the same one."""

FEWEST_HISTORIES = 5
"""Of which a usual length can be told."""

FAR_OUT = 2.25
"""Factor between a history's length and the median, from which on it is none of its kind."""


def repeated_histories(facts: Sequence[HistoryFacts], first_row: Mapping[str, Question]) -> Iterator[Case]:
    """Histories of different clusters that say the same, or most of it.

    Args:
        first_row: of each history, the first question that links it.
    """
    different: dict[frozenset[int], HistoryFacts] = {}
    for one in facts:
        if one.said and (first := different.setdefault(one.said, one)) is not one:
            yield from repeated_case(first, one, first_row)
    for first, second in pairs_that_share(list(different.values())):
        yield from repeated_case(first, second, first_row)


def repeated_case(first: HistoryFacts, second: HistoryFacts, first_row: Mapping[str, Question]) -> Iterator[Case]:
    rows = [first_row[one.file] for one in (first, second)]
    if rows[0].cluster != rows[1].cluster:
        share = len(first.said & second.said) / min(len(first.said), len(second.said))
        yield Case(
            check="repeated_history",
            question=", ".join(row.question_id for row in rows),
            file=second.file,
            detail=f"{share:.0%} of its messages are those of {first.file}, which is of {rows[0].cluster}",
        )


def pairs_that_share(facts: Sequence[HistoryFacts]) -> Iterator[tuple[HistoryFacts, HistoryFacts]]:
    """Pairs of which one has most messages of the other. Messages that many histories have say nothing of a user."""
    with_message: dict[int, list[int]] = defaultdict(list)
    for index, one in enumerate(facts):
        for message in one.said:
            with_message[message].append(index)
    few = [found for found in with_message.values() if 1 < len(found) <= MOST_SHARERS]
    shared = Counter(pair for found in few for pair in combinations(found, 2))
    for (first, second), count in sorted(shared.items()):
        if count > MOST_SHARED * min(len(facts[first].said), len(facts[second].said)):
            yield facts[first], facts[second]


def odd_lengths(facts: Sequence[HistoryFacts]) -> Iterator[Case]:
    """Histories that are far longer, or far shorter, than the others."""
    lengths = [one.num_tokens for one in facts if one.num_tokens]
    if len(lengths) < FEWEST_HISTORIES:
        return
    usual = statistics.median(lengths)
    for one in facts:
        if one.num_tokens and not 1 / FAR_OUT < one.num_tokens / usual < FAR_OUT:
            yield Case(
                check="odd_length", file=one.file, detail=f"{one.num_tokens:,} tokens, the median is {usual:,.0f}"
            )
