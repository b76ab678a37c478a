"""Which of the passing candidates enter, so that no rule that sees the options alone is better or worse than chance.

Three controls: the longest option is right, the shortest is, a model that sees nothing but the options finds it.
In each group (a split as a whole, each kind in it, `who = others`, updated preferences) each control's expected hits
must be within 3 points of a quarter of the rows, or within one row of it where 3 points are less than one row.

A question that no judge was asked about counts in no group of `options_only`; how many there are is said.

Chosen is by local search: exactly as many candidates of each cell as are wanted, then two of one cell are exchanged
while that brings the controls nearer to chance.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rft.making.candidates import Candidate
from rft.making.plan import Cell

Control = Literal["longest", "shortest", "options_only"]

CHANCE = 0.25
POINTS = 0.03
PER_ROW_TOO_MUCH = 10.0
LEAST_GAIN = 1e-9
MOST_PASSES = 30
"""Rounds of exchanges; each looks at every pair of one cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """One control in one group.

    Example:
        Reached(group="who=others", control="longest", num_rows=40, hits=10.5, allowed=1.2)
    """

    group: str
    control: Control
    num_rows: int
    """Without those that were not judged."""
    hits: float
    """Expected number of right answers; a tie counts as a part."""
    allowed: float
    """Rows that the hits may be away from a quarter of all."""
    not_judged: int = 0

    @property
    def share(self) -> float | None:
        return self.hits / self.num_rows if self.num_rows else None

    @property
    def excess(self) -> float:
        """Rows that the hits are farther away from a quarter than is allowed."""
        return max(0.0, abs(self.hits - CHANCE * self.num_rows) - self.allowed)

    @property
    def is_balanced(self) -> bool:
        return self.excess < 1e-9


def allowed_rows(num_rows: int) -> float:
    return max(POINTS * num_rows, 1.0)


def groups_of(cell: Cell) -> list[str]:
    """The groups in which a candidate of this cell counts."""
    groups = ["all", f"pref_type={cell.pref_type}"]
    if cell.variant == "others":
        groups.append("who=others")
    if cell.variant == "updated":
        groups.append("updated=true")
    return groups


Expected = tuple[float | None, ...]
"""What each control expects to get right on a candidate, in [0, 1]; None where it was not judged."""


def hits_of(candidate: Candidate, controls: Sequence[Control]) -> Expected:
    assert candidate.question is not None
    lengths = [len(option) for option in candidate.question.options]
    hits: dict[Control, float | None] = {
        "longest": (lengths[0] == max(lengths)) / lengths.count(max(lengths)),
        "shortest": (lengths[0] == min(lengths)) / lengths.count(min(lengths)),
        "options_only": candidate.options_only,
    }
    return tuple(hits[control] for control in controls)


def choose(
    candidates: Sequence[Candidate], wanted: Mapping[Cell, int], controls: Sequence[Control], seed: int
) -> list[Candidate]:
    """At most `wanted` of each cell, as balanced as exchanges can make them, in the order of the candidates.

    Args:
        candidates: that pass.
    """
    pools = {cell: [place for place, one in enumerate(candidates) if one.slot.cell == cell] for cell in wanted}
    for cell, pool in pools.items():
        random.Random(f"{seed} choose {cell}").shuffle(pool)
    chosen = {cell: pool[: wanted[cell]] for cell, pool in pools.items()}
    spare = {cell: pool[wanted[cell] :] for cell, pool in pools.items()}
    if controls:
        hits = {place: hits_of(candidates[place], controls) for pool in pools.values() for place in pool}
        exchange(chosen, spare, hits)
    return [candidates[place] for place in sorted(place for places in chosen.values() for place in places)]


Hits = Mapping[int, Expected]
"""By the candidate's place."""


def exchange(chosen: dict[Cell, list[int]], spare: dict[Cell, list[int]], hits: Hits) -> None:
    """Exchanges chosen places for spare ones of the same cell while the controls come nearer to chance."""
    away = Away(chosen, hits)
    for _ in range(MOST_PASSES):
        exchanged = False
        for cell, places in chosen.items():
            for number, place in enumerate(places):
                best = away.best_for(cell, hits[place], spare[cell], hits)
                if best is not None:
                    other = spare[cell][best]
                    away.take(cell, change(hits[place], hits[other]))
                    places[number], spare[cell][best] = other, place
                    exchanged = True
        if not exchanged:
            break


class Away:
    """How many rows each control's hits are away from a quarter, in each group.

    Args:
        chosen: places of candidates by their cell.
    """

    def __init__(self, chosen: Mapping[Cell, Sequence[int]], hits: Hits) -> None:
        self.sizes: dict[str, list[int]] = {}
        """Rows that each control judges."""
        self.rows: dict[str, list[float]] = {}
        for cell, places in chosen.items():
            for place in places:
                for group in groups_of(cell):
                    before = self.sizes.get(group, [0] * len(hits[place]))
                    self.sizes[group] = [
                        size + (value is not None) for size, value in zip(before, hits[place], strict=True)
                    ]
                self.take(cell, change([CHANCE] * len(hits[place]), hits[place]))

    def take(self, cell: Cell, steps: Sequence[float]) -> None:
        """Hits of this cell change by `steps`, one per control."""
        for group in groups_of(cell):
            before = self.rows.get(group, [0.0] * len(steps))
            self.rows[group] = [off + step for off, step in zip(before, steps, strict=True)]

    def gain(self, cell: Cell, steps: Sequence[float]) -> float:
        """By how much the penalties of all groups would become less."""
        return sum(
            penalty(off, size) - penalty(off + step, size)
            for group in groups_of(cell)
            for off, size, step in zip(self.rows[group], self.sizes[group], steps, strict=True)
        )

    def best_for(self, cell: Cell, mine: Expected, spare: Sequence[int], hits: Hits) -> int | None:
        """The number of the spare place that helps most in the place of one with the hits `mine`, None if none does."""
        best, best_gain = None, LEAST_GAIN
        looked_at: set[Expected] = set()
        for number, other in enumerate(spare):
            if hits[other] not in looked_at:
                looked_at.add(hits[other])
                gain = self.gain(cell, change(mine, hits[other]))
                if gain > best_gain:
                    best, best_gain = number, gain
        return best


def penalty(off: float, num_rows: int) -> float:
    """What it counts that a control is `off` rows away from a quarter: what is not allowed counts most. Without that, a
    group of one row, which cannot be at a quarter, would weigh as much as a large one."""
    return PER_ROW_TOO_MUCH * max(0.0, abs(off) - allowed_rows(num_rows)) + off * off / max(1, num_rows)


def change(mine: Sequence[float | None], other: Sequence[float | None]) -> list[float]:
    """Of one cell either all are judged or none, so where one is not, nothing changes."""
    return [0.0 if own is None or theirs is None else theirs - own for own, theirs in zip(mine, other, strict=True)]


def reached(chosen: Sequence[Candidate], controls: Sequence[Control]) -> list[Reached]:
    """Every control in every group that has rows."""
    groups: dict[str, list[Expected]] = {}
    for one in chosen:
        for group in groups_of(one.slot.cell):
            groups.setdefault(group, []).append(hits_of(one, controls))
    found = []
    for group, rows in sorted(groups.items()):
        for number, control in enumerate(controls):
            judged = [hits for row in rows if (hits := row[number]) is not None]
            found.append(
                Reached(
                    group=group,
                    control=control,
                    num_rows=len(judged),
                    hits=sum(judged),
                    allowed=allowed_rows(len(judged)),
                    not_judged=len(rows) - len(judged),
                )
            )
    return found
