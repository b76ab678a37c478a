"""What `auto` comes to."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from rft.config import Config
from rft.planning.auto import (
    HIGHEST_UTILIZATION,
    ROUND_TO,
    USUAL_TOKENS,
    USUAL_UTILIZATION,
    UTILIZATION_STEP,
    for_card,
    has_auto,
    natural_sizes,
    needed_by_passes,
    passes_fit,
    tokens_of_groups,
    with_limit,
    with_utilization,
    without_gpu,
)
from rft.planning.cards import CARDS, GIB, with_memory
from rft.planning.memory import MemoryPlan, plan_memory
from rft.planning.workload import families
from tests.unit.planning.small import mode_of, recipe, tiny_shape, two_layers_of_4b

AUTO_TOKENS = "train.max_tokens_per_microbatch=auto"
AUTO_SHARE = "rollout.vllm_gpu_memory_utilization=auto"
H100 = CARDS["h100"]


def limit(config: Config) -> int:
    assert isinstance(config.train.max_tokens_per_microbatch, int)
    return config.train.max_tokens_per_microbatch


@cache
def chosen(memory_gib: float, *overrides: str, ranks: int = 8) -> tuple[Config, MemoryPlan]:
    config = recipe(AUTO_TOKENS, *overrides)
    return for_card(config, tiny_shape(), mode_of(config, ranks), with_memory(H100, memory_gib))


def test_only_auto_is_auto():
    assert has_auto(recipe(AUTO_TOKENS)) and has_auto(recipe(AUTO_SHARE))
    assert not has_auto(recipe())


def test_without_a_gpu_both_get_their_usual_value():
    found = without_gpu(recipe(AUTO_TOKENS, AUTO_SHARE))
    assert limit(found) == USUAL_TOKENS
    assert found.rollout.vllm_gpu_memory_utilization == USUAL_UTILIZATION
    long = without_gpu(recipe(AUTO_TOKENS, "data.max_prompt_length=100000"))
    assert limit(long) == 100_100, "a path has to go in"
    assert without_gpu(recipe()) == recipe()


def test_natural_sizes_are_whole_groups_and_then_their_parts():
    """Each of 8 ranks has 2 groups per step: 1,000 tokens of prompt, 16 replies of 100."""
    shared = 900  # a tenth of so short a prompt counts as its question
    group = 100 + 16 * 100
    exact = [shared + 2 * group, shared + group, *(shared + 100 + n * 100 for n in (8, 4, 2, 1))]
    rounded = sorted({-(-size // ROUND_TO) * ROUND_TO for size in exact}, reverse=True)
    assert natural_sizes(recipe(AUTO_TOKENS), 8) == rounded


def test_the_recipe_s_natural_sizes():
    long = recipe(AUTO_TOKENS, "data.max_prompt_length=37000", "rollout.max_completion_length=2048")
    sizes = natural_sizes(long, 8)
    assert sizes[:2] == [102_912, 69_888]
    assert sizes[0] - 256 < 36_700 + 2 * (300 + 16 * 2048) <= sizes[0]
    assert sizes[-1] >= 39_048, "one path always goes in"


def test_every_natural_size_holds_the_longest_path_and_none_holds_more_than_a_rank_has():
    config = recipe(AUTO_TOKENS)
    (family,) = families(config, longest=True)
    for ranks in (1, 2, 4, 8, 16):
        sizes = natural_sizes(config, ranks)
        groups = 16 // ranks
        assert sizes == sorted(sizes, reverse=True)
        assert min(sizes) >= 1100
        assert max(sizes) < tokens_of_groups(family, groups) + ROUND_TO


def test_on_a_large_card_all_groups_of_a_rank_go_together():
    config, plan = chosen(79.1)
    assert limit(config) == natural_sizes(recipe(AUTO_TOKENS), 8)[0]
    assert passes_fit(plan)


def test_a_card_that_just_holds_a_size_gets_it():
    """A little smaller, and it gets the next smaller one."""
    asked = recipe(AUTO_TOKENS)
    size, smaller = natural_sizes(asked, 8)[1:3]
    mode, shape = mode_of(asked, 8), tiny_shape()
    plan = plan_memory(with_limit(asked, size), shape, mode, capacity=H100.memory, on_cuda=True)
    needed = needed_by_passes(plan) / GIB
    config, found = chosen(needed * 1.00001)
    assert limit(config) == size and passes_fit(found)
    assert limit(chosen(needed * 0.99999)[0]) == smaller


def test_where_none_fits_the_smallest_is_taken():
    config, plan = chosen(1.0)
    assert limit(config) == natural_sizes(recipe(AUTO_TOKENS), 8)[-1]
    assert not passes_fit(plan)


def test_without_shared_prefixes_the_limit_is_not_looked_for():
    config, _ = chosen(79.1, "train.shared_prefix=false")
    assert limit(config) == USUAL_TOKENS


SERVERS = ("rollout.engine=server", "rollout.servers=[http://127.0.0.1:8000]")


def share(memory_gib: float, *overrides: str, ranks: int = 8) -> float:
    config = recipe(AUTO_SHARE, *overrides)
    card = with_memory(H100, memory_gib)
    found = with_utilization(config, two_layers_of_4b(), mode_of(config, ranks), card)
    assert isinstance(found.rollout.vllm_gpu_memory_utilization, float)
    return found.rollout.vllm_gpu_memory_utilization


def test_the_engine_takes_what_the_trainer_leaves_free():
    config = recipe(AUTO_SHARE)
    found = replace(config, rollout=replace(config.rollout, vllm_gpu_memory_utilization=share(20)))
    card = with_memory(H100, 20)
    plan = plan_memory(found, two_layers_of_4b(), mode_of(config, 8), capacity=card.memory, on_cuda=True)
    at_work = [moment.total.high for moment in plan.instants if "KV cache" in moment.parts]
    assert max(at_work) <= card.memory, "surely"
    assert max(at_work) > card.memory * (1 - UTILIZATION_STEP) - 1, "and no more is left than a step"


def test_a_larger_card_and_more_gpus_leave_more():
    shares = [share(size) for size in (8, 12, 20, 40, 80)]
    assert shares == sorted(shares) and shares[0] < shares[-1] <= HIGHEST_UTILIZATION
    assert share(20, ranks=1) < share(20, ranks=8)


@pytest.mark.parametrize("memory_gib", [0.001, 1.0, 3.0])
def test_a_card_on_which_nothing_fits_gets_the_smallest_share(memory_gib: float):
    """The plan then says that the run does not fit."""
    assert share(memory_gib) == UTILIZATION_STEP


def test_where_the_engine_stays_awake_or_is_absent_the_share_is_the_usual_one():
    assert share(79.1, "rollout.vllm_enable_sleep_mode=false") == USUAL_UTILIZATION
    assert share(79.1, "train.replay=somewhere") == USUAL_UTILIZATION
    assert share(79.1, *SERVERS) == USUAL_UTILIZATION


def test_with_servers_the_card_is_the_trainer_s_alone():
    (_, alone), (_, beside) = chosen(79.1, *SERVERS), chosen(79.1)
    assert alone.held.engine is None and beside.held.engine is not None
    assert not any("engine" in part for instant in alone.instants for part in instant.parts)
    assert alone.peak.total.expected <= beside.peak.total.expected


def test_a_share_that_is_named_stays():
    config = recipe("rollout.vllm_gpu_memory_utilization=0.37")
    assert with_utilization(config, two_layers_of_4b(), mode_of(config, 8), H100) is config
