"""The GRPO loop, top to bottom: sample questions, roll out, score, update, sync, log, checkpoint.

How it departs from the textbook (arXiv 2402.03300): advantages are not divided by the group's standard deviation
unless asked, the loss is a token mean over the global batch, there is no KL term unless asked, and each token is
weighted by the truncated ratio of trainer to engine probability.

    accelerate launch rft/train.py configs/qwen3_4b.yaml
"""

from __future__ import annotations

import json
import signal
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from types import FrameType

from rft import checkpoint, hooks
from rft.config import Config
from rft.data.prompts import permuted_option_order
from rft.data.sampler import shard
from rft.distributed import gather_lists, max_over_ranks
from rft.eval.memory import MemoryResult
from rft.eval.predictions import Prediction, to_json
from rft.eval.run import evaluate
from rft.eval.score import EvalResult
from rft.grpo.metrics import (
    engine_metrics,
    gather_outcomes,
    memory_metrics,
    peak_memory_gib,
    rollout_metrics,
    updates_of,
)
from rft.grpo.run import Run
from rft.grpo.samples import samples_of
from rft.grpo.update import ScoredSample, score_samples, update
from rft.jsonl import whole_lines
from rft.records import Prompt, Rollout, Sample
from rft.reporting.run_folder import GAP
from rft.rollout.collect import sample_groups
from rft.weights import named_full_weights


def train(run: Run) -> None:
    """Runs the loop from `run.state` to the end of the plan, and writes summary.json.

    SIGTERM ends it after the batch in progress, with a checkpoint.

    Raises:
        RuntimeError: engine and trainer disagree by more than train.max_logprob_gap, or the loss is not finite.
    """
    started = time.perf_counter()
    stop = stop_on_sigterm()
    if run.state.batch_index == 0 and run.config.eval.at_start:
        before, _ = evaluate_now(run)
        run.log.metrics(0, eval_metrics(before))
        run.log.say(f"before training: {describe(before)}")
    stopping = False
    while run.state.batch_index < run.plan.num_batches and not stopping:
        metrics = train_on_batch(run)
        run.log.metrics(run.state.step, metrics)
        stopping = stop.asked_anywhere(run)
        if is_checkpoint(run) or stopping:
            save_checkpoint(run)
    write_summary(run, time.perf_counter() - started)
    run.log.report(final=True)
    run.log.close()
    run.engine.close()
    run.accelerator.end_training()


def train_on_batch(run: Run) -> dict[str, float]:
    """One rollout batch and its optimizer steps; leaves the engine with the new weights."""
    config, accelerator, clock = run.config, run.accelerator, run.clock
    with clock.phase("rollout"):
        groups, metrics = roll_out(run)
    run.engine.sleep()

    with clock.phase("update"):
        samples = all_samples(run, groups)
        scored = score_samples(config, accelerator, run.policy, run.reference, samples)
        updates = []
        for part in shares(config, scored) * config.train.num_iterations:
            updates.append(update(config, accelerator, run.policy, run.optimizer, run.scheduler, part))
            check_gap(updates[-1][GAP], config.train.max_logprob_gap)
    with clock.phase("sync"):
        run.engine.sync_weights(named_full_weights(run.policy))

    run.state = replace(
        run.state, step=run.state.step + run.plan.updates_per_batch, batch_index=run.state.batch_index + 1
    )
    times = clock.read()
    metrics |= {name: statistics.fmean(step[name] for step in updates) for name in updates[0]} | times
    metrics["tokens_per_second"] = (metrics["engine/prompt_tokens"] + metrics["engine/generated_tokens"]) / times[
        "step_time"
    ]
    metrics["update/tokens_per_second"] = sum(step["update/num_tokens"] for step in updates) / times["time/update_s"]
    metrics["memory/peak_gib"] = max(gather_lists(accelerator, [peak_memory_gib()]))
    return metrics


