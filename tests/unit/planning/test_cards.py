"""The cards that a run can be planned for."""

from __future__ import annotations

import math

import pytest
import torch

from rft.planning.cards import CARDS, DEFAULT_CARD, GIB, NAMES_OF_DEVICES, card_named, planned_card, with_memory


def test_every_card_holds_a_little_less_than_its_name_says():
    named = {"a100-80": 80, "h100": 80, "h200": 141, "b200": 192}
    for name, card in CARDS.items():
        assert 0.9 * named[name] < card.memory_gib < named[name]
        assert card.memory == int(card.memory_gib * GIB)


def test_peaks_are_those_without_sparsity():
    """The data sheets' large numbers are with structured sparsity, which doubles them."""
    assert CARDS["h100"].bf16_flops == pytest.approx(1979e12 / 2, rel=1e-3)
    assert CARDS["a100-80"].bf16_flops == 312e12
    assert CARDS["h200"].bf16_flops == CARDS["h100"].bf16_flops
    assert CARDS["h200"].bytes_per_second > CARDS["h100"].bytes_per_second


def test_each_name_that_cuda_reports_leads_to_a_card():
    assert set(NAMES_OF_DEVICES.values()) <= set(CARDS)
    assert DEFAULT_CARD in CARDS


def test_another_memory_leaves_the_rest_of_the_card():
    card = card_named("h100", 40)
    assert card.memory == 40 * GIB
    assert with_memory(card, CARDS["h100"].memory_gib) == CARDS["h100"]


@pytest.mark.parametrize("memory_gib", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_what_is_no_size_is_refused(memory_gib: float):
    with pytest.raises(ValueError, match=r"^--memory-gib = .* such as 79\.1$"):
        card_named("h100", memory_gib)


@pytest.mark.parametrize("name", ["potato", "", "H100", "h100 "])
def test_an_unknown_card_is_answered_with_those_there_are(name: str):
    with pytest.raises(ValueError, match="a100-80, h100, h200, b200") as caught:
        card_named(name)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_without_a_name_and_a_gpu_the_default_is_planned_for():
    assert planned_card(None) == CARDS[DEFAULT_CARD]
    assert planned_card(None, 60).memory == 60 * GIB
    assert planned_card("b200") == CARDS["b200"]
