"""What is tried, before anything is asked: each candidate's kind, scenario and lengths, drawn from the seed.

A candidate is a `Slot` of one persona. Slots depend on the seed and on the persona's number alone, so more personas or
more questions leave those of before as they are.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from rft.assembly.blocks import SCENARIOS
from rft.assembly.table import CsvName
from rft.making.config import KindsConfig, MakingConfig
from rft.making.seeds import rng_of

Variant = Literal["plain", "updated", "others", "forget", "secret"]

PLAIN_TYPES = (
    "stereotypical_pref",
    "anti_stereotypical_pref",
    "neutral_preferences",
    "health_and_medical_conditions",
    "therapy_background",
)

SECRET_SCENARIOS = ("personal_email", "professional_email", "professional_writing", "chat_message", "translation")

DECK = 100
"""Candidates in a row that hold every kind in its share, the rarest ones once; they are then a few more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A kind of question: what is counted out exactly.

    Example:
        Cell(pref_type="neutral_preferences", variant="updated")
    """

    pref_type: str
    variant: Variant

    @property
    def who(self) -> str:
        return "others" if self.variant == "others" else "self"

    def __str__(self) -> str:
        plain = self.variant in ("plain", "forget", "secret")
        return self.pref_type if plain else f"{self.pref_type}, {self.variant}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One candidate, not yet made.

    Example:
        Slot(persona=3, number=7, split="train", cell=Cell(...), source="neutral_preferences", ordinal=2,
             scenario="translation", num_conversations=1, num_turns=2, rank=3)
    """

    persona: int
    number: int
    split: CsvName
    cell: Cell
    source: str | None
    """The kind of preference it is about; None for a secret."""
    ordinal: int
    """Which of the persona's preferences of that kind, from 0."""
    scenario: str
    num_conversations: int
    """More than one where the same interest is asked about again and again."""
    num_turns: int
    rank: int
    """Which place the right answer is to have among the options by length, 0 the shortest."""

    @property
    def id(self) -> str:
        return f"p{self.persona}/s{self.number}"


def cell_weights(kinds: KindsConfig) -> dict[Cell, float]:
    """The share of each cell, 1 in all; those without any are left out.

    Raises:
        ValueError: there is none.
    """
    weights: dict[Cell, float] = {}
    for name in PLAIN_TYPES:
        weight = getattr(kinds, name)
        own = weight * (1 - kinds.others)
        updated = 0.0 if name == "therapy_background" else own * kinds.updated
        weights[Cell(pref_type=name, variant="plain")] = own - updated
        weights[Cell(pref_type=name, variant="updated")] = updated
        weights[Cell(pref_type=name, variant="others")] = weight * kinds.others
    weights[Cell(pref_type="ask_to_forget", variant="forget")] = kinds.ask_to_forget
    weights[Cell(pref_type="sensitive_info", variant="secret")] = kinds.sensitive_info
    total = sum(weights.values())
    if total == 0:
        raise ValueError("kinds: every weight is 0; raise one")
    return {cell: weight / total for cell, weight in weights.items() if weight}


def counted_out(weights: Mapping[Cell, float], count: int) -> dict[Cell, int]:
    """`count` in parts as near to the shares as whole numbers can be (largest remainders)."""
    counts = {cell: int(weight * count) for cell, weight in weights.items()}
    order = sorted(weights, key=lambda cell: (counts[cell] - weights[cell] * count, str(cell)))
    for cell in order[: count - sum(counts.values())]:
        counts[cell] += 1
    return counts


def persona_splits(config: MakingConfig) -> dict[CsvName, range]:
    """The numbers of each split's personas."""
    start, found = 0, {}
    for name in get_args(CsvName):
        count = getattr(config.splits, name).personas
        found[name] = range(start, start + count)
        start += count
    return found


def plan_slots(config: MakingConfig) -> list[Slot]:
    """Every candidate that may be tried, persona by persona."""
    counts = counted_out(cell_weights(config.kinds), DECK)
    deck = [cell for cell, count in counts.items() for _ in range(max(1, count))]
    seen: dict[Cell, int] = {}
    slots = []
    for split, personas in persona_splits(config).items():
        for persona in personas:
            slots += persona_slots(config, persona, split, deck, seen)
    return slots


def persona_slots(
    config: MakingConfig, persona: int, split: CsvName, deck: list[Cell], seen: dict[Cell, int]
) -> list[Slot]:
    """
    Args:
        deck: the cells in their shares.
        seen: how many slots of each cell the personas before have; it is counted on.
    """
    count = config.budget.candidates_per_persona
    ordinals = dict.fromkeys(PLAIN_TYPES, 0)
    shuffled: dict[int, list[Cell]] = {}
    slots = []
    for number in range(count):
        block, place = divmod(persona * count + number, len(deck))
        if block not in shuffled:
            shuffled[block] = rng_of(config.seed, "cells", block).sample(deck, len(deck))
        cell = shuffled[block][place]
        rng = rng_of(config.seed, "slot", persona, number)
        source = source_of(rng, cell, config.kinds)
        scenario = draw_scenario(rng, cell)
        is_repeated = scenario == "knowledge_query" and cell.variant == "plain"
        slots.append(
            Slot(
                persona=persona,
                number=number,
                split=split,
                cell=cell,
                source=source,
                ordinal=ordinals[source] if source else 0,
                scenario=scenario,
                num_conversations=rng.choice((2, 3)) if is_repeated else 1,
                num_turns=2 if rng.random() < 1 / 3 else 1,
                rank=drawn_rank(config.seed, cell, seen.get(cell, 0)),
            )
        )
        seen[cell] = seen.get(cell, 0) + 1
        if source:
            ordinals[source] += 1
    return slots


def source_of(rng: random.Random, cell: Cell, kinds: KindsConfig) -> str | None:
    """What is to be forgotten is of any kind that the data set has; where it has no other, of any kind at all."""
    if cell.variant == "secret":
        return None
    if cell.variant == "forget":
        return rng.choice([name for name in PLAIN_TYPES if getattr(kinds, name)] or PLAIN_TYPES)
    return cell.pref_type


def draw_scenario(rng: random.Random, cell: Cell) -> str:
    if cell.variant == "secret":
        return rng.choice(SECRET_SCENARIOS)
    # What is asked again and again is the user's own interest, and is kept.
    return rng.choice(SCENARIOS if cell.variant in ("plain", "updated") else SCENARIOS[:-1])


def drawn_rank(seed: int, cell: Cell, number: int) -> int:
    """Every four candidates of a cell have the four ranks."""
    block, place = divmod(number, 4)
    return rng_of(seed, "ranks", cell, block).sample(range(4), 4)[place]
