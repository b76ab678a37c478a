"""The cost of a pass on fake tensors, beside the same pass on real ones and beside formulas."""

from __future__ import annotations

from dataclasses import replace
from itertools import count, pairwise

import pytest
import torch
from transformers import Qwen3Config

from rft.config import Config
from rft.grpo import attention_kernels
from rft.planning.passes import PassCost, build_policy, meta_policy, metered_pass, pass_cost, with_one_trained_token
from rft.planning.workload import Family, samples_of
from tests.unit.planning.small import recipe, tiny_shape

GROUP = Family(name="answers", shared=256, groups=1, question=0, siblings=4, own=0, completion=64, count=1)
SAMPLES = samples_of(GROUP, 0, count())
TOKENS = 256 + 4 * 64
HIDDEN, WIDE, VOCAB = 64, 128, 512
ANGLES = 2 * 8 * TOKENS
"""Operations of the rotary positions: eight frequencies times each position, once in a pass."""

PLAIN = "train.gradient_checkpointing=false"


def cost(config: Config, shape: Qwen3Config, *, backward: bool = True, on_cuda: bool = True) -> PassCost:
    return pass_cost(config, shape, SAMPLES, backward=backward, dtype=torch.float32, autocast=None, on_cuda=on_cuda)


def projections(layers: int) -> int:
    """Weights of a tiny model's layers: queries and output 64 x 64, keys and values 64 x 32, three of 64 x 128."""
    return layers * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("overrides", [[PLAIN], [], ["model.lora.r=4"], ["train.tiled_mlp=true"]])
def test_fake_tensors_cost_what_real_ones_cost(overrides: list[str], backward: bool):
    config, shape = recipe(*overrides), tiny_shape()
    on_fake = cost(config, shape, backward=backward, on_cuda=False)
    real = build_policy(config, shape, torch.float32)
    on_real = metered_pass(config, real, SAMPLES, backward=backward, autocast=None, on_cuda=False)
    # Fake tensors answer no question about values, so that a comparison or two is not made.
    assert on_fake.moved_bytes == pytest.approx(on_real.moved_bytes, rel=1e-5)
    assert replace(on_fake, moved_bytes=0) == replace(on_real, moved_bytes=0)


def test_forward_products_by_hand():
    """Two per weight and token in the layers, and the head for each trained token."""
    found = cost(recipe(), tiny_shape(), backward=False)
    assert found.tokens == TOKENS
    assert found.matmul_flops == 2 * TOKENS * projections(2) + 2 * 256 * HIDDEN * VOCAB + ANGLES


def test_a_backward_pass_doubles_them_and_checkpointing_computes_the_layers_again():
    forward = cost(recipe(), tiny_shape(), backward=False).matmul_flops
    plain = cost(recipe(PLAIN), tiny_shape()).matmul_flops
    checkpointed = cost(recipe(), tiny_shape()).matmul_flops
    assert plain == 3 * forward - 2 * ANGLES
    layers = 2 * TOKENS * projections(2)
    last_product = 2 * 2 * TOKENS * HIDDEN * WIDE  # of the MLP, whose output the second pass does not need
    assert checkpointed == plain + layers - last_product


def test_a_group_by_itself_and_one_path_at_a_time():
    """What the forest saves: n prompts of P tokens and n replies of C against one prompt and n replies."""
    config, shape = recipe(), tiny_shape()
    together = cost(config, shape, backward=False)

    def alone(sample) -> PassCost:
        return pass_cost(config, shape, [sample], backward=False, dtype=torch.float32, autocast=None, on_cuda=True)

    apart = [alone(sample) for sample in SAMPLES]
    assert sum(one.tokens for one in apart) == 4 * (256 + 64)
    saved = sum(one.matmul_flops for one in apart) - together.matmul_flops
    assert saved == 3 * 256 * (2 * projections(2) + 2 * 8)


def test_a_deep_model_costs_what_its_layers_add():
    """Five layers are put together from two and three; up to four are computed as they are."""
    config = recipe()
    costs = [cost(config, tiny_shape(num_hidden_layers=layers)) for layers in (3, 4, 5)]
    steps = [(b.peak - a.peak, b.matmul_flops - a.matmul_flops) for a, b in pairwise(costs)]
    assert len(set(steps)) == 1, "every layer adds the same"
    assert steps[0][0] == TOKENS * HIDDEN * 4, "with checkpointing, its input"


def test_checkpointing_offloading_and_tiles_each_need_less():
    shape = tiny_shape(num_hidden_layers=4, intermediate_size=1024)
    plain, checkpointed = cost(recipe(PLAIN), shape), cost(recipe(), shape)
    offloaded = cost(recipe("train.activation_offloading=true"), shape)
    assert offloaded.peak < checkpointed.peak < plain.peak
    assert (plain.host, checkpointed.host) == (0, 0)
    assert offloaded.host == 4 * TOKENS * HIDDEN * 4, "the inputs of four layers"
    assert offloaded.pinned == 4 * TOKENS * HIDDEN * 4, "of 2**17 bytes each"
    assert offloaded.matmul_flops == checkpointed.matmul_flops


def test_offloading_is_no_saving_where_everything_is_in_host_memory():
    shape = tiny_shape()
    on_cpu = cost(recipe("train.activation_offloading=true"), shape, on_cuda=False)
    assert on_cpu.host == 0
    assert on_cpu.peak >= cost(recipe(), shape, on_cuda=False).peak


def test_logits_are_those_of_the_trained_tokens():
    shape = tiny_shape(vocab_size=8192)
    rows = 256 * 8192 * 4
    found = cost(recipe(), shape)
    assert found.logits % rows == 0
    assert 3 * rows <= found.logits <= 6 * rows
    little = [with_one_trained_token(sample) for sample in SAMPLES]
    few = pass_cost(recipe(), shape, little, backward=True, dtype=torch.float32, autocast=None, on_cuda=True)
    assert few.tokens == found.tokens
    assert few.logits <= found.logits * 4 / 256


def test_a_layer_s_input_is_half_as_large_in_bfloat16():
    def peak(num_layers: int) -> int:
        shape = tiny_shape(num_hidden_layers=num_layers)
        return pass_cost(
            recipe(), shape, SAMPLES, backward=True, dtype=torch.bfloat16, autocast=None, on_cuda=True
        ).peak

    assert peak(4) - peak(3) == TOKENS * HIDDEN * 2


def test_what_is_built_for_a_plan_is_what_is_trained():
    config = recipe("model.lora.r=4", "model.lora.lora_alpha=8")
    policy = meta_policy(config, tiny_shape(), torch.float32)
    assert all(parameter.is_meta for parameter in policy.parameters())
    trained = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    # A and B of each projection: 4 x (in + out).
    assert trained == 2 * 4 * (2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 128))


def test_the_kernel_of_a_gpu_is_taken_for_the_time_of_a_plan():
    before = attention_kernels.IN_USE["cpu"]
    cost(recipe(), tiny_shape(), backward=False)
    assert attention_kernels.IN_USE["cpu"] is before