def roll_out(run: Run) -> tuple[list[list[Rollout]], dict[str, float]]:
    """This rank's groups of the current batch, and metrics over all ranks."""
    config, accelerator = run.config, run.accelerator
    # Whatever the evaluation left in the cache would change the last bits of what is computed on top of it.
    run.engine.reset_prefix_cache()
    before = run.engine.counters()
    groups = sample_groups(
        run.task,
        batch_prompts(run),
        run.engine,
        run.sampling,
        num_generations=config.rollout.num_generations,
        seed=config.train.seed,
        batch_index=run.state.batch_index,
    )
    used = run.engine.counters() - before
    run.log.rollouts(run.state.step + run.plan.updates_per_batch, groups)
    metrics = rollout_metrics(gather_outcomes(accelerator, groups)) | engine_metrics(accelerator, used)
    if config.task == "memory":
        metrics |= memory_metrics(gather_lists(accelerator, updates_of(groups)))
    return groups, metrics


def all_samples(run: Run, groups: Sequence[Sequence[Rollout]]) -> list[Sample]:
    """The samples of all ranks, in the order of the batch, so that their number of ranks makes no difference."""
    config = run.config
    _, batch = run.sampler.batch(run.state.batch_index)
    samples = samples_of(
        groups,
        scale_rewards=config.train.scale_rewards,
        credit=config.memory.credit,
        places={run.data.train.questions[index].question_id: place for place, index in enumerate(batch)},
    )
    return sorted(gather_lists(run.accelerator, samples), key=lambda sample: sample.place)


def batch_prompts(run: Run) -> list[Prompt]:
    """This rank's questions of the current batch as prompts."""
    config, split = run.config, run.data.train
    epoch, batch = run.sampler.batch(run.state.batch_index)
    history_ids = [question.history_id for question in split.questions]
    mine = shard(batch, history_ids, run.accelerator.process_index, run.accelerator.num_processes)
    orders = (
        permuted_option_order(config.train.seed, epoch, split.questions[index].question_id)
        if config.data.permute_options
        else split.eval_order(index)
        for index in mine
    )
    return [split.prompt(index, order) for index, order in zip(mine, orders, strict=True)]


