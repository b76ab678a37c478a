"""The scorer: hand-written replies, any text at all, and time linear in its length."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rft.reward.final_answer import score_final_answer
from rft.reward.mcq import FailureReason, score_boxed_letter
from rft.reward.thoughts import split_thought

LETTERS = ("a", "b", "c", "d")
GOLDEN = yaml.safe_load((Path(__file__).parent / "golden.yaml").read_text(encoding="utf-8"))

pieces = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<Thinking >",
        "</thinking>",
        "[THINK]",
        "[/THINK]",
        "◁think▷",
        "<|channel|>analysis",
        "<|channel|>final",
        "assistantfinal",
        "Final Answer: ",
        " or ",
        "\\rm ",
        "\\,",
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


OPENING = re.compile(r"<think>|<thinking|\[THINK\]|◁think|<\|channel\|>analysis", re.IGNORECASE)


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
        _, answer = split_thought(text, thought_open=thought_open)
        assert answer is not None and text.endswith(answer)
        assert not OPENING.search(answer) and (not thought_open or answer != text)
        assert "b" in answer.partition("\\boxed")[2].lower()


@given(text=replies, thought_open=st.booleans())
def test_at_most_one_letter_is_rewarded(text: str, thought_open: bool) -> None:
    def rewarded(score: Any, **more: Any) -> float:
        return sum(score(text, LETTERS, gold, thought_open=thought_open, **more).reward for gold in LETTERS)

    assert rewarded(score_boxed_letter, rule="strict") <= 1.0
    assert rewarded(score_boxed_letter, rule="paper") <= 1.0
    assert rewarded(score_final_answer) <= 1.0


@pytest.mark.parametrize(
    "entry", [entry for entry in GOLDEN if "final" in entry], ids=lambda entry: repr(entry["text"][:40])
)
def test_golden_of_the_final_answer_protocol(entry: dict[str, Any]) -> None:
    result = score_final_answer(reply(entry), LETTERS, "b", thought_open=entry.get("thought_open", False))
    assert (result.parsed or result.failure) == entry["final"]
    assert result.reward == (1.0 if entry["final"] == "b" else 0.0)


@pytest.mark.parametrize("rule", ["strict", "paper", "final"])
@pytest.mark.parametrize(
    "unit",
    [
        "<",
        "< ",
        "<think >",
        "<think id=",
        "<think   ",
        "<|thought",
        "<thinking></think>",
        "[THINK]",
        "<|channel|>final ",
        "\\boxed{" + "\\," * 45 + "b}",
        "\\boxed{\\rm " + "\\ " * 40 + "}",
        "Final Answer: ",
        "Final Answer: B or ",
        "the final answer: (A [B] {C}\n",
        "final ",
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
        "Final Answer: A. ",
    ],
)
def test_time_is_linear(unit: str, rule: Any) -> None:
    """16 times the text takes at most 64 times as long; anything quadratic takes 256 times."""

    def seconds(characters: int) -> float:
        text = unit * (characters // len(unit)) + "\\boxed{b}"
        times = []
        for _ in range(3):
            start = time.process_time()
            if rule == "final":
                score_final_answer(text, LETTERS, "b")
            else:
                score_boxed_letter(text, LETTERS, "b", rule=rule)
            times.append(time.process_time() - start)
        return min(times)

    shorter = 2_000 if rule == "final" else 20_000
    assert seconds(16 * shorter) <= 64 * max(seconds(shorter), 1e-4)
