"""What is tried: kinds in their shares, lengths spread evenly, and nothing that moves when more is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.auditing.secrets import luhn_digit
from rft.making.config import KindsConfig, MakingConfig
from rft.making.plan import DECK, Cell, cell_weights, counted_out, plan_slots
from rft.making.private_data import PRIVATE_KINDS, draw_private
from rft.making.rounds import too_few_slots, wanted_cells
from rft.making.seeds import drawn_sentences, request_seed, rng_of, seed_sentences

Load = Callable[..., MakingConfig]


def test_the_weights_are_those_of_the_config_and_cells_without_any_are_left_out():
    weights = cell_weights(KindsConfig(others=0.2, updated=0.5, ask_to_forget=0))
    assert sum(weights.values()) == pytest.approx(1)
    total = 12 + 17 + 17 + 11 + 12 + 10
    assert weights[Cell(pref_type="neutral_preferences", variant="others")] == pytest.approx(17 * 0.2 / total)
    assert weights[Cell(pref_type="neutral_preferences", variant="updated")] == pytest.approx(17 * 0.8 * 0.5 / total)
    names = {(cell.pref_type, cell.variant) for cell in weights}
    assert ("therapy_background", "updated") not in names and ("ask_to_forget", "forget") not in names


@given(st.integers(0, 500))
def test_what_is_counted_out_is_the_whole_and_within_one_of_each_share(count: int):
    weights = cell_weights(KindsConfig())
    counts = counted_out(weights, count)
    assert sum(counts.values()) == count
    assert all(abs(counts[cell] - weight * count) < 1 for cell, weight in weights.items())


def test_a_deck_of_candidates_holds_every_kind_in_its_share(load: Load):
    config = load("budget.candidates_per_persona=50", "splits.train.personas=8", "splits.val.personas=0")
    slots = [slot for slot in plan_slots(config) if slot.persona < 8]
    expected = counted_out(cell_weights(config.kinds), DECK)
    for start in range(0, len(slots), DECK):
        assert Counter(slot.cell for slot in slots[start : start + DECK]) == expected


def test_the_rarest_kind_has_candidates_too(load: Load):
    """Of 1000 questions two are such; a deck of a hundred alone would hold none."""
    config = load("kinds.others=0.02", "splits={train: {personas: 40, questions: 1000}}")
    rare = Cell(pref_type="therapy_background", variant="others")
    assert 0 < wanted_cells(config)["train"][rare] < 5
    assert too_few_slots(config) == {}


def test_in_each_cell_the_right_answer_gets_every_place_by_length_equally_often(load: Load):
    ranks: dict[Cell, list[int]] = {}
    for slot in plan_slots(load("splits.train.personas=10")):
        ranks.setdefault(slot.cell, []).append(slot.rank)
    for found in ranks.values():
        whole = found[: len(found) // 4 * 4]
        assert len(set(Counter(whole).values())) <= 1


def test_more_personas_and_questions_leave_the_first_slots_as_they_are(load: Load):
    few = plan_slots(load("splits.val.personas=0", "splits.val.questions=0", "splits.benchmark.personas=0"))
    more = plan_slots(load("splits.train.personas=5", "splits.train.questions=60"))
    assert few == more[: len(few)] and len(more) > len(few)
    other = plan_slots(load("seed=1"))
    assert [slot.cell for slot in other] != [slot.cell for slot in few]


def test_each_slot_has_a_preference_of_its_own(load: Load):
    slots = [slot for slot in plan_slots(load("splits.train.personas=3")) if slot.source is not None]
    assert len({(slot.persona, slot.source, slot.ordinal) for slot in slots}) == len(slots)
    for slot in slots:
        assert slot.cell.variant == "forget" or slot.source == slot.cell.pref_type
        assert slot.num_conversations == 1 or (slot.scenario, slot.cell.variant) == ("knowledge_query", "plain")


def test_what_is_to_be_forgotten_is_of_a_kind_that_the_data_set_has(load: Load):
    kinds = "kinds={anti_stereotypical_pref: 0, health_and_medical_conditions: 0, therapy_background: 0}"
    forgotten = [slot.source for slot in plan_slots(load(kinds)) if slot.cell.variant == "forget"]
    assert set(forgotten) == {"stereotypical_pref", "neutral_preferences"}
    assert all(slot.source for slot in plan_slots(load("kinds.sensitive_info=0")))


def test_secrets_can_belong_to_nobody():
    assert luhn_digit("7992739871") == 3
    kinds = set()
    for number in range(300):
        kind, first, second = draw_private(rng_of(0, number))
        kinds.add(kind)
        assert first != second and first not in second and second not in first
        if kind == "credit card number":
            for card in (first, second):
                plain = card.replace(" ", "")
                assert len(plain) == 16 and luhn_digit(plain[:-1]) != int(plain[-1])
        if kind == "social security number":
            assert first[3:7] == "-00-"
        if kind == "passport number":
            assert len(first) > 9
        if kind == "bank account number":
            assert first.startswith("XX00")
        if kind == "phone number":
            assert "555-01" in first
    assert kinds == set(PRIVATE_KINDS)


def test_seed_sentences_come_from_a_file_or_from_word_lists(tmp_path):
    file = tmp_path / "people.jsonl"
    file.write_text('A nurse\n\n{"persona": "A baker", "id": 3}\nA nurse\nA pilot\n')
    assert seed_sentences(str(file), 3, 0) == ["A nurse", "A baker", "A pilot"]
    with pytest.raises(ValueError, match="holds 3 different sentences, and 4 personas are asked for"):
        seed_sentences(str(file), 4, 0)
    file.write_text('{"person": "A baker"}\n')
    with pytest.raises(ValueError, match='line 1 is no JSON object with a text as "persona"'):
        seed_sentences(str(file), 1, 0)
    with pytest.raises(ValueError, match="cannot be read"):
        seed_sentences(str(tmp_path / "none.txt"), 1, 0)
    many = drawn_sentences(500, 0)
    assert len(set(many)) == 500 and many[:20] == drawn_sentences(20, 0) != drawn_sentences(20, 1)


def test_request_seeds_differ_by_everything_that_they_stand_for():
    seeds = {
        request_seed(seed, stage, item, attempt)
        for seed in (0, 1) for stage in ("personas", "checks") for item in ("p1", "p2") for attempt in (0, 1)
    }  # fmt: skip
    assert len(seeds) == 16 and all(0 <= seed < 2**31 for seed in seeds)
