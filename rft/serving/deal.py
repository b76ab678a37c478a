"""Which server is asked what: requests of one context stay together, and servers get equal work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rft.records import TurnRequest
from rft.rollout.prefix_groups import common_prefix

LEAST_SHARED = 0.5
"""Of the shorter of two prompts: neighbours with so much in common are of one context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Requests that share most of their prompt.

    Example:
        Family(places=(0, 1, 2, 3), work=45_120)
    """

    places: tuple[int, ...]
    """Where they stand among all requests."""
    work: int
    """Tokens: the shared prompt once, the rest of each prompt, and the longest completions."""


def families(requests: Sequence[TurnRequest], places: Sequence[int]) -> list[Family]:
    """The chosen requests as families, in their order; those of one context stand next to each other."""
    groups: list[list[int]] = []
    work: list[int] = []
    for place in places:
        request = requests[place]
        own = len(request.prompt_ids) + request.max_tokens
        if groups:
            before = requests[groups[-1][-1]].prompt_ids
            shared = common_prefix(before, request.prompt_ids)
            if shared >= LEAST_SHARED * min(len(before), len(request.prompt_ids)):
                groups[-1].append(place)
                work[-1] += own - shared
                continue
        groups.append([place])
        work.append(own)
    return [Family(places=tuple(group), work=size) for group, size in zip(groups, work, strict=True)]


def deal(found: Sequence[Family], loads: Sequence[float], first: int = 0) -> list[list[Family]]:
    """Each family to the server with the least work so far, the largest first.

    Args:
        loads: tokens that each server has to do already.
        first: the server that equal loads begin with, so that ranks do not all begin with the same one.

    Returns:
        A list per server, the order of `found` kept inside.
    """
    totals = list(loads)
    chosen: list[list[int]] = [[] for _ in totals]
    for number in sorted(range(len(found)), key=lambda index: -found[index].work):
        server = min(range(len(totals)), key=lambda index: (totals[index], (index - first) % len(totals)))
        totals[server] += found[number].work
        chosen[server].append(number)
    return [[found[number] for number in sorted(numbers)] for numbers in chosen]
