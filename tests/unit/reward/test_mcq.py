"""The scorer: hand-written replies, any text at all, and time linear in its length."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rft.reward.mcq import FailureReason, score_boxed_letter

LETTERS = ("a", "b", "c", "d")
GOLDEN = yaml.safe_load((Path(__file__).parent / "golden.yaml").read_text(encoding="utf-8"))

pieces = st.sampled_from(
    [
        "<think>",
        "</think>",
        "\\boxed{",
        "boxed{",
        "}",
        "{",
        "\\",
        "(",
        ")",
        "\\text{",
        " ",
        "\n",
        "$",
        ".",
        "e",
        "B",
        *LETTERS,
    ]
)
replies = st.one_of(st.text(), st.lists(st.one_of(pieces, st.text(max_size=2)), max_size=40).map("".join))


def reply(entry: dict[str, Any]) -> str:
    text: str = entry["text"]
    if "junk" in entry:
        unit, characters = entry["junk"], int(entry["junk_characters"])
        text = text.replace("JUNK", (unit * (characters // len(unit) + 1))[:characters])
    return text


def test_golden_file_is_large_enough() -> None:
    assert len(GOLDEN) >= 60
    assert {entry["strict"] for entry in GOLDEN} >= set(FailureReason), "every reason occurs"


@pytest.mark.parametrize("rule", ["strict", "paper"])
@pytest.mark.parametrize("entry", GOLDEN, ids=[f"{i}-{entry['text'][:30]!r}" for i, entry in enumerate(GOLDEN)])
def test_golden(entry: dict[str, Any], rule: Any) -> None:
    result = score_boxed_letter(reply(entry), LETTERS, "b", rule=rule, thought_open=entry.get("thought_open", False))
    assert (result.parsed or result.failure) == entry[rule]
    assert result.reward == (1.0 if entry[rule] == "b" else 0.0)
    assert (result.parsed is None) == (result.failure is not None)


def test_only_offered_letters_count() -> None:
    assert score_boxed_letter(r"\boxed{d}", ("a", "b", "c"), "b", rule="strict").failure == FailureReason.NOT_AN_OPTION
    assert score_boxed_letter(r"\boxed{d}", ("a", "b", "c"), "b", rule="paper").parsed is None
    assert score_boxed_letter(r"\boxed{E}", ("a", "b", "c", "d", "e"), "e", rule="strict").reward == 1.0


@pytest.mark.parametrize("rule", ["strict", "paper"])
@given(text=replies, gold=st.sampled_from(LETTERS), thought_open=st.booleans())
def test_any_text_is_scored(rule: Any, text: str, gold: str, thought_open: bool) -> None:
    result = score_boxed_letter(text, LETTERS, gold, rule=rule, thought_open=thought_open)
    assert result.reward == (1.0 if result.parsed == gold else 0.0)
    assert result.parsed is None or result.parsed in LETTERS
    assert (result.parsed is None) == (result.failure is not None)


@given(text=replies, thought_open=st.booleans())
def test_strict_reads_what_is_boxed_after_the_thought(text: str, thought_open: bool) -> None:
    """A reward needs the gold letter inside braces after a box opens, once every thought has closed."""
    result = score_boxed_letter(text, LETTERS, "b", rule="strict", thought_open=thought_open)
    if result.reward:
        answer = text.rpartition("</think>")[2]
        assert "<think>" not in answer
        assert not thought_open or "</think>" in text
        assert "b" in answer.partition("\\boxed")[2].lower()


@given(text=replies)
def test_strict_rewards_at_most_one_letter(text: str) -> None:
    assert sum(score_boxed_letter(text, LETTERS, gold, rule="strict").reward for gold in LETTERS) <= 1.0


@pytest.mark.parametrize("rule", ["strict", "paper"])
@pytest.mark.parametrize(
    "unit",
    [
        "\\boxed{",
        "\\boxed{b}",
        "\\boxed{{",
        "\\boxed ",
        "\\boxed{\\text{b}}",
        "\\boxed{" + "(" * 90 + "}",
        "<think>",
        "</think>",
        "<think>x</think>",
        "{",
        "}",
        "\\",
        " ",
        "boxed{(b",
    ],
)
def test_time_is_linear(unit: str, rule: Any) -> None:
    """16 times the text takes at most 64 times as long; anything quadratic takes 256 times."""

    def seconds(characters: int) -> float:
        text = unit * (characters // len(unit)) + "\\boxed{b}"
        times = []
        for _ in range(5):
            start = time.process_time()
            score_boxed_letter(text, LETTERS, "b", rule=rule)
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(320_000) <= 64 * max(seconds(20_000), 1e-4)
