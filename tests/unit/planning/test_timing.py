"""Seconds by a roofline."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from rft.planning.cards import CARDS
from rft.planning.memory import plan_memory
from rft.planning.size import RunSize
from rft.planning.timing import (
    MATMUL_SHARE,
    Roofline,
    TimePlan,
    exchange_seconds,
    families_at_once,
    frozen_passes,
    one_by_one,
    plan_time,
    roofline,
    run_hours,
    split_into,
)
from rft.planning.workload import Pack, families
from tests.unit.planning.small import mode_of, recipe, shape_4b, two_layers_of_4b

H100 = CARDS["h100"]
ROOF = Roofline(card=H100, layers=36, heads=32, head_dim=128, kernel="fa4", num_weights=4_022_468_096)


@cache
def timed(*overrides: str, card: str = "h100", ranks: int = 8) -> TimePlan:
    config = recipe(*overrides)
    shape, mode = two_layers_of_4b(), mode_of(config, ranks)
    memory = plan_memory(config, shape, mode, capacity=CARDS[card].memory, on_cuda=True)
    return plan_time(config, shape, mode, memory, CARDS[card], 1)


def seconds(plan: TimePlan, name: str) -> float:
    return next(phase.seconds for phase in plan.phases if phase.name == name)


def test_products_take_their_operations_over_what_the_card_does():
    assert ROOF.matmul(1e15) == pytest.approx(1e15 / (989.4e12 * MATMUL_SHARE))


def test_attention_is_four_operations_a_pair_and_number_and_five_halves_of_it_back():
    forward = 4 * 1e9 * 32 * 128 * 36 / 989.4e12
    assert ROOF.attention(1e9, 1, 0) == pytest.approx(forward / 0.60)
    assert ROOF.attention(1e9, 2, 1) == pytest.approx(2 * forward / 0.60 + 2.5 * forward / 0.50)
    slower = replace(ROOF, kernel="fa2")
    assert 1.5 < slower.attention(1e9, 1, 1) / ROOF.attention(1e9, 1, 1) < 1.8


def test_the_kernel_is_the_one_that_the_card_and_the_config_allow():
    def kernel(card: str, *overrides: str) -> str:
        return roofline(recipe(*overrides), shape_4b(), CARDS[card], 1).kernel

    assert kernel("h100") == "fa4"
    assert kernel("h100", "train.attention_kernel=aten") == "fa2"
    assert kernel("a100-80") == kernel("a100-80", "train.attention_kernel=aten") == "fa2-ampere"


def test_phases_make_up_the_batch():
    plan = timed()
    assert [phase.name for phase in plan.phases] == ["prefill", "decode", "log-probs", "update", "sync", "host"]
    assert plan.batch_seconds == pytest.approx(sum(phase.seconds for phase in plan.phases))
    assert all(phase.seconds > 0 for phase in plan.phases)


def test_sharing_computes_each_prompt_once():
    """16 replies of 50 to a prompt of 1,000, two such groups on a rank, one history: 2,600 tokens for 33,600."""
    plan = timed()
    assert plan.sampled_tokens == 32 * 16 * (1000 + 50)
    # 8 ranks x 2 steps x (900 + 2 x (100 + 16 x 50)) tokens
    assert plan.computed_tokens == pytest.approx(16 * (900 + 2 * (100 + 800)), rel=0.02)
    assert plan.packs == 1
    assert plan.one_by_one_seconds > 8 * seconds(plan, "update")


def test_twice_the_ranks_halve_the_engine_s_work():
    few, many = timed(ranks=4), timed(ranks=8)
    assert seconds(many, "prefill") == pytest.approx(seconds(few, "prefill") / 2)
    assert seconds(many, "update") < seconds(few, "update")
    assert many.evaluation_seconds < few.evaluation_seconds


def test_a_faster_card_takes_less_time():
    slow, fast = timed(card="a100-80"), timed(card="b200")
    for name in ("prefill", "decode", "log-probs", "update"):
        assert seconds(fast, name) < seconds(slow, name)


def test_longer_replies_take_longer():
    assert timed("plan.mean_completion_length=20").batch_seconds < timed().batch_seconds
    assert timed().batch_seconds == timed("plan.mean_completion_length=50").batch_seconds, "half of the longest"


def test_cascade_reads_a_history_once():
    """64 replies share a history of 37,000 tokens: reading it for each is what decoding then consists of."""
    long = timed(
        "data.max_prompt_length=37000",
        "rollout.max_completion_length=200",
        "train.max_tokens_per_microbatch=45000",
        "rollout.vllm_gpu_memory_utilization=0.8",
    )
    assert long.cascade_decode_seconds < long.plain_decode_seconds
    assert seconds(long, "decode") == long.cascade_decode_seconds


def test_log_probs_without_a_gradient_are_those_of_later_steps_and_of_the_reference():
    assert frozen_passes(recipe("train.steps_per_generation=1")) == 0
    assert frozen_passes(recipe("train.steps_per_generation=2")) == 1
    assert frozen_passes(recipe("train.steps_per_generation=2", "train.beta=0.01")) == 3
    assert seconds(timed("train.steps_per_generation=1"), "log-probs") == 0


def test_zero3_sends_the_weights_three_times_and_the_gradients_once():
    config = recipe()
    weights = ROOF.num_weights
    expected = weights * (3 * 2 + 4) / (450e9 * 0.70)
    assert exchange_seconds(config, mode_of(config, 8), ROOF, 1) == pytest.approx(expected)
    assert exchange_seconds(config, mode_of(config, 16), ROOF, 2) == pytest.approx(weights * 10 / 40e9)
    assert exchange_seconds(config, mode_of(config, 1), ROOF, 1) == 0
    lora = recipe("model.lora.r=8")
    assert exchange_seconds(lora, mode_of(lora, 8), ROOF, 1) == pytest.approx(weights * 6 / (450e9 * 0.70))
    alone = recipe("model.lora.r=8", "train.deepspeed=null")
    assert exchange_seconds(alone, mode_of(alone, 8), ROOF, 1) == 0


def test_a_group_is_cut_into_as_few_halves_as_fit():
    """A prompt of 1,000 and 16 replies of 100: 2,600 tokens, halves 1,800, quarters 1,400."""
    cuts = {2600: 1, 2599: 2, 1800: 2, 1799: 4, 1400: 4, 1399: 8, 1200: 8, 1199: 16, 1100: 16}
    for limit, parts in cuts.items():
        assert split_into(recipe(f"train.max_tokens_per_microbatch={limit}")) == parts, limit
    assert split_into(recipe("train.shared_prefix=false")) == 16


def test_as_many_histories_as_the_cache_holds_are_generated_at_once():
    (family,) = families(recipe(), longest=False)
    config = recipe("rollout.vllm_max_num_seqs=1000")
    assert families_at_once(config, family, 10 * family.unique_tokens, per_turn=4) == 4
    assert families_at_once(config, family, 2 * family.unique_tokens, per_turn=4) == 2
    assert families_at_once(config, family, 10, per_turn=4) == 1
    assert families_at_once(recipe("rollout.vllm_max_num_seqs=128"), family, 10**9, per_turn=4) == 2


def test_one_by_one_every_path_is_as_long_as_itself():
    pack = Pack(tokens=2600, trained=1600, pairs=1.0, path_tokens=16 * 1100)
    alone = one_by_one(pack, families(recipe("plan.mean_completion_length=100"), longest=False))
    assert alone.tokens == 16 * 1100
    assert alone.pairs == pytest.approx(16 * 1100 * 1100 / 2)


def test_hours_of_a_run():
    plan = replace(timed(), batch_seconds=60.0, evaluation_seconds=600.0)
    size = RunSize(num_questions=3200, num_batches=100, updates_per_batch=2, num_steps=200)
    assert run_hours(plan, size, num_evaluations=6) == pytest.approx((100 * 60 + 6 * 600) / 3600)
