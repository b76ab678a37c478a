"""A plan for a person to read."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from rft.config import Config
from rft.planning.cards import CARDS, GIB, with_memory
from rft.planning.planner import Machine, RunPlan, plan_run
from rft.planning.report import full_report, host_lines, needs, remedies, run_lines, sharing_lines, summary, verdict
from rft.planning.size import RunSize
from tests.unit.planning.small import mode_of, recipe, two_layers_of_4b

SIZE = RunSize(num_questions=3200, num_batches=100, updates_per_batch=2, num_steps=200)


@cache
def planned(*overrides: str, memory_gib: float = 79.1) -> tuple[RunPlan, Config]:
    config = recipe(*overrides)
    tried = Machine(card=with_memory(CARDS["h100"], memory_gib), num_gpus=8)
    return plan_run(config, tried, two_layers_of_4b(), mode_of(config, 8)), config


def test_the_report_says_that_nothing_was_measured_and_names_every_instant():
    plan, config = planned()
    text = full_report(plan, config, "config.json of a model", SIZE, [])
    assert text.startswith("planned, not measured: 8 x h100 of 79.1 GiB; DeepSpeed ZeRO-3 on 8 ranks")
    for moment in plan.memory.instants:
        assert f"\n{moment.name} " in text
    assert text.splitlines()[-1].startswith("verdict          fits: ")
    assert "would fit" not in text
    assert "chosen" not in text, "nothing was auto"


def test_what_was_chosen_for_auto_is_named():
    plan, config = planned("train.max_tokens_per_microbatch=auto", "rollout.vllm_gpu_memory_utilization=auto")
    text = "\n".join(summary(plan, config))
    assert f"train.max_tokens_per_microbatch={plan.config.train.max_tokens_per_microbatch}" in text
    assert f"rollout.vllm_gpu_memory_utilization={plan.config.rollout.vllm_gpu_memory_utilization}" in text


def test_the_verdict_is_one_of_three():
    plan, _ = planned()
    peak = plan.memory.peak.total

    def at(capacity: float) -> str:
        return verdict(replace(plan, memory=replace(plan.memory, capacity=capacity)))

    assert at(2 * peak.high).startswith("verdict          fits: ")
    assert at(peak.expected).startswith("verdict          expected to fit, not surely: ")
    assert at(peak.low).startswith("verdict          does not fit: ")


def test_a_run_that_does_not_fit_without_a_way_out_says_so():
    plan, config = planned(memory_gib=4)
    assert not plan.memory.fits
    assert remedies(plan, []) == ["would fit        no setting was found that helps; take more GPUs, or larger ones"]
    assert "no setting was found" in full_report(plan, config, "", None, [])


def test_an_engine_without_room_for_a_sequence_is_named():
    plan, _ = planned("rollout.vllm_gpu_memory_utilization=0.05", "rollout.vllm_max_model_length=500000")
    assert f"holds {plan.memory.held.engine.kv_tokens:,} tokens, and the longest sequence has 500,000" in needs(plan)
    assert "KV cache holds" not in needs(planned()[0])


def test_a_cut_group_keeps_what_its_parts_still_share():
    """(n - m) / (n - 1): of the 15 prompts that 16 siblings save, two parts save 14 and four save 12."""
    plan, _ = planned()

    def lines(parts: int) -> str:
        return "\n".join(sharing_lines(plan, replace(plan.time, split_into=parts)))

    assert "cut into 2, and keeps 93%" in lines(2)
    assert "cut into 4, and keeps 80%" in lines(4)
    assert "cut into 16, and keeps 0%" in lines(16)
    assert "fits into one micro-batch" in lines(1)
    assert sharing_lines(replace(plan, config=recipe("train.shared_prefix=false")), plan.time) == []


def test_evaluations_of_a_run_are_those_at_checkpoints_at_the_start_and_at_the_end():
    def line(*overrides: str) -> str:
        plan, _ = planned()
        return run_lines(replace(plan, config=recipe(*overrides)), plan.time, SIZE)[0]

    assert "200 optimizer steps, 5 evaluations" in line("checkpoint.save_steps=50")
    assert "4 evaluations" in line("checkpoint.save_steps=80"), "at 80, 160 and 200"
    assert "3 evaluations" in line("checkpoint.save_steps=80", "eval.at_start=false")
    assert "whole split not counted" in line("eval.num_questions=0")


def test_without_its_size_a_run_is_told_per_hundred_batches():
    plan, _ = planned()
    (line,) = run_lines(plan, plan.time, None)
    assert "for 100 rollout batches" in line and "plan.num_questions" in line


def test_a_replay_has_no_time():
    plan, config = planned("train.replay=somewhere")
    text = full_report(plan, config, "", None, [])
    assert "seconds a batch" not in text and "KV cache" not in text
    assert len(summary(plan, config)) == 1


def test_host_memory_of_a_machine_is_that_of_its_gpus():
    plan, _ = planned()
    offloaded = replace(plan, memory=replace(plan.memory, update=replace(plan.memory.update, pinned=3 * GIB)))
    assert "24 GiB for offloaded activations" in host_lines(offloaded)[0]
    assert "0 GiB for offloaded activations" in host_lines(plan)[0]
