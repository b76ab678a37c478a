"""A plan for a person to read."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rft.config import Config
from rft.planning.cards import GIB
from rft.planning.memory import Instant
from rft.planning.planner import RunPlan
from rft.planning.remedies import WayOut, describe
from rft.planning.size import RunSize
from rft.planning.timing import TimePlan, run_hours

SMALL = 0.05
"""GiB; smaller parts are not named."""


def full_report(plan: RunPlan, asked: Config, source: str, size: RunSize | None, ways: Sequence[WayOut]) -> str:
    """All that is known.

    Args:
        asked: the config before `auto` values were chosen.
        source: where the shape of the model comes from.
        size: of the run; None where the number of questions is not known.
        ways: what would make it fit.
    """
    parts = [
        f"planned, not measured: {plan.machine}; {plan.mode.describe()}",
        f"model            {source}",
        *chosen(plan, asked),
        memory_table(plan),
        *host_lines(plan),
        *time_lines(plan, size),
        verdict(plan),
        *remedies(plan, ways),
    ]
    return "\n".join(parts)


def remedies(plan: RunPlan, ways: Sequence[WayOut]) -> list[str]:
    """What would make a run fit that does not."""
    if plan.memory.fits:
        return []
    lines = [f"would fit        {describe(way, plan)}" for way in ways]
    return lines or ["would fit        no setting was found that helps; take more GPUs, or larger ones"]


def summary(plan: RunPlan, asked: Config) -> list[str]:
    """A few lines."""
    lines = [f"planned          {plan.machine}; {needs(plan)}", *chosen(plan, asked)]
    if plan.time is not None:
        lines.append(f"time             about {plan.time.batch_seconds:.0f} s a rollout batch (not measured)")
    return lines


def verdict(plan: RunPlan) -> str:
    if not plan.memory.fits:
        return f"verdict          does not fit: {needs(plan)}"
    if not plan.memory.fits_surely:
        return f"verdict          expected to fit, not surely: {needs(plan)}"
    return f"verdict          fits: {needs(plan)}"


def needs(plan: RunPlan) -> str:
    """The peak in one sentence."""
    peak, capacity = plan.memory.peak, plan.memory.capacity
    fullest = (
        f"at its fullest, {peak.name}, {peak.total.expected / GIB:.1f} GiB per GPU ({peak.total.low / GIB:.1f} to "
        f"{peak.total.high / GIB:.1f}) of {capacity / GIB:.1f}: {made_of(peak)}"
    )
    return fullest if plan.memory.held.engine_starts else f"{engine_too_small(plan)}; {fullest}"


def engine_too_small(plan: RunPlan) -> str:
    engine = plan.memory.held.engine
    assert engine is not None
    return f"the engine's KV cache holds {engine.kv_tokens:,} tokens, and the longest sequence has {engine.window:,}"


def made_of(instant: Instant) -> str:
    """The parts of an instant, the largest first."""
    parts = sorted(instant.parts.items(), key=lambda item: -item[1].expected)
    return ", ".join(f"{name} {amount.expected / GIB:.1f}" for name, amount in parts if amount.expected / GIB >= SMALL)


def chosen(plan: RunPlan, asked: Config) -> list[str]:
    """What the planner chose for `auto`."""
    lines = []
    if asked.train.max_tokens_per_microbatch == "auto":
        lines.append(f"chosen           train.max_tokens_per_microbatch={plan.config.train.max_tokens_per_microbatch}")
    if asked.rollout.vllm_gpu_memory_utilization == "auto":
        share = plan.config.rollout.vllm_gpu_memory_utilization
        lines.append(f"chosen           rollout.vllm_gpu_memory_utilization={share}")
    return lines


def memory_table(plan: RunPlan) -> str:
    rows = [f"{'GiB per GPU':<20}{'low':>6}{'expected':>10}{'high':>7}   made of"]
    for instant in plan.memory.instants:
        amount = instant.total
        rows.append(
            f"{instant.name:<20}{amount.low / GIB:>6.1f}{amount.expected / GIB:>10.1f}{amount.high / GIB:>7.1f}   "
            f"{made_of(instant)}"
        )
    return "\n".join(rows)


def host_lines(plan: RunPlan) -> list[str]:
    """Host memory of one machine, and what the KV cache holds."""
    held, gpus = plan.memory.held, plan.machine.num_gpus
    loading = held.weights.nbytes * (1 if plan.mode.kind == "zero3" else gpus)
    offloaded = plan.memory.update.pinned * gpus
    saving = held.weights.count * held.weights.itemsize
    lines = [
        f"host memory      per machine, besides Python's own: {loading / GIB:.0f} GiB while weights are loaded, "
        f"{offloaded / GIB:.0f} GiB for offloaded activations, {saving / GIB:.0f} GiB while a checkpoint is written"
    ]
    if held.engine is not None:
        lines.append(f"KV cache         {held.engine.kv_tokens:,} tokens per GPU")
    return lines


def time_lines(plan: RunPlan, size: RunSize | None) -> list[str]:
    time = plan.time
    if time is None:
        return []
    phases = ", ".join(f"{phase.name} {phase.seconds:.1f}" for phase in time.phases)
    return [
        f"seconds a batch  {time.batch_seconds:.0f}: {phases}",
        f"decode           {time.cascade_decode_seconds:.0f} s with cascade attention, "
        f"{time.plain_decode_seconds:.0f} s without",
        *sharing_lines(plan, time),
        *run_lines(plan, time, size),
    ]


def sharing_lines(plan: RunPlan, time: TimePlan) -> list[str]:
    """What shared prefixes save, and what is lost where a group is cut."""
    if not plan.config.train.shared_prefix:
        return []
    update = next(phase.seconds for phase in time.phases if phase.name == "update")
    siblings, parts = plan.config.rollout.num_generations, time.split_into
    whole = "a group of the longest replies fits into one micro-batch"
    kept = (siblings - parts) / (siblings - 1)
    cut = f"a group of the longest replies is cut into {parts}, and keeps {kept:.0%} of what its prompt's sharing saves"
    return [
        f"shared prefixes  update {update:.0f} s, with every completion by itself {time.one_by_one_seconds:.0f} s "
        f"({time.one_by_one_seconds / update:.1f} times)",
        f"micro-batches    {time.packs} per optimizer step and GPU at the mean length of replies; "
        f"{cut if parts > 1 else whole}",
    ]


def run_lines(plan: RunPlan, time: TimePlan, size: RunSize | None) -> list[str]:
    """Tokens and hours of the whole run, where its size is known."""
    hundred = 100 * time.batch_seconds / 3600
    asked = plan.config.eval.num_questions
    evaluation = f"an evaluation of {asked:,} questions {time.evaluation_seconds / 60:.0f} min"
    if asked == 0:
        evaluation = "evaluations of the whole split not counted"
    if size is None:
        return [
            f"run              {hundred:.1f} h for 100 rollout batches; {evaluation}; set plan.num_questions for all"
        ]
    # The last step is evaluated, too.
    evaluations = math.ceil(size.num_steps / plan.config.checkpoint.save_steps) + int(plan.config.eval.at_start)
    return [
        f"run              {run_hours(time, size, evaluations):.1f} h: {size.num_batches:,} rollout batches, "
        f"{size.num_steps:,} optimizer steps, {evaluations} evaluations ({evaluation})",
        f"tokens           {time.sampled_tokens * size.num_batches / 1e9:.1f} billion sampled, prompts included; "
        f"{time.computed_tokens * size.num_batches / 1e9:.1f} billion through the updates",
    ]
