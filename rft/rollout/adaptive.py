"""Groups that still teach (rollout.select=adaptive): a pilot of a few siblings, then the rest for those that differ.

A group whose siblings are all equally good has no gradient. A batch therefore asks more questions than it has places,
a few siblings each (the pilot), and gives its places to the groups whose pilot is mixed: their other siblings are
sampled, and the whole group, pilot included, is trained on. A history is in the engine's prefix cache once one
question on it was asked, so further questions on it cost little beside their answers.

What this does to the gradient. Let a question be answered rightly with probability p, rewards be 0 or 1, a group have
n siblings and a pilot m. Given that k of n are right, the gradient's expectation is k (n - k) / n times one vector that
depends on the question alone, E[score | right] - E[score | wrong], divided by the rewards' deviation with
train.scale_rewards. So whatever is decided from rewards changes how much a question counts, and never where its
gradient points. Without scaling a question counts `kept_share(p, n, m, explored)` of what it does with uniform
selection: nearly all where p is in the middle, and m / n + explored (1 - m / n) or more for every p. The exploring
share holds that floor up: a unanimous pilot is finished all the same with that probability. With rewards of more than
two values no such statement holds, but pilots are then seldom unanimous.

Related: DAPO (arXiv 2503.14476) samples whole groups until enough are mixed; SPEED (2506.09016, withdrawn by its
authors) screens with a few siblings; GRESO (2506.02177) skips questions by what earlier epochs showed; Reinforce-Ada
(2510.04996) goes on sampling a question until it is mixed. LOG.md says what was chosen and why.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from accelerate import Accelerator

from rft.config import RolloutConfig
from rft.data.question_queue import QuestionQueue, candidates
from rft.data.tag_rates import TagRates
from rft.distributed import gather_lists, together
from rft.records import Prompt, Question, Rollout
from rft.rollout.collect import sample_episodes, score_episodes
from rft.rollout.engine import EngineLost, Generator, Sampling
from rft.tasks.task import Task

Group = list[Rollout]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """What the first siblings of a question showed.

    Example:
        Pilot(question=17, rewards=(1.0, 1.0, 0.0, 1.0))
    """

    question: int
    """Its index in the training split."""
    rewards: tuple[float | None, ...]
    """None where the reward functions gave none."""

    @property
    def mixed(self) -> bool:
        return len({reward for reward in self.rewards if reward is not None}) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What has a place in the batch.

    Example:
        Chosen(questions=[17, 3], num_explored=0, num_filled=1, first_next=[])
    """

    questions: list[int]
    """In the order of the batch: as they were asked, then those that fill it up."""
    num_explored: int
    """Those whose pilot was unanimous and that are finished by chance."""
    num_filled: int
    """Those whose pilot was unanimous and that are finished because nothing better was found."""
    first_next: list[int]
    """Mixed ones without a place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveBatch:
    """One batch: this rank's groups, and what all ranks know of it."""

    groups: list[Group]
    """Of this rank, in the order of the batch."""
    order: list[int]
    """The questions of the whole batch, in its order."""
    metrics: dict[str, float]


def choose(pilots: Sequence[Pilot], num_places: int, explores: Callable[[int], bool]) -> Chosen:
    """Gives the places of a batch to pilots, in the order in which they were asked.

    Args:
        pilots: at least `num_places`.
        explores: whether a unanimous one is finished all the same.
    """
    wanted = [pilot for pilot in pilots if pilot.mixed or explores(pilot.question)]
    taken, over = wanted[:num_places], wanted[num_places:]
    others = [pilot for pilot in pilots if pilot not in wanted]
    filling = others[: num_places - len(taken)]
    return Chosen(
        questions=[pilot.question for pilot in (*taken, *filling)],
        num_explored=sum(not pilot.mixed for pilot in taken),
        num_filled=len(filling),
        first_next=[pilot.question for pilot in over if pilot.mixed],
    )