def shares(config: Config, scored: Sequence[ScoredSample]) -> list[Sequence[ScoredSample]]:
    """Consecutive parts of equally many questions, one per optimizer step, each of whole rollouts."""
    size = config.rollout.questions_per_batch // config.train.steps_per_generation
    return [list(part) for _, part in groupby(scored, key=lambda item: item.sample.place // size)]


def check_gap(gap: float, bound: float) -> None:
    """Stops a run whose engine samples from other weights than the trainer updates."""
    if gap > bound:
        raise RuntimeError(
            f"mean |log p(engine) - log p(trainer)| of the sampled tokens is {gap:.2e}, over train.max_logprob_gap = "
            f"{bound:.2e}: the engine does not hold the trainer's weights, or computes in a coarser type"
        )


def is_checkpoint(run: Run) -> bool:
    return run.state.step % run.config.checkpoint.save_steps == 0 or run.state.batch_index == run.plan.num_batches


def save_checkpoint(run: Run) -> None:
    """Evaluates, saves, and runs the user's command. The metrics of an evaluation get a row of their own."""
    with run.clock.phase("eval"):
        result, predictions = evaluate_now(run)
    if run.state.best_accuracy is None or result.overall.accuracy > run.state.best_accuracy:
        run.state = replace(run.state, best_accuracy=result.overall.accuracy, best_step=run.state.step)
    with run.clock.phase("save"):
        files = {
            "eval.json": json.dumps(result.as_dict(), indent=2) + "\n",
            "predictions.jsonl": "".join(map(to_json, predictions)),
        }
        saved = checkpoint.save(run.config, run.accelerator, run.policy, run.data.tokenizer, run.state, files)
    metrics = eval_metrics(result)
    run.log.say(f"step {run.state.step}: {describe(result)}")
    if run.config.hooks.on_checkpoint and run.accelerator.is_main_process:
        metrics["hooks/on_checkpoint_status"] = float(hooks.run_command(run.config.hooks.on_checkpoint, saved))
    run.log.metrics(run.state.step, metrics)
    run.log.evaluation(run.state.step, predictions)
    run.log.report()
    run.accelerator.wait_for_everyone()


def evaluate_now(run: Run) -> tuple[EvalResult, list[Prediction]]:
    """The fixed subset under the current weights, on every rank's engine."""
    return evaluate(run.task, run.data.evaluation, run.eval_indices, run.engine, run.accelerator)


def eval_metrics(result: EvalResult) -> dict[str, float]:
    """`eval/accuracy` and one `eval/<breakdown>/<value>` each for those with few values; eval.json has them all."""
    return {
        "eval/accuracy": result.overall.accuracy,
        "eval/accuracy_low": result.overall.low,
        "eval/accuracy_high": result.overall.high,
        "eval/parse_rate": result.parse_rate,
        "eval/truncation_rate": result.truncation_rate,
        **memory_eval_metrics(result.memory),
        **{
            f"eval/{breakdown}/{value}": accuracy.accuracy
            for breakdown in ("pref_type", "who", "updated")
            for value, accuracy in result.groups[breakdown].items()
        },
    }


def memory_eval_metrics(memory: MemoryResult | None) -> dict[str, float]:
    if memory is None:
        return {}
    values = {
        "memory_tokens_mean": memory.memory_tokens_mean,
        "input_tokens_ratio": memory.input_tokens_ratio,
        "retention": memory.retention,
        "retention_entered": memory.entered,
    }
    return {f"eval/{name}": value for name, value in values.items() if value is not None}


def describe(result: EvalResult) -> str:
    overall, memory = result.overall, result.memory
    text = f"accuracy {overall.accuracy:.3f} [{overall.low:.3f}, {overall.high:.3f}] on {overall.n} held-out questions"
    if memory is None or memory.retention is None:
        return text
    return f"{text}, memories of {memory.memory_tokens_mean:.0f} tokens hold {memory.retention:.0%} of what they read"


class StopRequest:
    """Whether somebody asked this process to end."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self.asked = True

    def asked_anywhere(self, run: Run) -> bool:
        """True on every rank as soon as it is true on one, so that all leave the loop together."""
        return bool(max_over_ranks(run.accelerator, int(self.asked)))


def stop_on_sigterm() -> StopRequest:
    request = StopRequest()
    signal.signal(signal.SIGTERM, request)
    return request


def write_summary(run: Run, wall_seconds: float) -> None:
    """summary.json: the run in ten numbers, read back from metrics.jsonl so that a resumed run counts as one."""
    if not run.accelerator.is_main_process:
        return
    output_dir = Path(run.config.output_dir)
    rows = [json.loads(line) for line in whole_lines(output_dir / "metrics.jsonl")]
    evals = [row for row in rows if "eval/accuracy" in row]
    steps = [row for row in rows if GAP in row]
    prompt_tokens = sum(row["engine/prompt_tokens"] for row in steps)
    computed = sum(row["engine/prefill_tokens"] for row in steps)
    summary = {
        "accuracy_before": evals[0]["eval/accuracy"] if evals and evals[0]["step"] == 0 else None,
        "accuracy_after": evals[-1]["eval/accuracy"] if evals else None,
        "num_questions": len(run.eval_indices),
        "num_steps": run.state.step,
        "wall_seconds": round(wall_seconds, 1),
        "engine": run.engine.name,
        "max_logprob_gap": max((row[GAP] for row in steps), default=None),
        "prefix_cache_hit_rate": (prompt_tokens - computed) / prompt_tokens if prompt_tokens else None,
    }
    if run.config.task == "memory" and evals:
        summary |= {name: evals[-1].get(f"eval/{name}") for name in ("memory_tokens_mean", "input_tokens_ratio")}
        summary["retention_before"] = evals[0].get("eval/retention") if evals[0]["step"] == 0 else None
        summary["retention_after"] = evals[-1].get("eval/retention")
    (output_dir / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
