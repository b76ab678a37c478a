"""The numbers of a set of memories, worked out by hand."""

from __future__ import annotations

import json

import pytest

from rft.eval.memory import MemoryTrace, held_by_age, summarize_memories, trace_memories
from rft.eval.predictions import Prediction
from rft.eval.retention import Retention
from rft.records import Answer, Completion, MemoryUpdate, Prompt, Rollout, Score, UpdateFailure
from tests.unit.eval.builder import make_prediction, make_question


def told(history: int, tokens: int, retention: Retention | None, input_tokens: int = 50) -> Prediction:
    trace = MemoryTrace(
        memory=str(history), memory_tokens=tokens, history_tokens=200, update_failures=(None, "empty", None),
        retention=retention,
    )  # fmt: skip
    question = make_question(2 * history)
    return make_prediction(question, prompt_tokens=input_tokens, memory=trace.as_row())


def test_a_memory_counts_once_and_its_questions_each():
    kept = Retention(evidence_turn=0, num_turns=3, entered=0, lost=None)
    lost = Retention(evidence_turn=1, num_turns=3, entered=1, lost=2)
    never = Retention(evidence_turn=2, num_turns=3, entered=None, lost=None)
    found = summarize_memories(
        [told(0, 10, kept), told(0, 10, lost, input_tokens=70), told(1, 30, never), told(1, 30, None)]
    )
    assert (found.num_memories, found.memory_tokens_mean, found.memory_tokens_max) == (2, 20, 30)
    assert (found.updates_mean, found.failures) == (3, {"empty": 2})
    assert found.input_tokens_mean == pytest.approx(55)
    assert found.input_tokens_ratio == pytest.approx(55 / 200)
    assert (found.num_measured, found.entered, found.retention) == (3, pytest.approx(2 / 3), pytest.approx(1 / 3))
    # Just read: kept and lost of three. One update later: kept, not lost. Two later: kept.
    assert found.retention_by_age == {0: pytest.approx(2 / 3), 1: 0.5, 2: 1.0}


def test_nothing_to_follow_is_no_number():
    found = summarize_memories([told(0, 10, None)])
    assert (found.num_measured, found.entered, found.retention, found.retention_by_age) == (0, None, None, {})


@pytest.mark.parametrize(
    ("turns", "entered", "lost", "held"),
    [
        ((0, 3), 0, None, {0: 1, 1: 1, 2: 1}),
        ((0, 3), 1, 2, {0: 0, 1: 1, 2: 0}),  # noted an update late, lost after the next
        ((0, 3), None, None, {0: 0, 1: 0, 2: 0}),
        ((2, 3), 2, None, {0: 1}),  # read last, so it has one age
    ],
)
def test_evidence_is_held_from_its_note_until_its_loss(
    turns: tuple[int, int], entered: int | None, lost: int | None, held: dict[int, float]
):
    assert held_by_age([Retention(evidence_turn=turns[0], num_turns=turns[1], entered=entered, lost=lost)]) == held


def test_an_age_counts_those_that_reach_it():
    long = Retention(evidence_turn=0, num_turns=2, entered=0, lost=None)
    short = Retention(evidence_turn=1, num_turns=2, entered=None, lost=None)
    assert held_by_age([long, short]) == {0: 0.5, 1: 1.0}
    assert held_by_age([]) == {}


def answer(number: int, evidence_turn: int | None) -> Answer:
    question = make_question(number, correct_answer="Some jazz.", incorrect_answers=("Metal.", "Opera.", "Folk."))
    prompt = Prompt(
        question=question, token_ids=(1,) * (20 + number), num_context_tokens=0, option_order=(0, 1, 2, 3),
        evidence_turn=evidence_turn,
    )  # fmt: skip
    return Answer(prompt=prompt, sibling=0, completion=REPLY, text="", score=Score(reward=1.0, parsed="a"))


REPLY = Completion(token_ids=(1,), logprobs=(0.0,), finish_reason="stop", policy_version=0)


def test_a_rollout_is_told_question_by_question():
    updates = tuple(
        MemoryUpdate(
            prompt_ids=(1,), completion=REPLY, memory=memory, failure=failure, num_memory_tokens=tokens,
            num_chunk_tokens=chunk,
        )
        for memory, failure, tokens, chunk in [("Jazz.", None, 2, 90), ("Jazz.", UpdateFailure.TAGS, 2, 70)]
    )  # fmt: skip
    rollout = Rollout(updates=updates, answers=(answer(0, 1), answer(1, None)))
    followed, absent = trace_memories(rollout)
    assert followed.as_row() == {
        "memory": "Jazz.",
        "memory_tokens": 2,
        "history_tokens": 160,
        "update_failures": (None, "tags"),
        "retention": {"evidence_turn": 1, "num_turns": 2, "entered": 1, "lost": None},
    }
    assert absent.retention is None
    assert MemoryTrace.from_row(json.loads(json.dumps(followed.as_row()))) == followed
