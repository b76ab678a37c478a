"""Samples of this run's own engine: questions drawn or chosen, rolled out, scored, and gathered from all ranks."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator

from rft.checkpoint.state import TrainerState
from rft.config import Config
from rft.data.sampler import deal_units
from rft.data.subset import stratified_subset
from rft.distributed import gather_lists, mean_over_ranks, together
from rft.eval.policy import evaluate_policy
from rft.eval.predictions import Prediction
from rft.eval.score import EvalResult
from rft.grpo.canary import Canary
from rft.grpo.data import Data
from rft.grpo.metrics import engine_metrics, gather_outcomes, rollout_metrics
from rft.grpo.replay import save_samples
from rft.grpo.samples import training_samples
from rft.grpo.selection import SELECTION, AdaptiveRollouts
from rft.grpo.stages import Stage, Stages
from rft.jsonl import whole_lines
from rft.planning.size import RunSize
from rft.records import Completion, Prompt, Rollout, Sample
from rft.rollout.adapter_files import sent_adapter
from rft.rollout.ahead import KEPT, AheadOfTrainer, Sampled
from rft.rollout.collect import groups_of_siblings, sample_episodes, score_episodes
from rft.rollout.engine import Engine, EngineCounters, EngineLost, Generator, Sampling
from rft.serving.engine import ServerEngine
from rft.tasks.task import Episode
from rft.telemetry.clock import Clock
from rft.telemetry.run_log import RunLog
from rft.weights import FullWeights

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One rollout batch.

    Example:
        Batch(groups=[[rollout, ...], ...], order=[17, 3], used=EngineCounters(...), metrics={"sampling/lag": 1.0})
    """

    groups: list[list[Rollout]]
    """Of this rank."""
    order: list[int]
    """The questions of all ranks, in the order of the batch."""
    used: EngineCounters
    """What this rank's engine did for it."""
    metrics: dict[str, float]
    """Over all ranks, of how it was sampled."""