def kept_share(p: float, num_generations: int, pilot_generations: int, exploring_share: float) -> float:
    """What a question's expected gradient is of that with uniform selection, rewards 0 or 1, not scaled.

    Args:
        p: probability of a right answer, in (0, 1).
    """
    n, m, q = num_generations, pilot_generations, 1 - p
    rest = n - m
    # E[k (n - k); all m of the pilot right] and the same with all wrong, over E[k (n - k)] = n (n - 1) p q.
    lost = (p ** (m - 1) * (m + (rest - 1) * p) + q ** (m - 1) * (m + (rest - 1) * q)) * rest / (n * (n - 1))
    return 1 - (1 - exploring_share) * lost


@dataclass(kw_only=True)
class AdaptiveSampling:
    """Samples batch after batch; what it remembers is the same on every rank.

    Args:
        questions: of the training split.
        prompt: makes a question's prompt, from its index and the epoch.
        visits_per_batch: contexts that a batch begins with.
    """

    task: Task
    accelerator: Accelerator
    config: RolloutConfig
    seed: int
    questions: Sequence[Question]
    prompt: Callable[[int, int], Prompt]
    visits_per_batch: int
    queue: QuestionQueue = field(init=False)
    rates: TagRates = field(default_factory=TagRates)

    def __post_init__(self) -> None:
        self.queue = QuestionQueue([question.context_id for question in self.questions], self.seed)

    def sample(self, batch_index: int, engine: Generator, sampling: Sampling) -> AdaptiveBatch:
        """One batch of `questions_per_batch` whole groups. Collective.

        Raises:
            EngineLost: on every rank, where one of them has no engine any more. Nothing is consumed then.
        """
        num_places = self.config.questions_per_batch
        self.queue.begin_batch(num_places)
        draw = random.Random(f"{self.seed}/select/{batch_index}")
        explores = self._explorer(batch_index)
        finder = Finder(self, batch_index, engine, sampling)
        asking = candidates(self.queue.visits, self.visits_per_batch, self._value, self.config.exploring_share, draw)
        most = int(self.config.max_candidates * num_places)
        pilots: list[Pilot] = []
        num_rounds = 0
        while (missing := num_places - sum(pilot.mixed or explores(pilot.question) for pilot in pilots)) > 0:
            some = list(self._enough(asking, missing, most - len(pilots)))
            if not some:
                break
            pilots += finder.pilot(some)
            num_rounds += 1
        chosen = choose(pilots, num_places, explores)
        groups = finder.finish(chosen.questions)
        self.queue.end_batch([pilot.question for pilot in pilots], chosen.first_next)
        self.rates.add((self.questions[pilot.question].tags, pilot.mixed) for pilot in pilots)
        metrics = select_metrics(pilots, chosen) | {
            "select/rounds": float(num_rounds),
            "select/epoch": self.queue.epoch + 1 - len(self.queue) / len(self.questions),
        }
        return AdaptiveBatch(groups=groups, order=chosen.questions, metrics=metrics)

    def _value(self, question: int) -> float:
        return self.rates.expected(self.questions[question].tags)

    def _enough(self, asking: Iterator[int], missing: int, at_most: int) -> Iterator[int]:
        """The next candidates, as many as should give `missing` places their groups: the expected number less one
        standard deviation. A second round would cost the time of a whole completion; groups too many come next time.
        """
        expected = variance = 0.0
        for question in islice(asking, max(0, at_most)):
            yield question
            mixed = self._value(question)
            wanted = mixed + self.config.exploring_share * (1 - mixed)
            expected += wanted
            variance += wanted * (1 - wanted)
            if expected - math.sqrt(variance) >= missing:
                return

    def _explorer(self, batch_index: int) -> Callable[[int], bool]:
        """Whether a question's unanimous pilot is finished: drawn by itself for each, the same whenever it is asked."""
        return lambda question: (
            random.Random(f"{self.seed}/explore/{batch_index}/{question}").random() < self.config.exploring_share
        )

    def state(self) -> dict[str, Any]:
        """For a checkpoint: plain values."""
        return {"queue": self.queue.state(), "rates": self.rates.state()}

    def load(self, state: dict[str, Any]) -> None:
        self.queue.load(state["queue"])
        self.rates.load(state["rates"])


