"""Which rank holds how much, by hand-computed numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rft.planning.amount import NOTHING
from rft.planning.cards import GIB
from rft.planning.passes import meta_policy
from rft.planning.sharding import Parameter, Shards, Weights, adamw_workspace, shards, weights_of
from tests.unit.planning.small import recipe, shape_4b

ZERO3 = json.loads(Path("configs/deepspeed/zero3.json").read_text(encoding="utf-8"))
ZERO2 = json.loads(Path("configs/deepspeed/zero2.json").read_text(encoding="utf-8"))
KINDS = {"single": None, "ddp": None, "zero1": ZERO2, "zero2": ZERO2, "zero3": ZERO3}

P_4B = 4_022_468_096
"""Parameters of Qwen3-4B, the LM head tied to the embedding."""


def weights(numels: list[int], itemsize: int = 2, trained: bool = True) -> Weights:
    parameters = tuple(Parameter(numel=numel, itemsize=itemsize, trained=trained) for numel in numels)
    return Weights(parameters=parameters, largest_module=max(numels))


def of_4b(kind: str, num_ranks: int, dtype: torch.dtype = torch.bfloat16) -> Shards:
    model = meta_policy(recipe(), shape_4b(), dtype)
    return shards(weights_of(model), kind, num_ranks, KINDS[kind], on_cuda=True)


@pytest.fixture(scope="module")
def zero3_of_4b() -> Shards:
    return of_4b("zero3", 8)


def test_tied_weights_are_counted_once():
    assert weights_of(meta_policy(recipe(), shape_4b(), torch.bfloat16)).count == P_4B


def test_qwen3_4b_under_zero3_on_8_gpus(zero3_of_4b: Shards):
    """P / 8 = 502.8 million: 2 bytes of weights, 4 of their copy, 4 of gradients, 8 of AdamW: 18 P / 8 = 8.43 GiB."""
    part = P_4B / 8
    assert zero3_of_4b.weights == pytest.approx(2 * part, rel=1e-3)
    assert zero3_of_4b.master == pytest.approx(4 * part, rel=1e-4)
    assert zero3_of_4b.gradients == pytest.approx(4 * part, rel=1e-4)
    assert zero3_of_4b.optimizer == pytest.approx(8 * part, rel=1e-4)
    assert zero3_of_4b.static / GIB == pytest.approx(18 * part / GIB, rel=1e-3)
    assert 8.3 < zero3_of_4b.static / GIB < 8.6


def test_norms_stay_whole_on_every_rank(zero3_of_4b: Shards):
    """Under DeepSpeed's threshold of 100,000: 36 x (2 x 2560 + 2 x 128) + 2560 numbers."""
    whole = 36 * (2 * 2560 + 2 * 128) + 2560
    assert zero3_of_4b.weights - 2 * P_4B / 8 == pytest.approx(2 * whole, rel=0.01)


def test_buckets_of_zero3_are_deepspeed_s_default_in_float32(zero3_of_4b: Shards):
    assert zero3_of_4b.buckets.expected == 500_000_000 * 4
    assert zero3_of_4b.exchange.expected == 500_000_000 * 4
    assert zero3_of_4b.gathered.expected == 1_000_000_000 * 2
    embedding = 151_936 * 2560
    assert zero3_of_4b.gathered.low == 2 * embedding
    assert zero3_of_4b.gathered_module == 2 * embedding * 2


def test_without_deepspeed_a_4b_model_in_float32_is_75_gib():
    """4 P of weights, 4 P of gradients, 8 P of AdamW, and 4 P of DDP's buckets."""
    found = of_4b("ddp", 8, torch.float32)
    held = found.static + found.gradients + found.buckets.expected
    assert held == pytest.approx(20 * P_4B)
    assert held / GIB == pytest.approx(74.9, abs=0.1)


def test_adapters_alone_have_gradients_and_optimizer():
    lora = Weights(
        parameters=(Parameter(numel=1000, itemsize=2, trained=False), Parameter(numel=10, itemsize=4, trained=True)),
        largest_module=1000,
    )
    found = shards(lora, "single", 1, None, on_cuda=True)
    assert (found.weights, found.gradients, found.optimizer) == (2040, 40, 80)
    assert found.master == 0 and found.buckets == NOTHING


def test_the_float32_copy_is_made_of_float32_weights_too():
    found = shards(weights([4000], itemsize=4), "zero3", 4, ZERO3, on_cuda=True)
    assert found.master == 1000 * 4


def test_gradients_are_added_up_in_the_type_that_the_json_names():
    plain = {key: value for key, value in ZERO3.items() if key not in ("data_types", "communication_data_type")}
    in_float32 = shards(weights([80_000_000]), "zero3", 8, ZERO3, on_cuda=True)
    in_bfloat16 = shards(weights([80_000_000]), "zero3", 8, plain, on_cuda=True)
    assert in_float32.gradients == 2 * in_bfloat16.gradients
    assert in_float32.buckets.expected == 2 * in_bfloat16.buckets.expected


def test_adamw_needs_the_roots_of_all_tensors_on_a_gpu_and_two_of_the_largest_on_a_cpu():
    assert adamw_workspace([4.0, 8.0], on_cuda=True) == 12
    assert adamw_workspace([4.0, 8.0], on_cuda=False) == 16
    assert adamw_workspace([], on_cuda=True) == 0


numels = st.lists(st.integers(1, 10**8), min_size=1, max_size=8)


@given(numels, st.sampled_from(sorted(KINDS)), st.integers(1, 64), st.booleans())
def test_more_gpus_never_hold_more(numels: list[int], kind: str, num_ranks: int, on_cuda: bool):
    few = shards(weights(numels), kind, num_ranks, KINDS[kind], on_cuda=on_cuda)
    many = shards(weights(numels), kind, num_ranks + 1, KINDS[kind], on_cuda=on_cuda)
    assert many.static <= few.static
    assert many.step <= few.step
    assert many.gradients <= few.gradients
    for name in ("buckets", "exchange", "gathered"):
        assert getattr(many, name).high <= getattr(few, name).high


@given(numels, st.sampled_from(sorted(KINDS)), st.integers(1, 64))
def test_ranges_are_in_order(numels: list[int], kind: str, num_ranks: int):
    found = shards(weights(numels), kind, num_ranks, KINDS[kind], on_cuda=True)
    for amount in (found.buckets, found.exchange, found.gathered):
        assert 0 <= amount.low <= amount.expected <= amount.high


@given(numels, st.integers(2, 64))
def test_each_stage_of_zero_holds_less_than_the_one_before(numels: list[int], num_ranks: int):
    held = [shards(weights(numels), kind, num_ranks, KINDS[kind], on_cuda=True) for kind in ("zero1", "zero2", "zero3")]
    assert held[0].static >= held[1].static
    # Every tensor is cut by itself and rounded up; what is too small to be cut stays whole as well.
    small = sum(numel for numel in numels if numel < 100_000)
    assert held[2].static <= held[1].static + 18 * len(numels) + 2 * small
