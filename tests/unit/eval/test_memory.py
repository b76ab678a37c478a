"""The numbers of a set of memories, worked out by hand."""

from __future__ import annotations

import pytest

from rft.eval.memory import MemoryTrace, summarize_memories
from rft.eval.retention import Retention


def trace(history: str, tokens: int, retention: Retention | None, input_tokens: int = 50) -> MemoryTrace:
    return MemoryTrace(
        history_id=history, memories=("a", "b", history), failures=(None, "empty", None), memory_tokens=tokens,
        history_tokens=200, input_tokens=input_tokens, retention=retention,
    )  # fmt: skip


def test_a_memory_counts_once_and_its_questions_each():
    kept = Retention(evidence_turn=0, num_turns=3, entered=0, lost=None)
    lost = Retention(evidence_turn=1, num_turns=3, entered=1, lost=2)
    never = Retention(evidence_turn=2, num_turns=3, entered=None, lost=None)
    found = summarize_memories(
        [trace("h", 10, kept), trace("h", 10, lost, input_tokens=70), trace("i", 30, never), trace("i", 30, None)]
    )
    assert (found.num_memories, found.memory_tokens_mean, found.memory_tokens_max) == (2, 20, 30)
    assert (found.updates_mean, found.failures) == (3, {"empty": 2})
    assert found.input_tokens_mean == pytest.approx(55)
    assert found.input_tokens_ratio == pytest.approx(55 / 200)
    assert (found.num_measured, found.entered, found.retention) == (3, pytest.approx(2 / 3), pytest.approx(1 / 3))
    # Just read: kept and lost of three. One update later: kept, not lost. Two later: kept.
    assert found.retention_by_age == {0: pytest.approx(2 / 3), 1: 0.5, 2: 1.0}


def test_nothing_to_follow_is_no_number():
    found = summarize_memories([trace("h", 10, None)])
    assert (found.num_measured, found.entered, found.retention, found.retention_by_age) == (0, None, None, {})
