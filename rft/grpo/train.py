"""The GRPO loop, top to bottom: sample questions, roll out, score, update, sync, log, checkpoint.

How it departs from the textbook (arXiv 2402.03300): advantages are not divided by the group's standard deviation
unless asked, the loss is a token mean over the global batch, there is no KL term unless asked, and each token is
weighted by the truncated ratio of trainer to engine probability.

    accelerate launch rft/train.py configs/qwen3_4b.yaml
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from rft import checkpoint, hooks
from rft.config import Config
from rft.distributed import gather_lists
from rft.eval.policy_metrics import describe_policy_eval, policy_eval_metrics
from rft.eval.predictions import prediction_table, to_json
from rft.grpo.frozen_logprobs import ScoredSample, score_samples
from rft.grpo.idle import check_idle, idle_steps_after
from rft.grpo.metrics import peak_memory_gib
from rft.grpo.optimizer_step import optimizer_step
from rft.grpo.run import Run
from rft.reporting.page import try_write_report
from rft.stop import stop_on_sigterm
from rft.tasks.registry import longest_completion
from rft.telemetry.names import LOGPROB_GAP
from rft.telemetry.summary import write_summary


def train(run: Run) -> None:
    """Runs the loop from `run.state` to the end of the plan, and writes summary.json.

    SIGTERM ends it after the batch in progress, with a checkpoint.

    Raises:
        RuntimeError: engine and trainer disagree by more than train.max_logprob_gap, the loss is not finite, or
            train.max_idle_steps steps in a row had nothing to learn from.
    """
    started = time.perf_counter()
    stop = stop_on_sigterm()
    if run.state.batch_index == 0 and run.config.eval.at_start:
        evaluate_before_training(run)
    stopping = False
    while run.state.batch_index < run.plan.num_batches and not stopping:
        metrics = train_on_batch(run)
        run.log.metrics(run.state.step, metrics)
        stopping = stop.asked_anywhere(run.accelerator)
        if is_checkpoint(run) or stopping:
            save_checkpoint(run)
        check_idle(run.state.idle_steps, run.config.train.max_idle_steps, metrics.get("reward"))
    finish(run, time.perf_counter() - started)


def train_on_batch(run: Run) -> dict[str, float]:
    """One rollout batch and its optimizer steps; what samples next has the new weights."""
    config, accelerator, clock = run.config, run.accelerator, run.clock
    clock.restart()
    last_step = run.state.step + run.plan.updates_per_batch
    samples, metrics = run.source.samples(run.state, last_step, clock)
    with clock.phase("update"):
        scored = score_samples(config, accelerator, run.policy, run.reference, samples)
        updates = []
        for share in shares(config, scored) * config.train.num_iterations:
            updates.append(
                optimizer_step(
                    config,
                    accelerator,
                    run.policy,
                    run.optimizer,
                    run.scheduler,
                    share,
                    max_completion_length=longest_completion(config),
                )
            )
            check_logprob_gap(updates[-1], run.source.max_logprob_gap)
    with clock.phase("sync"):
        run.source.take_weights(run.policy)
    run.state = replace(
        run.state,
        step=last_step,
        batch_index=run.state.batch_index + 1,
        idle_steps=idle_steps_after(run.state.idle_steps, updates),
    )
    metrics |= {name: statistics.fmean(step[name] for step in updates) for name in updates[0]}
    metrics |= clock.times() | {"step_time": clock.elapsed()}
    return (
        metrics
        | throughput(metrics, updates)
        | {"peak_memory_gib": max(gather_lists(accelerator, [peak_memory_gib()]))}
    )


def shares(config: Config, scored: Sequence[ScoredSample]) -> list[Sequence[ScoredSample]]:
    """Consecutive parts of equally many questions, one per optimizer step, each of whole rollouts."""
    size = config.rollout.questions_per_batch // config.train.steps_per_generation
    parts = {number: list(part) for number, part in groupby(scored, key=lambda item: item.sample.place // size)}
    return [parts.get(number, []) for number in range(config.train.steps_per_generation)]


def check_logprob_gap(metrics: dict[str, float], bound: float) -> None:
    """Stops a run whose engine samples from other weights than the trainer updates."""
    gap = metrics[LOGPROB_GAP]
    if not gap <= bound:  # a gap that is no number is a fault too
        raise RuntimeError(
            f"mean |log p(engine) - log p(trainer)| of the sampled tokens is {gap:.2e}, over train.max_logprob_gap = "
            f"{bound:.2e}: the engine does not hold the trainer's weights, or computes in a coarser type"
        )


def throughput(metrics: dict[str, float], updates: Sequence[dict[str, float]]) -> dict[str, float]:
    """Tokens per second: prompts and completions over the whole step, and what the update computed over its phase."""
    sampled = metrics.get("engine/prompt_tokens", 0.0) + metrics.get("engine/generated_tokens", 0.0)
    computed = sum(step["update/num_tokens"] for step in updates)
    return {
        "tokens_per_second": sampled / metrics["step_time"],
        "update/tokens_per_second": computed / metrics["time/update_s"],
    }


def is_checkpoint(run: Run) -> bool:
    return run.state.step % run.config.checkpoint.save_steps == 0 or run.state.batch_index == run.plan.num_batches


def evaluate_before_training(run: Run) -> None:
    if (found := run.source.evaluate()) is None:
        return
    run.log.metrics(0, policy_eval_metrics(found[0], run.strata))
    run.log.say(f"before training: {describe_policy_eval(found[0])}")


def save_checkpoint(run: Run) -> None:
    """Evaluates, saves, and runs the user's command. Their metrics and times get a row of their own."""
    run.clock.restart()
    metrics: dict[str, float] = {}
    files: dict[str, str] = {}
    with run.clock.phase("eval"):
        found = run.source.evaluate()
    if found is not None:
        result, predictions = found
        if run.state.best_accuracy is None or result.overall.accuracy > run.state.best_accuracy:
            run.state = replace(run.state, best_accuracy=result.overall.accuracy, best_step=run.state.step)
        files["eval.json"] = json.dumps(result.as_dict(), indent=2) + "\n"
        files["predictions.jsonl"] = "".join(map(to_json, predictions))
        metrics |= policy_eval_metrics(result, run.strata)
        run.log.say(f"step {run.state.step}: {describe_policy_eval(result)}")
        run.log.table(run.state.step, "eval/predictions", prediction_table(predictions))
    with run.clock.phase("save"):
        saved = checkpoint.save(run.config, run.accelerator, run.policy, run.tokenizer, run.state, files)
    if run.config.hooks.on_checkpoint and run.accelerator.is_main_process:
        with run.clock.phase("hook"):
            status = hooks.run_command(run.config.hooks.on_checkpoint, saved)
        metrics["hooks/on_checkpoint_status"] = float(status)
    run.log.metrics(run.state.step, metrics | run.clock.times())
    if run.accelerator.is_main_process:
        try_write_report(Path(run.config.output_dir))
    run.accelerator.wait_for_everyone()


def finish(run: Run, wall_seconds: float) -> None:
    """Writes what is read after a run, and closes what it held."""
    output_dir = Path(run.config.output_dir)
    if run.accelerator.is_main_process:
        write_summary(
            output_dir,
            num_questions=run.source.num_eval_questions,
            num_steps=run.state.step,
            wall_seconds=wall_seconds,
            engine=run.source.engine_name,
        )
        page = try_write_report(output_dir)
        if page is not None:
            run.log.artifact("report", page)
    run.log.close()
    run.source.close()
    run.accelerator.end_training()
