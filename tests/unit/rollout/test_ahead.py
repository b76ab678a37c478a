"""Sampled beside the trainer: each batch once, kept in a checkpoint, and the same after a resume."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from rft.records import Completion, TurnRequest
from rft.rollout.ahead import AheadOfTrainer, Asked, key_of
from rft.rollout.engine import GREEDY, EngineCounters, EngineLost, Sampling


class CountingEngine:
    """Answers with the number of the call; `lost` answers nothing so often."""

    def __init__(self) -> None:
        self.policy_version = 1
        self.asked: list[TurnRequest] = []
        self.lost = 0
        self.gate = threading.Event()
        self.gate.set()

    def generate(self, requests: Sequence[TurnRequest], sampling: Sampling) -> list[Completion]:
        assert self.gate.wait(10)
        if self.lost:
            self.lost -= 1
            raise EngineLost("gone")
        self.asked += requests
        return [
            Completion(token_ids=(r.seed,), logprobs=(-0.5,), finish_reason="stop", policy_version=self.policy_version)
            for r in requests
        ]

    def counters(self) -> EngineCounters:
        return EngineCounters(prompt_tokens=len(self.asked), cached_prompt_tokens=0, generated_tokens=0)


def requests_of(batch_index: int) -> list[TurnRequest]:
    return [TurnRequest(prompt_ids=(1, 2), seed=10 * batch_index + number, max_tokens=4) for number in range(3)]


def make(engine: CountingEngine) -> AheadOfTrainer:
    def sample(batch_index: int, asked: Asked) -> list[Any]:
        return list(asked.generate(requests_of(batch_index), GREEDY))

    return AheadOfTrainer(engine, sample)  # type: ignore[arg-type]


def test_the_next_batch_is_sampled_with_the_weights_it_was_begun_with():
    engine = CountingEngine()
    ahead = make(engine)
    first = ahead.take(0)
    ahead.start(1)
    ahead.wait()
    engine.policy_version = 2
    ahead.start(1)  # has begun already
    second = ahead.take(1)
    assert [one.policy_version for one in second.episodes] == [1, 1, 1]
    assert len(engine.asked) == 6 and first.used.prompt_tokens == second.used.prompt_tokens == 3
    assert second.seconds >= 0 and second.idle_seconds >= 0
    ahead.close()


def test_what_a_checkpoint_kept_is_not_asked_again():
    engine = CountingEngine()
    ahead = make(engine)
    ahead.take(0)
    ahead.start(1)
    ahead.wait()
    engine.policy_version = 2  # the weights that train on batch 1
    lines = ahead.kept()
    ahead.close()
    assert len(lines) == 3
    fresh = CountingEngine()  # another process, whose syncs are counted from 1
    resumed = make(fresh)
    resumed.resume(lines)
    found = resumed.take(1)
    assert fresh.asked == [] and [one.token_ids for one in found.episodes] == [(10,), (11,), (12,)]
    assert {fresh.policy_version - one.policy_version for one in found.episodes} == {1}
    assert len(resumed.take(2).episodes) == 3 and len(fresh.asked) == 3, "the batch after it is asked for"
    resumed.close()


def test_nothing_is_kept_of_a_batch_that_is_taken():
    ahead = make(CountingEngine())
    ahead.take(0)
    assert ahead.kept() == []
    ahead.close()


def test_a_batch_that_was_lost_beside_the_trainer_is_tried_once_more():
    engine = CountingEngine()
    ahead = make(engine)
    engine.lost = 1
    ahead.start(0)
    assert len(ahead.take(0).episodes) == 3
    engine.lost = 2
    ahead.start(1)
    ahead.wait()
    assert ahead.kept() == []
    with pytest.raises(EngineLost):
        ahead.take(1)
    ahead.close()


def test_a_request_is_known_by_all_that_was_asked():
    one = TurnRequest(prompt_ids=(1, 2), seed=2**63 - 1, max_tokens=4)
    others = [
        TurnRequest(prompt_ids=(1, 3), seed=2**63 - 1, max_tokens=4),
        TurnRequest(prompt_ids=(1, 2), seed=3, max_tokens=4),
        TurnRequest(prompt_ids=(1, 2), seed=2**63 - 1, max_tokens=5),
        TurnRequest(prompt_ids=(1, 2, 0), seed=2**63 - 1, max_tokens=4),
    ]
    assert len({key_of(request) for request in (one, *others)}) == 5
