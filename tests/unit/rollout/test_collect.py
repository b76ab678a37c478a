"""The rollout loop: order, groups, seeds, and episodes of any number of turns."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest
import torch

from rft.records import Answer, Attempt, Completion, Prompt, Rollout, Score, TurnRequest
from rft.rollout.collect import groups_of_siblings, sample_episodes, sampling_seed, score_episodes, serve
from rft.rollout.engine import EngineCounters, Sampling
from rft.tasks.task import SeedOf
from tests.unit.tasks.builder import make_prompt, make_question

SAMPLING = Sampling(temperature=1.0, top_p=1.0, top_k=0)


@dataclass
class EchoEngine:
    """Answers a prompt with its last token, and remembers what it was asked."""

    name: str = "echo"
    policy_version: int = 0
    calls: list[list[TurnRequest]] = field(default_factory=list)

    def generate(self, requests: Sequence[TurnRequest], sampling: Sampling) -> list[Completion]:
        self.calls.append(list(requests))
        return [
            Completion(token_ids=r.prompt_ids[-1:], logprobs=(0.0,), finish_reason="stop", policy_version=0)
            for r in requests
        ]

    def sync_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None: ...
    def reset_prefix_cache(self) -> None: ...
    def counters(self) -> EngineCounters:
        return EngineCounters(prompt_tokens=0, cached_prompt_tokens=0, generated_tokens=0)

    def sleep(self) -> None: ...
    def close(self) -> None: ...


def prompt(index: int) -> Prompt:
    question = make_question(index, question_id=f"train/{index}", options=2)
    return make_prompt((1, index), question, (0, 1), num_context_tokens=1)


@dataclass
class CountdownEpisode:
    """Asks `turns` times, twice as many requests each time, each prompt one longer than the reply before."""

    prompt: Prompt
    sibling: int
    seed: int
    turns: int = 1
    seen: list[int] = field(default_factory=list)
    asked: int = 0

    def requests(self) -> Sequence[TurnRequest]:
        if self.asked == self.turns:
            return ()
        ids = (self.prompt.token_ids[-1] * 10 + self.asked,)
        return [TurnRequest(prompt_ids=ids, seed=self.seed, max_tokens=4)] * (self.asked + 1)

    def observe(self, completions: Sequence[Completion]) -> None:
        assert len(completions) == self.asked + 1
        self.seen += [token for completion in completions for token in completion.token_ids]
        self.asked += 1

    def attempts(self) -> Sequence[Attempt]:
        text = " ".join(map(str, self.seen))
        return [Attempt(question=self.prompt.question, option_order=(), asked="", text=text)] * self.turns

    def rollout(self, scores: Sequence[Score]) -> Rollout:
        assert len(scores) == self.turns
        answer = Answer(
            prompt=self.prompt,
            sibling=self.sibling,
            completion=Completion(
                token_ids=tuple(self.seen), logprobs=(0.0,) * len(self.seen), finish_reason="stop", policy_version=0
            ),
            text="",
            score=scores[0],
        )
        return Rollout(updates=(), answers=(answer,))


class CountdownTask:
    """Scores all attempts in one call: 1, 2, 3 ... in their order."""

    tokenizer = None

    def __init__(self) -> None:
        self.calls: list[int] = []

    def score(self, attempts: Sequence[Attempt]) -> list[Score]:
        self.calls.append(len(attempts))
        return [Score(reward=float(number)) for number in range(1, len(attempts) + 1)]

    def units(self, prompts: Sequence[Prompt]) -> list[list[Prompt]]:
        return [[prompt] for prompt in prompts]

    def episode(self, unit: Sequence[Prompt], sibling: int, seed_of: SeedOf) -> CountdownEpisode:
        return CountdownEpisode(prompt=unit[0], sibling=sibling, seed=seed_of(unit[0].question_id))


def test_groups_keep_the_order_of_prompts_and_siblings():
    engine, task = EchoEngine(), CountdownTask()
    units = [[prompt(3)], [prompt(7)]]
    episodes = sample_episodes(task, units, engine, SAMPLING, siblings=range(3), seed=0, batch_index=5)
    groups = groups_of_siblings(score_episodes(task, episodes), 3)
    assert [[r.answers[0].prompt.question_id for r in group] for group in groups] == [["train/3"] * 3, ["train/7"] * 3]
    assert [[r.answers[0].sibling for r in group] for group in groups] == [[0, 1, 2]] * 2
    (call,) = engine.calls
    assert [request.prompt_ids for request in call] == [(30,)] * 3 + [(70,)] * 3
    assert len({request.seed for request in call}) == 6
    assert call[4].seed == sampling_seed(0, 5, 1, "train/7")


def test_episodes_of_different_lengths_share_calls_and_get_their_own_replies_and_scores():
    engine, task = EchoEngine(), CountdownTask()
    episodes = [CountdownEpisode(prompt(i), 0, 0, turns=turns) for i, turns in ((1, 3), (2, 1), (3, 2))]
    serve(episodes, engine, SAMPLING)
    rollouts = score_episodes(task, episodes)
    assert [len(call) for call in engine.calls] == [3, 4, 3]
    assert rollouts[0].answers[0].completion.token_ids == (10, 11, 11, 12, 12, 12)
    assert rollouts[1].answers[0].completion.token_ids == (20,)
    assert rollouts[2].answers[0].completion.token_ids == (30, 31, 31)
    assert task.calls == [6]
    assert [rollout.answers[0].score.reward for rollout in rollouts] == [1.0, 4.0, 5.0]


@pytest.mark.parametrize("change", [lambda found: found[:-1], lambda found: [*found, found[0]]])
def test_an_engine_that_answers_another_number_of_requests_stops_the_run(change):
    class Miscounting(EchoEngine):
        def generate(self, requests: Sequence[TurnRequest], sampling: Sampling) -> list[Completion]:
            return change(super().generate(requests, sampling))

    with pytest.raises(RuntimeError, match="the engine answered . of 2 requests"):
        serve([CountdownEpisode(prompt(i), 0, 0) for i in (1, 2)], Miscounting(), SAMPLING)


def test_seeds_are_reproducible_and_all_different():
    seeds = {
        sampling_seed(seed, batch, sibling, f"train/{question}")
        for seed in range(3)
        for batch in range(5)
        for question in range(20)
        for sibling in range(8)
    }
    assert len(seeds) == 3 * 5 * 20 * 8
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert sampling_seed(0, 1, 3, "train/17") == 417_235_859_636_091_806
