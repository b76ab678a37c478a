"""Adaptive selection: which groups a batch gets, what that does to the gradient, and that nothing depends on chance
beyond the seed."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st

from rft.config import RolloutConfig
from rft.data.question_queue import QuestionQueue
from rft.records import Answer, Attempt, Completion, Prompt, Rollout, Score, TurnRequest
from rft.rollout.adaptive import AdaptiveSampling, Pilot, choose, kept_share
from rft.rollout.engine import Sampling
from tests.unit.tasks.builder import make_prompt, make_question

SAMPLING = Sampling(temperature=1.0, top_p=1.0, top_k=0)


# ------------------------------------------------------------------------------------------------- places of a batch

PILOTS = st.lists(st.booleans(), min_size=1, max_size=20).map(
    lambda mixed: [Pilot(question=q, rewards=(1.0, 0.0 if m else 1.0)) for q, m in enumerate(mixed)]
)


@given(PILOTS, st.data())
def test_a_batch_is_full_and_mixed_pilots_come_before_others(pilots: list[Pilot], data: st.DataObject):
    places = data.draw(st.integers(1, len(pilots)))
    lucky = data.draw(st.sets(st.integers(0, 20)))
    chosen = choose(pilots, places, lucky.__contains__)
    assert len(chosen.questions) == len(set(chosen.questions)) == places
    mixed = [pilot.question for pilot in pilots if pilot.mixed]
    assert sorted([*chosen.first_next, *(q for q in chosen.questions if q in mixed)]) == mixed
    if chosen.num_filled:
        assert not chosen.first_next, "a place is filled up only when no mixed pilot is left"
    unanimous = [q for q in chosen.questions if q not in mixed]
    assert len(unanimous) == chosen.num_explored + chosen.num_filled
    assert sum(q in lucky for q in unanimous) >= chosen.num_explored


def test_rewards_that_were_not_given_make_no_difference():
    assert not Pilot(question=0, rewards=(None, 1.0, 1.0)).mixed
    assert not Pilot(question=0, rewards=(None, None)).mixed
    assert Pilot(question=0, rewards=(None, 1.0, 0.5)).mixed


# ----------------------------------------------------------------------------------------------------- the estimator


@pytest.mark.parametrize("exploring_share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(("n", "m"), [(8, 2), (8, 4), (16, 4)])
@pytest.mark.parametrize("p", [0.02, 0.3, 0.5, 0.9])
def test_kept_share_is_what_summing_over_all_outcomes_gives(p: float, n: int, m: int, exploring_share: float):
    """k (n - k), k right ones of n, is what a group's gradient is proportional to."""
    kept = every = 0.0
    for first, later in itertools.product(range(m + 1), range(n - m + 1)):
        chance = math.comb(m, first) * math.comb(n - m, later) * p ** (first + later) * (1 - p) ** (n - first - later)
        k = first + later
        pilot = Pilot(question=0, rewards=(1.0,) * first + (0.0,) * (m - first))
        every += chance * k * (n - k)
        kept += chance * k * (n - k) * (1.0 if pilot.mixed else exploring_share)
    assert kept_share(p, n, m, exploring_share) == pytest.approx(kept / every, rel=1e-9)


@given(st.floats(1e-6, 1 - 1e-6), st.integers(2, 7), st.integers(8, 32), st.floats(0, 1))
def test_no_question_counts_less_than_the_floor(p: float, m: int, n: int, exploring_share: float):
    floor = m / n + exploring_share * (1 - m / n)
    assert floor - 1e-9 <= kept_share(p, n, m, exploring_share) <= 1 + 1e-9
    assert kept_share(1e-9, n, m, exploring_share) == pytest.approx(floor, abs=1e-6)


# --------------------------------------------------------------------------------------------------- whole batches


@dataclass
class OneReply:
    """A sibling whose reply is its seed."""

    prompt: Prompt
    sibling: int
    seed: int
    reply: Completion | None = None

    def requests(self) -> Sequence[TurnRequest]:
        return () if self.reply else [TurnRequest(prompt_ids=self.prompt.token_ids, seed=self.seed, max_tokens=1)]

    def observe(self, completions: Sequence[Completion]) -> None:
        (self.reply,) = completions

    def attempts(self) -> Sequence[Attempt]:
        assert self.reply is not None
        return [
            Attempt(question=self.prompt.question, option_order=(), asked="", text=str(self.reply.token_ids[0] % 100))
        ]

    def rollout(self, scores: Sequence[Score]) -> Rollout:
        assert self.reply is not None
        answer = Answer(prompt=self.prompt, sibling=self.sibling, completion=self.reply, text="", score=scores[0])
        return Rollout(updates=(), answers=(answer,))


@dataclass
class Chances:
    """A task in which question q is answered rightly with a chance of its own: never, seldom, often or always."""

    asked: list[tuple[int, int]] = field(default_factory=list)
    """(question, sibling), in order."""

    def units(self, prompts: Sequence[Prompt]) -> list[list[Prompt]]:
        return [[prompt] for prompt in prompts]

    def episode(self, unit: Sequence[Prompt], sibling: int, seed_of: Any) -> OneReply:
        (prompt,) = unit
        self.asked.append((prompt.token_ids[0], sibling))
        return OneReply(prompt=prompt, sibling=sibling, seed=seed_of(prompt.question_id))

    def score(self, attempts: Sequence[Attempt]) -> list[Score]:
        chances = (0, 20, 80, 100)
        return [
            Score(reward=float(int(a.text) < chances[int(a.question.question_id.rpartition("/")[2]) % 4]))
            for a in attempts
        ]