class Finder:
    """The engine's part of one batch: this rank's share of pilots, and their other siblings."""

    def __init__(self, of: AdaptiveSampling, batch_index: int, engine: Generator, sampling: Sampling) -> None:
        self.of = of
        self.batch_index = batch_index
        self.engine = engine
        self.sampling = sampling
        self.rank_of: dict[str, int] = {}
        """By context: who has it in the prefix cache."""
        self.load = [0] * of.accelerator.num_processes
        """Pilots per rank."""
        self.pilots: dict[int, Group] = {}
        """This rank's, by question."""

    def pilot(self, questions: Sequence[int]) -> list[Pilot]:
        """The first siblings of some questions, in their order. Collective."""
        mine = [question for question in questions if self.deal(question) == self.of.accelerator.process_index]
        groups = together(
            self.of.accelerator,
            partial(self.roll_out, mine, range(self.of.config.pilot_generations)),
            EngineLost,
        )
        self.pilots |= dict(zip(mine, groups, strict=True))
        found = [
            Pilot(question=question, rewards=tuple(rollout.answers[0].score.reward for rollout in group))
            for question, group in zip(mine, groups, strict=True)
        ]
        place = {question: number for number, question in enumerate(questions)}
        return sorted(gather_lists(self.of.accelerator, found), key=lambda pilot: place[pilot.question])

    def finish(self, questions: Sequence[int]) -> list[Group]:
        """The whole groups of those questions whose pilot this rank has. Collective."""
        mine = [question for question in questions if question in self.pilots]
        siblings = range(self.of.config.pilot_generations, self.of.config.num_generations)
        rest = together(self.of.accelerator, partial(self.roll_out, mine, siblings), EngineLost)
        return [[*self.pilots[question], *group] for question, group in zip(mine, rest, strict=True)]

    def deal(self, question: int) -> int:
        """The rank that asks a question: who has its context, else who has the fewest pilots."""
        context = self.of.questions[question].context_id
        rank = self.rank_of.setdefault(context, self.load.index(min(self.load)))
        self.load[rank] += 1
        return rank

    def roll_out(self, questions: Sequence[int], siblings: range) -> list[Group]:
        """These siblings of each question, scored. Questions of one context stand next to each other in the engine."""
        of = self.of
        if not questions or not siblings:
            return [[] for _ in questions]
        contexts = list(dict.fromkeys(of.questions[question].context_id for question in questions))
        asked = sorted(questions, key=lambda question: contexts.index(of.questions[question].context_id))
        episodes = sample_episodes(
            of.task,
            [[of.prompt(question, of.queue.epoch)] for question in asked],
            self.engine,
            self.sampling,
            siblings=siblings,
            seed=of.seed,
            batch_index=self.batch_index,
        )
        rollouts = score_episodes(of.task, episodes)
        groups = {
            question: rollouts[start : start + len(siblings)]
            for question, start in zip(asked, range(0, len(rollouts), len(siblings)), strict=True)
        }
        return [groups[question] for question in questions]


def select_metrics(pilots: Sequence[Pilot], chosen: Chosen) -> dict[str, float]:
    """What selection found, over all ranks. `select/pilot_reward` is what `reward` is without selection: the mean over
    questions as they come."""
    rewards = [reward for pilot in pilots for reward in pilot.rewards if reward is not None]
    return {
        "select/candidates": float(len(pilots)),
        "select/mixed_ratio": sum(pilot.mixed for pilot in pilots) / len(pilots),
        "select/pilot_reward": sum(rewards) / len(rewards) if rewards else float("nan"),
        "select/explored": float(chosen.num_explored),
        "select/filled": float(chosen.num_filled),
        "select/left_over": float(len(chosen.first_next)),
    }
