"""The GRPO loop, top to bottom: sample questions, roll out, score, update, sync, log, checkpoint.

How it departs from the textbook (arXiv 2402.03300): advantages are not divided by the group's standard deviation
unless asked, the loss is a token mean over the global batch, there is no KL term unless asked, and each token is
weighted by the truncated ratio of trainer to engine probability.

    accelerate launch rft/train.py configs/qwen3_4b.yaml
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from signal import Signals

from rft.checkpoint.folder import checkpoint_folder, complete_steps
from rft.checkpoint.save import add_results, save
from rft.config import Config, RolloutConfig
from rft.distributed import gather_lists
from rft.eval.policy_metrics import describe_policy_eval, policy_eval_metrics
from rft.eval.predictions import prediction_table, to_json
from rft.grpo.frozen_logprobs import score_shares
from rft.grpo.idle import check_idle, idle_steps_after
from rft.grpo.metrics import SLEEPING_GIB, peak_memory_gib, restart_peak_memory
from rft.grpo.optimizer_step import optimizer_step
from rft.grpo.run import Run
from rft.hooks import LONGEST_WAIT_WHEN_STOPPED_S, HookResult
from rft.progress import PROGRESS
from rft.records import Sample
from rft.reporting.page import try_write_report
from rft.rollout.engine import EngineLost
from rft.tasks.registry import longest_completion
from rft.telemetry.names import LOGPROB_GAP
from rft.telemetry.summary import write_summary


def train(run: Run) -> Signals | None:
    """Runs the loop from `run.state` to the end of the plan, and writes summary.json.

    SIGTERM, SIGUSR1 and SIGINT end it after the batch in progress, with a checkpoint whose weights are not evaluated.

    Returns:
        The signal that ended it; None where it came to its end.

    Raises:
        RuntimeError: engine and trainer disagree by more than train.max_logprob_gap, the loss is not finite, or
            train.max_idle_steps steps in a row had nothing to learn from.
        EngineLost: no engine answers any more; what was trained is in a checkpoint.
    """
    run.stop.begin()
    PROGRESS.phase = "the loop"
    try:
        stopped = train_to_the_end(run)
    except EngineLost:
        keep_what_is_trained(run)
        raise
    finish(run, stopped.name if stopped is not None else None)
    return stopped


def train_to_the_end(run: Run) -> Signals | None:
    """The batches that are left; the signal that ended them."""
    if run.state.batch_index == 0 and run.config.eval.at_start:
        evaluate_before_training(run)
    if run.state.evaluation_due:
        evaluate_late(run)
    stopped = run.stop.on_any_rank(run.accelerator)
    while run.state.batch_index < run.size.num_batches and stopped is None:
        metrics = train_on_batch(run)
        run.log.metrics(run.state.step, metrics)
        log_hooks(run, run.hook.poll())
        run.alarms.look(metrics)
        stopped = run.stop.on_any_rank(run.accelerator)
        if is_checkpoint(run) or stopped is not None:
            save_checkpoint(run, evaluate=stopped is None)
        check_idle(run.state.idle_steps, run.config.train.max_idle_steps, metrics.get("reward"))
    return stopped


def train_on_batch(run: Run) -> dict[str, float]:
    """One rollout batch and its optimizer steps; what samples next has the new weights."""
    config, accelerator, clock = run.config, run.accelerator, run.clock
    clock.restart()
    restart_peak_memory()
    PROGRESS.step = run.state.step
    last_step = run.state.step + run.size.updates_per_batch
    samples, metrics = run.source.samples(run.state, last_step, clock)
    with clock.phase("logprobs"):
        parts = score_shares(config, accelerator, run.policy, run.reference, shares(config, samples))
    updates = []
    with clock.phase("update"):
        for number in list(range(len(parts))) * config.train.num_iterations:
            step = optimizer_step(
                config,
                accelerator,
                run.policy,
                run.optimizer,
                run.scheduler,
                parts[number],
                max_completion_length=longest_completion(config),
            )
            check_logprob_gap(step.metrics, run.source.max_logprob_gap, config.rollout)
            updates.append(step.metrics)
            parts[number] = step.samples  # with the old log-probs that a later iteration needs
    metrics |= run.source.take_weights(run.policy, clock)
    run.state = replace(
        run.state,
        step=last_step,
        batch_index=run.state.batch_index + 1,
        idle_steps=idle_steps_after(run.state.idle_steps, updates),
    )
    metrics |= {name: statistics.fmean(step[name] for step in updates) for name in updates[0]}
    metrics |= clock.times() | {"step_time": clock.elapsed()}
    if run.save_seconds is not None:
        # Of the checkpoint before this batch: rows never follow their checkpoint.
        metrics["time/save_s"] = run.save_seconds
    metrics |= throughput(metrics, updates)
    return metrics | {"peak_memory_gib": peak_memory_gib(accelerator, metrics.get(SLEEPING_GIB, 0.0))}


def shares(config: Config, samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    """Consecutive parts of equally many questions, one per optimizer step, each of whole rollouts."""
    size = config.rollout.questions_per_batch // config.train.steps_per_generation
    parts = {number: list(part) for number, part in groupby(samples, key=lambda sample: sample.place // size)}
    return [parts.get(number, []) for number in range(config.train.steps_per_generation)]


def check_logprob_gap(metrics: dict[str, float], bound: float, sampling: RolloutConfig) -> None:
    """Stops a run whose engine samples from other weights than the trainer updates."""
    gap = metrics[LOGPROB_GAP]
    if gap <= bound:  # a gap that is no number is a fault too
        return
    cause = "the engine does not hold the trainer's weights, or computes in a coarser type"
    if sampling.top_p < 1 or sampling.top_k > 0:
        cause = (
            f"rollout.top_p = {sampling.top_p} and rollout.top_k = {sampling.top_k} leave out tokens that the trainer "
            f"counts; set them to 1 and 0, or raise train.max_logprob_gap. If they are not the cause, {cause}"
        )
    raise RuntimeError(
        f"mean |log p(engine) - log p(trainer)| of the sampled tokens is {gap:.2e}, over train.max_logprob_gap = "
        f"{bound:.2e}: {cause}"
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
    return run.state.step % run.config.checkpoint.save_steps == 0 or run.state.batch_index == run.size.num_batches


def evaluate_before_training(run: Run) -> None:
    if (found := run.source.evaluate()) is None:
        return
    run.log.metrics(0, policy_eval_metrics(found[0], run.strata))
    run.log.say(f"before training: {describe_policy_eval(found[0])}")


def save_checkpoint(run: Run, *, evaluate: bool) -> None:
    """Evaluates, saves, and starts the user's command.

    The evaluation's row is written before the checkpoint is: whoever continues from it finds the row.
    """
    regular = is_checkpoint(run)
    run.clock.restart()
    results: dict[str, str] = {}
    if evaluate:
        results = evaluate_checkpoint(run)
    run.state = replace(
        run.state,
        wall_seconds=run.wall_seconds(),
        evaluation_due=regular and not evaluate and run.source.num_eval_questions > 0,
        passing_steps=run.state.passing_steps if regular else (*run.state.passing_steps, run.state.step),
    )
    run.log.flush()
    with run.clock.phase("save"):
        saved = save(
            run.config,
            run.accelerator,
            run.policy,
            run.tokenizer,
            run.state,
            results | run.source.kept(),
            in_use=run.hook.in_use(),
        )
    run.save_seconds = run.clock.seconds["save"]
    run.hook.start(saved)
    if run.accelerator.is_main_process:
        try_write_report(Path(run.config.output_dir))
    run.accelerator.wait_for_everyone()


def keep_what_is_trained(run: Run) -> None:
    """A checkpoint of the last whole batch, unless there is one, where no engine is left to go on with."""
    there = complete_steps(Path(run.config.output_dir)) if run.accelerator.is_main_process else []
    if run.state.step not in (0, *gather_lists(run.accelerator, there)):
        save_checkpoint(run, evaluate=False)
    finish(run, "no engine left")


def evaluate_checkpoint(run: Run) -> dict[str, str]:
    """Evaluates the weights; metrics get a row. Returns what a checkpoint keeps of it, name to text."""
    with run.clock.phase("eval"):
        found = run.source.evaluate()
    if found is None:
        return {}
    result, predictions = found
    if run.state.best_accuracy is None or result.overall.accuracy > run.state.best_accuracy:
        run.state = replace(run.state, best_accuracy=result.overall.accuracy, best_step=run.state.step)
    run.log.metrics(run.state.step, policy_eval_metrics(result, run.strata) | run.clock.times())
    run.log.say(f"step {run.state.step}: {describe_policy_eval(result)}")
    run.log.table(run.state.step, "eval/predictions", prediction_table(predictions))
    return {
        "eval.json": json.dumps(result.as_dict(), indent=2) + "\n",
        "predictions.jsonl": "".join(map(to_json, predictions)),
    }


def evaluate_late(run: Run) -> None:
    """The evaluation of a checkpoint at which a signal stopped the run: there was no time for it."""
    run.clock.restart()
    results = evaluate_checkpoint(run)
    run.state = replace(run.state, evaluation_due=False)
    if run.accelerator.is_main_process:
        add_results(checkpoint_folder(Path(run.config.output_dir), run.state.step), run.state, results)
    run.accelerator.wait_for_everyone()


def log_hooks(run: Run, ended: Sequence[HookResult]) -> None:
    """A row for each command that has ended, under the step at which that was seen."""
    for result in ended:
        run.log.say(f"hooks.on_checkpoint: status {result.status} for {result.checkpoint.name}")
        row = {"hooks/on_checkpoint_status": float(result.status), "time/hook_s": result.seconds}
        run.log.metrics(run.state.step, row)


def finish(run: Run, stopped: str | None) -> None:
    """Waits for the user's commands, writes what is read after a run, and closes what it held.

    Args:
        stopped: what ended the run before its time.
    """
    output_dir = Path(run.config.output_dir)
    wait_s = run.config.hooks.wait_s
    log_hooks(run, run.hook.finish(wait_s if stopped is None else min(wait_s, LONGEST_WAIT_WHEN_STOPPED_S)))
    if run.accelerator.is_main_process:
        write_summary(
            output_dir,
            num_questions=run.source.num_eval_questions,
            num_steps=run.state.step,
            wall_seconds=run.wall_seconds(),
            save_seconds=run.save_seconds,
            engine=run.source.engine_name,
            stopped=stopped,
        )
        page = try_write_report(output_dir)
        if page is not None:
            run.log.artifact("report", page)
    run.log.close()
    run.watch.say_that_this_rank_ends()
    run.accelerator.wait_for_everyone()
    run.watch.close()
    run.source.close()  # vLLM takes the process group down with it
    run.accelerator.end_training()
