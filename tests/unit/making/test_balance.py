"""Which candidates enter: exact numbers, and controls that come near to chance wherever the candidates allow it."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from rft.making.balance import allowed_rows, choose, hits_of, reached
from rft.making.candidates import Candidate
from rft.making.duplicates import near_duplicates
from rft.making.plan import Cell, Slot
from rft.making.questions import QuestionText

CONTROLS = ("longest", "shortest", "options_only")
CELLS = [
    Cell(pref_type="neutral_preferences", variant="plain"),
    Cell(pref_type="neutral_preferences", variant="others"),
    Cell(pref_type="neutral_preferences", variant="updated"),
    Cell(pref_type="ask_to_forget", variant="forget"),
]


def candidate(number: int, cell: Cell, lengths: tuple[int, int, int, int], options_only: float | None) -> Candidate:
    right, *wrong = ("x" * length for length in lengths)
    slot = Slot(
        persona=0, number=number, split="train", cell=cell, source="neutral_preferences", ordinal=number,
        scenario="translation", num_conversations=1, num_turns=1, rank=0,
    )  # fmt: skip
    return Candidate(
        slot=slot, question=QuestionText(query="?", topic="t", right=right, wrong=tuple(wrong), made_by=("q",)),
        options_only=options_only,
    )  # fmt: skip


def leaning(seed: int, per_cell: int, longest: float, found: float) -> list[Candidate]:
    """Candidates whose right option is the longest, and found from the options alone, far more often than by chance."""
    rng = random.Random(seed)
    made = []
    for cell in CELLS:
        for _ in range(per_cell):
            right = 90 if rng.random() < longest else rng.choice((10, 45, 55))
            made.append(candidate(len(made), cell, (right, 40, 50, 60), float(rng.random() < found)))
    return made


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("wanted", [4, 20, 60])
def test_a_leaning_pool_gives_a_choice_within_the_bounds_in_every_group(seed: int, wanted: int):
    pool = leaning(seed, 4 * wanted, longest=0.45, found=0.5)
    chosen = choose(pool, dict.fromkeys(CELLS, wanted), CONTROLS, seed)
    assert Counter(one.slot.cell for one in chosen) == dict.fromkeys(CELLS, wanted)
    found = reached(chosen, CONTROLS)
    assert {one.group for one in found} == {
        "all", "pref_type=neutral_preferences", "pref_type=ask_to_forget", "who=others", "updated=true",
    }  # fmt: skip
    for one in found:
        assert one.is_balanced, one
        assert abs(one.hits - one.num_rows / 4) <= max(0.03 * one.num_rows, 1) + 1e-9
    assert chosen == choose(pool, dict.fromkeys(CELLS, wanted), CONTROLS, seed)
    assert chosen == sorted(chosen, key=pool.index)


@pytest.mark.parametrize("seed", range(10))
def test_kinds_of_one_row_each_are_balanced_together(seed: int):
    """A single row is always 100% or 0%; five of them can still be one in five."""
    kinds = ("neutral_preferences", "stereotypical_pref", "therapy_background", "ask_to_forget", "sensitive_info")
    rng = random.Random(seed)
    cells = [Cell(pref_type=kind, variant="plain") for kind in kinds]
    pool = [
        candidate(number, cells[number % 5], (rng.choice((10, 45, 55, 90)), 40, 50, 60), float(rng.random() < 0.25))
        for number in range(60)
    ]
    found = reached(choose(pool, dict.fromkeys(cells, 1), CONTROLS, seed), CONTROLS)
    assert [one.hits for one in found if one.group == "all"] == [1.0, 1.0, 1.0]


def test_where_no_choice_can_help_it_is_said():
    pool = [candidate(number, CELLS[0], (90, 40, 50, 60), None) for number in range(40)]
    longest, shortest, options_only = reached(choose(pool, {CELLS[0]: 20}, CONTROLS, 0), CONTROLS)[:3]
    assert longest.share == 1.0 and not longest.is_balanced and longest.excess == 14.0
    assert shortest.share == 0.0 and not shortest.is_balanced
    assert options_only.share is None and options_only.is_balanced, "nobody was asked"
    assert (options_only.num_rows, options_only.not_judged) == (0, 20)


def test_too_few_candidates_give_what_there_is():
    pool = leaning(0, 3, longest=0.25, found=0.25)
    chosen = choose(pool, {CELLS[0]: 5, CELLS[1]: 2}, CONTROLS, 0)
    assert Counter(one.slot.cell for one in chosen) == {CELLS[0]: 3, CELLS[1]: 2}
    assert choose(pool, {CELLS[0]: 2}, (), 0), "without controls nothing is exchanged"


def test_ties_count_as_parts():
    assert hits_of(candidate(0, CELLS[0], (50, 50, 10, 10), 0.5), CONTROLS) == (0.5, 0.0, 0.5)
    assert hits_of(candidate(0, CELLS[0], (10, 10, 10, 10), None), CONTROLS) == (0.25, 0.25, None)


def test_small_groups_may_be_one_row_away_and_large_ones_three_points():
    assert [allowed_rows(count) for count in (1, 33, 34, 1000)] == [1.0, 1.0, 1.02, 30.0]


def test_near_duplicates_are_the_later_ones():
    texts = [
        "Any idea for a quiet evening near the old harbour?",
        "How do I repair a bicycle tyre on the road?",
        "any idea for a quiet  evening near the old harbor?",
        "Any idea for a loud morning far from the new airport?",
    ]
    assert near_duplicates(texts, 0.9) == {2}
    assert near_duplicates(texts, 1.0) == set()
    assert near_duplicates([], 0.9) == near_duplicates(["one"], 0.9) == set()
    assert near_duplicates(["?", "?", "!"], 0.9) == {1}


def test_a_writer_that_repeats_itself_again_and_again_is_found_out():
    texts = ["What shall I drink on a quiet evening near the harbour?"] * 30
    assert near_duplicates(texts, 0.9) == set(range(1, 30))
    nearly = [f"What shall I drink on a quiet evening near the harbour, number {number}?" for number in range(40)]
    other = "How do I repair a bicycle tyre on the road?"
    assert near_duplicates([*nearly, other], 0.9) == set(range(1, 40))