class SeedEngine:
    """Answers a request with its seed."""

    def generate(self, requests: Sequence[TurnRequest], sampling: Sampling) -> list[Completion]:
        return [
            Completion(token_ids=(r.seed,), logprobs=(0.0,), finish_reason="stop", policy_version=0) for r in requests
        ]


NUM_CONTEXTS, PER_CONTEXT = 12, 8


def sampling(task: Chances, **rollout: Any) -> AdaptiveSampling:
    questions = [
        make_question(index, question_id=f"train/{index}", context_id=f"c{index // PER_CONTEXT}", options=2)
        for index in range(NUM_CONTEXTS * PER_CONTEXT)
    ]
    settings = {"questions_per_batch": 6, "num_generations": 8, "pilot_generations": 3, "select": "adaptive"}
    whole: Any = task
    return AdaptiveSampling(
        task=whole,
        accelerator=Accelerator(cpu=True),
        config=RolloutConfig(**settings | rollout),
        seed=3,
        questions=questions,
        prompt=lambda index, epoch: make_prompt((index, epoch), questions[index], (0, 1), num_context_tokens=1),
        visits_per_batch=3,
    )


def rewards_of(group: Sequence[Rollout]) -> list[float | None]:
    return [rollout.answers[0].score.reward for rollout in group]


def test_a_batch_has_whole_groups_with_each_sibling_once_and_no_unanimous_ones():
    task = Chances()
    found = sampling(task, exploring_share=0.0, max_candidates=10).sample(0, SeedEngine(), SAMPLING)
    assert len(found.groups) == len(found.order) == 6
    for index, group in zip(found.order, found.groups, strict=True):
        assert [rollout.answers[0].prompt.token_ids[0] for rollout in group] == [index] * 8
        assert [rollout.answers[0].sibling for rollout in group] == list(range(8))
        assert len(set(rewards_of(group))) == 2
        assert index % 4 in (1, 2), "the others are never or always right"
    assert len(task.asked) == len(set(task.asked)), "no sibling is sampled twice"
    assert found.metrics["select/candidates"] * 3 + 6 * 5 == len(task.asked)
    assert found.metrics["select/filled"] == found.metrics["select/explored"] == 0


def test_candidates_are_bounded_and_the_batch_is_filled_up():
    task = Chances()
    found = sampling(task, exploring_share=0.0, max_candidates=1).sample(0, SeedEngine(), SAMPLING)
    assert found.metrics["select/candidates"] == 6 and len(found.order) == 6
    assert found.metrics["select/filled"] == 6 * (1 - found.metrics["select/mixed_ratio"]) > 0


def test_a_pilot_of_all_siblings_is_the_group():
    task = Chances()
    found = sampling(task, pilot_generations=8, exploring_share=0.0, max_candidates=10).sample(
        0, SeedEngine(), SAMPLING
    )
    assert all(len(group) == 8 and len(set(rewards_of(group))) == 2 for group in found.groups)
    assert len(task.asked) == 8 * found.metrics["select/candidates"]
    assert kept_share(0.3, 8, 8, 0.0) == 1


def test_with_everything_explored_it_asks_what_uniform_selection_would():
    found = sampling(Chances(), exploring_share=1.0).sample(0, SeedEngine(), SAMPLING)
    assert found.metrics["select/candidates"] == 6 and found.metrics["select/filled"] == 0


def test_nothing_is_asked_twice_in_an_epoch_and_noise_does_not_take_over():
    task = Chances()
    of = sampling(task, max_candidates=6)
    trained: dict[int, int] = {}
    batch = 0
    while of.queue.epoch == 0:
        found = of.sample(batch, SeedEngine(), SAMPLING)
        if of.queue.epoch == 0:
            for question in found.order:
                trained[question] = trained.get(question, 0) + 1
        batch += 1
    assert set(trained.values()) == {1}
    assert 4 <= batch < 20


def test_a_checkpoint_continues_to_the_letter():
    straight, before = sampling(Chances()), sampling(Chances())
    whole = [straight.sample(batch, SeedEngine(), SAMPLING) for batch in range(6)]
    for batch in range(3):
        before.sample(batch, SeedEngine(), SAMPLING)
    after = sampling(Chances())
    after.load(json.loads(json.dumps(before.state())))
    again = [after.sample(batch, SeedEngine(), SAMPLING) for batch in range(3, 6)]
    assert [found.order for found in again] == [found.order for found in whole[3:]]
    assert [found.metrics for found in again] == [found.metrics for found in whole[3:]]
    assert after.state() == straight.state()


def test_tags_that_are_mixed_more_often_are_asked_first():
    """A pilot of three is mixed in about 0.48 of the questions of one kind, and never in the other."""
    of = sampling(Chances())
    of.questions = [
        make_question(
            index,
            question_id=f"train/{index}",
            context_id=f"c{index // 40}",
            tags={"kind": "noisy" if index % 4 in (1, 2) else "settled"},
        )
        for index in range(480)
    ]
    of.queue = QuestionQueue([question.context_id for question in of.questions], of.seed)
    of.prompt = lambda index, epoch: make_prompt((index, epoch), of.questions[index], (0, 1), num_context_tokens=1)
    shares = [of.sample(batch, SeedEngine(), SAMPLING).metrics["select/mixed_ratio"] for batch in range(8)]
    assert shares[0] < 0.35, "nothing is known yet, and half of the questions are settled"
    assert sum(shares[1:]) / 7 > 0.35
