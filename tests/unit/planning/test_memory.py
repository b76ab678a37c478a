"""Memory of one rank at every instant that can be the peak."""

from __future__ import annotations

import itertools
from functools import cache

import pytest
import torch

from rft.config import Config
from rft.planning.amount import Amount, exactly
from rft.planning.cards import CARDS, GIB
from rft.planning.memory import MemoryPlan, holdings, instant, needs_frozen_pass, plan_memory, types_of
from tests.unit.planning.small import mode_of, recipe, shape_4b, two_layers_of_4b

CAPACITY = CARDS["h100"].memory


@cache
def planned(*overrides: str, ranks: int = 8, on_cuda: bool = True) -> MemoryPlan:
    config = recipe(*overrides)
    return plan_memory(config, two_layers_of_4b(), mode_of(config, ranks), capacity=CAPACITY, on_cuda=on_cuda)


def instants(plan: MemoryPlan) -> dict[str, Amount]:
    return {moment.name: moment.total for moment in plan.instants}


def parts(plan: MemoryPlan, name: str) -> dict[str, Amount]:
    return dict(next(moment.parts for moment in plan.instants if moment.name == name))


def test_the_instants_of_a_batch_in_their_order():
    assert list(instants(planned())) == [
        "engine start",
        "rollout, evaluation",
        "log-probs",
        "update",
        "optimizer step",
        "weight sync",
        "saving",
    ]


@pytest.mark.parametrize(
    "overrides", [(), ("model.lora.r=8",), ("train.deepspeed=null",), ("train.deepspeed=configs/deepspeed/zero2.json",)]
)
def test_low_expected_and_high_are_in_order_at_every_instant(overrides: tuple[str, ...]):
    plan = planned(*overrides)
    for moment in plan.instants:
        assert 0 < moment.total.low <= moment.total.expected <= moment.total.high, moment.name
        for part, amount in moment.parts.items():
            assert 0 <= amount.low <= amount.expected <= amount.high, part


def test_more_ranks_never_need_more():
    plans = [instants(planned(ranks=ranks)) for ranks in (1, 2, 8)]
    for fewer, more in itertools.pairwise(plans):
        for name, amount in more.items():
            assert amount.high <= fewer[name].high, name


def test_the_engine_works_while_the_trainer_holds_only_its_shards():
    plan = planned()
    engine = plan.held.engine
    assert engine is not None
    rollout = parts(plan, "rollout, evaluation")
    assert "activations" not in rollout and "engine asleep" not in rollout
    working = sum(rollout[name].expected for name in ("engine weights", "KV cache", "engine workspace"))
    assert working == pytest.approx(engine.total)
    assert plan.held.shards.static == pytest.approx(
        sum(rollout[name].expected for name in ("weights", "float32 copy", "optimizer", "gradients"))
    )


def test_the_engine_sleeps_while_the_trainer_works():
    for name in ("log-probs", "update", "optimizer step"):
        found = parts(planned(), name)
        assert "engine asleep" in found and "KV cache" not in found
    awake = parts(planned("rollout.vllm_enable_sleep_mode=false"), "update")
    assert "KV cache" in awake and "engine asleep" not in awake


def test_a_replay_has_no_engine():
    plan = planned("train.replay=somewhere")
    assert plan.held.engine is None
    assert list(instants(plan)) == ["log-probs", "update", "optimizer step", "saving"]
    assert plan.fits


def test_log_probs_are_computed_only_where_the_loss_needs_them():
    assert not needs_frozen_pass(recipe("train.steps_per_generation=1"))
    assert needs_frozen_pass(recipe("train.steps_per_generation=2"))
    assert needs_frozen_pass(recipe("train.steps_per_generation=1", "train.beta=0.01"))
    assert "log-probs" not in instants(planned("train.steps_per_generation=1"))


def test_a_reference_model_is_sharded_as_the_policy_is():
    count = planned().held.weights.count
    beta = "train.beta=0.01"
    assert planned(beta).held.reference == pytest.approx(2 * count / 8)
    assert planned(beta, "train.deepspeed=null").held.reference == 2 * count, "whole, in bfloat16"
    assert planned(beta, "model.lora.r=8").held.reference == 0, "the base is the reference"
    gained = instants(planned(beta))["rollout, evaluation"].low - instants(planned())["rollout, evaluation"].low
    assert gained == pytest.approx(2 * count / 8)


def test_the_engine_holds_the_model_without_adapters():
    alone, adapted = planned().held.engine, planned("model.lora.r=8").held.engine
    assert alone is not None and adapted is not None
    assert alone.weights == adapted.weights


def test_on_a_cpu_there_is_neither_cuda_nor_slack():
    plan = planned("train.max_tokens_per_microbatch=1100", on_cuda=False)
    assert plan.held.engine is None
    for moment in plan.instants:
        assert not {"CUDA and NCCL", "allocator slack"} & set(moment.parts)


def test_types_are_those_that_a_run_chooses():
    deepspeed, plain, lora = recipe(), recipe("train.deepspeed=null"), recipe("train.deepspeed=null", "model.lora.r=8")

    def types(config: Config) -> tuple[torch.dtype, torch.dtype, torch.dtype | None]:
        found = types_of(config, mode_of(config, 8), on_cuda=True)
        return found.model, found.trained, found.autocast

    assert types(deepspeed) == (torch.bfloat16, torch.bfloat16, None)
    assert types(plain) == (torch.bfloat16, torch.float32, torch.bfloat16)
    assert types(lora) == (torch.bfloat16, torch.bfloat16, torch.bfloat16)


def test_auto_is_float32_on_a_cpu_alone():
    config = recipe("model.dtype=auto")
    assert types_of(config, mode_of(config, 1), on_cuda=False).trained is torch.float32
    assert types_of(config, mode_of(config, 1), on_cuda=True).trained is torch.bfloat16


def test_slack_grows_with_what_comes_and_goes():
    sizes = {"weights": exactly(1000.0), "activations": exactly(100.0)}
    assert "allocator slack" not in instant("still", {"weights": exactly(1.0)}, slack=True).parts
    assert "allocator slack" not in instant("host", sizes, slack=False).parts
    slack = instant("update", sizes, slack=True).parts["allocator slack"]
    assert (slack.low, slack.expected, slack.high) == (0, pytest.approx(3), pytest.approx(8))


def test_a_plan_fits_by_what_is_expected_and_surely_by_the_most():
    plan = planned()
    peak, most = plan.peak.total.expected, max(moment.total.high for moment in plan.instants)
    assert peak < most

    def at(capacity: float) -> MemoryPlan:
        return MemoryPlan(
            instants=plan.instants, held=plan.held, update=plan.update, frozen=plan.frozen, capacity=capacity
        )

    assert not at(peak - 1).fits
    assert at(peak).fits and not at(peak).fits_surely
    assert at(most).fits_surely


def test_an_engine_without_room_for_one_sequence_fits_nowhere():
    plan = planned("rollout.vllm_gpu_memory_utilization=0.05", "rollout.vllm_max_model_length=500000")
    assert plan.peak.total.high < CAPACITY
    assert not plan.fits and not plan.fits_surely


def test_qwen3_4b_on_8_gpus_holds_18_bytes_a_weight_in_eighths():
    """2 of weights, 4 of their float32 copy, 4 of gradients in float32, 8 of AdamW: 8.4 GiB."""
    config = recipe()
    held = holdings(config, shape_4b(), mode_of(config, 8), capacity=CAPACITY, on_cuda=True)
    assert held.shards.static / GIB == pytest.approx(18 * 4_022_468_096 / 8 / GIB, abs=0.01)
