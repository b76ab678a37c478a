"""Which of the passing candidates enter, so that no rule that sees the options alone is better or worse than chance.

Three controls: the longest option is right, the shortest is, a model that sees nothing but the options finds it.
In each group (a split as a whole, each kind in it, `who = others`, updated preferences) each control's expected hits
must be within 3 points of a quarter of the rows, or within one row of it where 3 points are less than one row.

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
    hits: float
    """Expected number of right answers; a tie counts as a part."""
    allowed: float
    """Rows that the hits may be away from a quarter of all."""

    @property
    def share(self) -> float:
        return self.hits / self.num_rows

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


def hits_of(candidate: Candidate, controls: Sequence[Control]) -> tuple[float, ...]:
    """What each control expects to get right on a candidate, in [0, 1]."""
    assert candidate.question is not None
    lengths = [len(option) for option in candidate.question.options]
    hits: dict[Control, float] = {
        "longest": (lengths[0] == max(lengths)) / lengths.count(max(lengths)),
        "shortest": (lengths[0] == min(lengths)) / lengths.count(min(lengths)),
        "options_only": CHANCE if candidate.options_only is None else candidate.options_only,
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


Hits = Mapping[int, tuple[float, ...]]
"""What each control expects to get right on a candidate, by the candidate's place."""


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
        self.sizes: dict[str, int] = {}
        self.rows: dict[str, list[float]] = {}
        for cell, places in chosen.items():
            for group in groups_of(cell):
                self.sizes[group] = self.sizes.get(group, 0) + len(places)
            for place in places:
                self.take(cell, [value - CHANCE for value in hits[place]])

    def take(self, cell: Cell, steps: Sequence[float]) -> None:
        """Hits of this cell change by `steps`, one per control."""
        for group in groups_of(cell):
            before = self.rows.get(group, [0.0] * len(steps))
            self.rows[group] = [off + step for off, step in zip(before, steps, strict=True)]

    def gain(self, cell: Cell, steps: Sequence[float]) -> float:
        """By how much the penalties of all groups would become less."""
        return sum(
            penalty(off, self.sizes[group]) - penalty(off + step, self.sizes[group])
            for group in groups_of(cell)
            for off, step in zip(self.rows[group], steps, strict=True)
        )

    def best_for(self, cell: Cell, mine: Sequence[float], spare: Sequence[int], hits: Hits) -> int | None:
        """The number of the spare place that helps most in the place of one with the hits `mine`, None if none does."""
        best, best_gain = None, LEAST_GAIN
        looked_at: set[tuple[float, ...]] = set()
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
    return PER_ROW_TOO_MUCH * max(0.0, abs(off) - allowed_rows(num_rows)) + off * off / num_rows


def change(mine: Sequence[float], other: Sequence[float]) -> list[float]:
    return [theirs - own for own, theirs in zip(mine, other, strict=True)]


def reached(chosen: Sequence[Candidate], controls: Sequence[Control]) -> list[Reached]:
    """Every control in every group that has rows."""
    groups: dict[str, list[tuple[float, ...]]] = {}
    for one in chosen:
        for group in groups_of(one.slot.cell):
            groups.setdefault(group, []).append(hits_of(one, controls))
    return [
        Reached(
            group=group,
            control=control,
            num_rows=len(rows),
            hits=sum(row[number] for row in rows),
            allowed=allowed_rows(len(rows)),
        )
        for group, rows in sorted(groups.items())
        for number, control in enumerate(controls)
    ]