class LiveRollouts:
    """Samples of this run's own engine; see `SampleSource`."""

    def __init__(
        self, config: Config, accelerator: Accelerator, data: Data, engine: Engine, log: RunLog, size: RunSize
    ) -> None:
        self.config = config
        self.size = size
        self.accelerator = accelerator
        self.data = data
        self.engine = engine
        self.log = log
        rollout = config.rollout
        self.sampling = Sampling(temperature=rollout.temperature, top_p=rollout.top_p, top_k=rollout.top_k)
        self.stages = Stages(config, data)
        self.adaptive = AdaptiveRollouts(config, accelerator, data.task) if rollout.select == "adaptive" else None
        self.eval_indices = stratified_subset(data.evaluation.questions, config.eval.num_questions, data.dataset.strata)
        self.engine_name = engine.name
        log.say(engine.summary)
        self.num_eval_questions = len(self.eval_indices)
        # Of older weights' completions the gap says how much was learned since; `Canary` looks at the engine then.
        self.max_logprob_gap = math.inf if rollout.max_lag else config.train.max_logprob_gap
        self.ahead = AheadOfTrainer(engine, self.sample) if rollout.max_lag else None
        self.canary: Canary | None = None
        if rollout.max_lag:
            assert isinstance(engine, ServerEngine), "a lag needs servers"
            self.canary = Canary(config, accelerator, engine, self.sampling)

    def samples(self, state: TrainerState, last_step: int, clock: Clock) -> tuple[list[Sample], dict[str, float]]:
        stage = self.stages.at(state.batch_index)
        epoch = (state.batch_index - stage.first_batch) / stage.sampler.batches_per_epoch
        self.data.task.score.begin_step(state.step, self.size.num_steps, epoch)
        batch, metrics = self.roll_out(state.batch_index, stage, clock)
        self.log.rollouts(last_step, batch.groups)
        samples = self.gather_samples(batch, stage)
        if self.canary is not None:
            self.canary.choose(samples)
        if self.config.log.save_samples and self.accelerator.is_main_process:
            save_samples(Path(self.config.output_dir) / "samples", state.batch_index, samples)
        return samples, metrics

    def roll_out(self, batch_index: int, stage: Stage, clock: Clock) -> tuple[Batch, dict[str, float]]:
        """One batch, and metrics over all ranks."""
        task = self.data.task
        batch = (
            self.all_questions(batch_index, stage, clock)
            if self.adaptive is None
            else self.chosen_ones(self.adaptive, batch_index, stage, clock)
        )
        metrics = rollout_metrics(gather_outcomes(self.accelerator, batch.groups)) | batch.metrics
        metrics |= task.metrics(gather_lists(self.accelerator, task.outcomes(batch.groups)))
        metrics |= mean_over_ranks(self.accelerator, task.score.pop_metrics())
        if len(self.stages.stages) > 1:
            metrics["curriculum/stage"] = float(stage.number)
        return batch, metrics | engine_metrics(self.accelerator, self.engine, batch.used)

    def all_questions(self, batch_index: int, stage: Stage, clock: Clock) -> Batch:
        """The next questions, whatever they teach."""
        take = self.take_now if self.ahead is None else self.ahead.take
        with clock.phase("rollout"):
            sampled = together(self.accelerator, partial(take, batch_index), EngineLost)
        if self.ahead is not None and batch_index + 1 < self.size.num_batches:
            self.ahead.start(batch_index + 1)
        with clock.phase("reward"):
            rollouts = score_episodes(self.data.task, sampled.episodes)
        groups = groups_of_siblings(rollouts, self.config.rollout.num_generations)
        order = [index for unit in stage.batch(batch_index)[1] for index in unit]
        metrics: dict[str, float] = {}
        if self.ahead is not None:
            metrics = mean_over_ranks(self.accelerator, lag_metrics(groups, self.engine.policy_version, sampled))
        return Batch(groups=groups, order=order, used=sampled.used, metrics=metrics)

    def chosen_ones(self, adaptive: AdaptiveRollouts, batch_index: int, stage: Stage, clock: Clock) -> Batch:
        """Questions that still teach. Rewards decide, so their time is in that of the rollouts."""
        with clock.phase("rollout"):
            found, used = self.on_present_weights(
                lambda: adaptive.sample(batch_index, stage, self.engine, self.sampling)
            )
        return Batch(groups=found.groups, order=found.order, used=used, metrics=found.metrics)

    def take_now(self, batch_index: int) -> Sampled:
        """A batch by the present weights, while the trainer waits."""
        begin = time.monotonic()
        episodes, used = self.on_present_weights(lambda: self.sample(batch_index, self.engine))
        return Sampled(episodes=episodes, used=used, seconds=time.monotonic() - begin, idle_seconds=0.0)

    def on_present_weights(self, work: Callable[[], Found]) -> tuple[Found, EngineCounters]:
        """What `work` returns, and what the engine did for it. The engine gives its memory back after it."""
        # Whatever an evaluation left in the cache would change the last bits of what is computed on top of it.
        self.engine.reset_prefix_cache()
        before = self.engine.counters()
        found = work()
        used = self.engine.counters() - before
        self.engine.sleep()
        return found, used

    def sample(self, batch_index: int, engine: Generator) -> list[Episode]:
        """This rank's finished episodes of one batch."""
        return sample_episodes(
            self.data.task,
            self.units(batch_index),
            engine,
            self.sampling,
            siblings=range(self.config.rollout.num_generations),
            seed=self.config.train.seed,
            batch_index=batch_index,
        )

    def units(self, batch_index: int) -> list[list[Prompt]]:
        """This rank's questions of one batch; those of one context that stay together are one list."""
        stage = self.stages.at(batch_index)
        epoch, batch = stage.batch(batch_index)
        mine = deal_units(batch, self.accelerator.process_index, self.accelerator.num_processes)
        return [[stage.prompt(index, epoch) for index in unit] for unit in mine]

    def gather_samples(self, batch: Batch, stage: Stage) -> list[Sample]:
        """The samples of all ranks in the order of the batch, so that the number of ranks makes no difference."""
        samples = training_samples(
            batch.groups,
            scale_rewards=self.config.train.scale_rewards,
            credit=self.config.memory.credit,
            places={stage.split.questions[index].question_id: place for place, index in enumerate(batch.order)},
        )
        return sorted(gather_lists(self.accelerator, samples), key=lambda sample: sample.place)

    def take_weights(self, policy: torch.nn.Module, clock: Clock) -> dict[str, float]:
        if self.ahead is not None:
            with clock.phase("rollout"):
                self.ahead.wait()  # one batch has one policy; `sync_weights` waits for the other ranks
        with clock.phase("sync"):
            self.engine.sync_weights(FullWeights(policy, adapter=sent_adapter(self.config) is not None))
            return {} if self.canary is None else self.canary.compare(policy)

    def kept(self) -> dict[str, str]:
        files: dict[str, str] = {}
        if self.ahead is not None:
            files[KEPT] = "".join(f"{line}\n" for line in gather_lists(self.accelerator, self.ahead.kept()))
        if self.adaptive is not None:
            files[SELECTION] = json.dumps(self.adaptive.state()) + "\n"
        return files

    def resume(self, checkpoint: Path) -> None:
        if self.ahead is not None and (checkpoint / KEPT).exists():
            self.ahead.resume(whole_lines(checkpoint / KEPT))
        if self.adaptive is not None:
            self.adaptive.load(json.loads((checkpoint / SELECTION).read_text(encoding="utf-8")), self.stages.stages)

    def evaluate(self) -> tuple[EvalResult, list[Prediction]] | None:
        task = self.data.task
        found = evaluate_policy(task, self.data.evaluation, self.eval_indices, self.engine, self.accelerator)
        # What reward functions have logged belongs to the evaluation, and not to the next batch.
        task.score.pop_metrics()
        return found

    def close(self) -> None:
        if self.ahead is not None:
            self.ahead.close()
        self.engine.close()


def lag_metrics(groups: Sequence[Sequence[Rollout]], policy_version: int, sampled: Sampled) -> dict[str, float]:
    """How old the weights are that sampled, in batches, and how long either side was idle.

    Args:
        policy_version: of the weights that train on the groups.
    """
    ages = [
        policy_version - completion.policy_version
        for group in groups
        for rollout in group
        for completion in completions_of(rollout)
    ]
    assert all(age in (0, 1) for age in ages), "one batch behind, and never more"
    return {
        "sampling/lag": sum(ages) / len(ages),
        "time/generation_s": sampled.seconds,
        "engine/idle_s": sampled.idle_seconds,
    }


def completions_of(rollout: Rollout) -> list[Completion]:
    return [*(update.completion for update in rollout.updates), *(answer.completion for answer in rollout.answers)]
