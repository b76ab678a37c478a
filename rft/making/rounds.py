"""Candidates in rounds, until every split has its questions and is balanced, or all candidates are used up."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from rft.assembly.table import CsvName
from rft.making.balance import Control, Reached, choose, groups_of, reached
from rft.making.caller import Caller
from rft.making.candidates import Candidate, make_candidates
from rft.making.config import MakingConfig
from rft.making.people import Person, make_people
from rft.making.plan import Cell, Slot, cell_weights, counted_out, persona_splits, plan_slots
from rft.making.seeds import seed_sentences

EXTRA = 1.25
"""Candidates of the first round per question wanted, for those that fail and for a choice."""
LEAST_RATE = 0.1
"""Of candidates that pass, when it is reckoned how many more are needed."""
MOST_GROWTH = 2
"""Candidates of a cell in a round, per candidate of it that was tried before."""
ROUNDS_IN_VAIN = 3
EXTRA_FOR_BALANCE = 0.25
"""Candidates that a cell of a group out of balance gets in a round, per question of that cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What came of all rounds.

    Example:
        Made(people={0: Person(...)}, failed_people={7: "persona: not_json"}, candidates=[...], chosen={"train": [...]},
             wanted={"train": {Cell(...): 4}}, controls=("longest", "shortest", "options_only"), num_rounds=2)
    """

    people: dict[int, Person]
    failed_people: dict[int, str]
    candidates: list[Candidate]
    """All that were tried."""
    chosen: dict[CsvName, list[Candidate]]
    wanted: dict[CsvName, dict[Cell, int]]
    controls: tuple[Control, ...]
    num_rounds: int
    stopped: str | None = None
    """Why nothing more is tried although something is missing."""

    def reached(self, split: CsvName) -> list[Reached]:
        return reached(self.chosen[split], self.controls)

    def missing(self, split: CsvName) -> dict[Cell, int]:
        """Questions of each cell that there are too few of."""
        have = Counter(one.slot.cell for one in self.chosen[split])
        return {cell: count - have[cell] for cell, count in self.wanted[split].items() if have[cell] < count}

    @property
    def distance(self) -> tuple[int, float]:
        """Questions that are missing, then rows that are out of balance: (0, 0.0) is complete."""
        controls = [one for split in self.wanted for one in self.reached(split)]
        return (
            sum(sum(self.missing(split).values()) for split in self.wanted),
            round(sum(one.excess for one in controls), 6),
        )

    @property
    def is_complete(self) -> bool:
        return all(
            not self.missing(split) and all(one.is_balanced for one in self.reached(split)) for split in self.wanted
        )


def controls_of(config: MakingConfig) -> tuple[Control, ...]:
    controls: list[Control] = []
    if "lengths" in config.filters.use:
        controls += ["longest", "shortest"]
    if "options_only" in config.filters.use:
        controls.append("options_only")
    return tuple(controls)


def wanted_cells(config: MakingConfig) -> dict[CsvName, dict[Cell, int]]:
    """How many questions of each cell each split gets; splits without questions are left out."""
    weights = cell_weights(config.kinds)
    sizes = {name: getattr(config.splits, name).questions for name in get_args(CsvName)}
    return {name: counted_out(weights, size) for name, size in sizes.items() if size}


def wanted_personas(config: MakingConfig) -> list[int]:
    """The numbers of all personas whose split has questions."""
    wanted = wanted_cells(config)
    return [number for split, personas in persona_splits(config).items() if split in wanted for number in personas]


def make_all(caller: Caller) -> Made:
    """Asks for everything.

    Raises:
        Unfinished, ValueError: as `Caller.run`.
    """
    config = caller.config
    wanted, controls, slots = wanted_cells(config), controls_of(config), plan_slots(config)
    sentences = seed_sentences(config.seed_sentences, sum_personas(config), config.seed)
    people, failed = make_people(caller, {number: sentences[number] for number in wanted_personas(config)}, slots)
    untried = [slot for slot in by_turns(slots) if slot.persona in people]
    candidates: list[Candidate] = []
    num_rounds = 0
    distances: list[tuple[int, float]] = []
    while True:
        passing = [one for one in candidates if one.passes]
        made = Made(
            people=people,
            failed_people=failed,
            candidates=candidates,
            chosen={
                split: choose([one for one in passing if one.slot.split == split], cells, controls, config.seed)
                for split, cells in wanted.items()
            },
            wanted=wanted,
            controls=controls,
            num_rounds=num_rounds,
        )
        if made.is_complete:
            return made
        batch = next_batch(made, untried)
        distances.append(made.distance)
        stopped = why_stopped(batch, distances) if people else "there is no persona"
        if stopped is not None:
            return replace(made, stopped=stopped)
        print(f"round {num_rounds + 1}: {len(batch)} candidates", file=sys.stderr)
        tried = {slot.id for slot in batch}
        untried = [slot for slot in untried if slot.id not in tried]
        candidates = [*candidates, *make_candidates(caller, people, batch, passing)]
        num_rounds += 1


def why_stopped(batch: Sequence[Slot], distances: Sequence[tuple[int, float]]) -> str | None:
    """
    Args:
        batch: what would be tried next.
        distances: `Made.distance` after each round.
    """
    if not batch:
        return "every candidate of the kinds that are missing was tried (budget.candidates_per_persona)"
    before, since = distances[:-ROUNDS_IN_VAIN], distances[-ROUNDS_IN_VAIN:]
    if before and min(since) >= min(before):
        return f"{ROUNDS_IN_VAIN} rounds brought nothing; look at the reasons, a preview, and the choice of filters"
    return None


def sum_personas(config: MakingConfig) -> int:
    return sum(len(personas) for personas in persona_splits(config).values())


def by_turns(slots: Sequence[Slot]) -> list[Slot]:
    """The first slot of every persona, then the second ones, and so on: questions are spread over all personas."""
    return sorted(slots, key=lambda slot: (slot.number, slot.persona))


def by_cell(slots: Sequence[Slot]) -> dict[tuple[CsvName, Cell], list[Slot]]:
    pools: dict[tuple[CsvName, Cell], list[Slot]] = {}
    for slot in slots:
        pools.setdefault((slot.split, slot.cell), []).append(slot)
    return pools


def next_batch(made: Made, untried: Sequence[Slot]) -> list[Slot]:
    """The slots of the next round: as many of each cell as its pass rate asks for."""
    pools = by_cell(untried)
    batch: list[Slot] = []
    for split, needs in needed(made).items():
        for cell, count in needs.items():
            batch += pools.get((split, cell), [])[:count]
    return sorted(batch, key=lambda slot: (slot.number, slot.persona))


def needed(made: Made) -> dict[CsvName, dict[Cell, int]]:
    """Candidates that are to be tried next."""
    tried = Counter((one.slot.split, one.slot.cell) for one in made.candidates)
    passed = Counter((one.slot.split, one.slot.cell) for one in made.candidates if one.passes)
    needs: dict[CsvName, dict[Cell, int]] = {}
    for split, cells in made.wanted.items():
        missing = made.missing(split)
        unbalanced = {one.group for one in made.reached(split) if not one.is_balanced}
        needs[split] = {}
        for cell, count in cells.items():
            key = (split, cell)
            rate = max(LEAST_RATE, passed[key] / tried[key]) if tried[key] else 1 / EXTRA
            more = missing.get(cell, 0) / rate
            if not missing.get(cell) and count and unbalanced & set(groups_of(cell)):
                more = max(2.0, EXTRA_FOR_BALANCE * count) / rate
            most = max(4, MOST_GROWTH * tried[key]) if made.num_rounds else math.inf
            needs[split][cell] = math.ceil(min(more, most))
    return needs


def candidates_of_first_round(config: MakingConfig) -> list[Slot]:
    """What is tried if nothing fails, for an estimate."""
    pools = by_cell(by_turns(plan_slots(config)))
    batch: list[Slot] = []
    for split, cells in wanted_cells(config).items():
        for cell, count in cells.items():
            batch += pools.get((split, cell), [])[: math.ceil(EXTRA * count)]
    return batch


def too_few_slots(config: MakingConfig) -> Mapping[str, int]:
    """Cells of which more questions are wanted than there are candidates, with the number of candidates."""
    counts = Counter((slot.split, slot.cell) for slot in plan_slots(config))
    return {
        f"{split}: {cell}": counts[split, cell]
        for split, cells in wanted_cells(config).items()
        for cell, count in cells.items()
        if counts[split, cell] < count
    }
