"""What an attention kernel of a GPU holds for itself, and that a plan has it."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from rft.grpo.attention_kernels import ATEN, AttentionKernel
from rft.grpo.forest import build_forest
from rft.grpo.forest_attention import plan_attention
from rft.planning.kernel_memory import ATEN_ON_A_GPU, backward_workspace
from rft.planning.meter import Meter

HEADS, SIZE, TOKENS = 32, 128, 5000
FOREST = build_forest([(*range(4000), *range(10_000 * n, 10_000 * n + 500)) for n in (1, 2)])
"""One history and two replies: 5,000 tokens in three segments."""


def peak(kernel: AttentionKernel, kv_heads: int) -> int:
    """Bytes alive at most in the backward pass of all segments on themselves, besides what comes in."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        q, k, v = (torch.empty(TOKENS, heads, SIZE, dtype=torch.bfloat16) for heads in (HEADS, kv_heads, kv_heads))
        lse = torch.empty(HEADS, TOKENS).transpose(0, 1)
        (launch,) = plan_attention(FOREST.segments, torch.device("cpu"), kernel).own
        with Meter() as meter:
            grads = kernel.backward(launch, q, q, k, v, q, lse, 1.0)
            assert [grad.shape for grad in grads] == [x.shape for x in (q, k, v)]
    return meter.peak


@pytest.mark.parametrize(("kv_heads", "per_head"), [(8, 2), (32, 0)])
def test_a_pass_has_the_kernel_s_own_memory(kv_heads: int, per_head: int):
    """Float32 sums for queries; 16 bits for keys and values, by query head where heads share them."""
    rows = TOKENS + 128 * 3
    own = rows * HEADS * (SIZE + 1) * 4 + per_head * TOKENS * HEADS * SIZE * 2
    assert peak(ATEN_ON_A_GPU, kv_heads) - peak(ATEN, kv_heads) == own


def test_sums_are_rows_of_32_numbers():
    launch = plan_attention(FOREST.segments, torch.device("meta"), ATEN).own[0]
    q, k = (torch.empty(TOKENS, heads, 40, dtype=torch.bfloat16, device="meta") for heads in (4, 2))
    sums, row_sums, keys, values = backward_workspace(launch, q, k)
    assert (sums.shape, sums.dtype) == ((5384, 4, 64), torch.float32)
    assert row_sums.shape == (4, 5384) and keys.shape == values.shape == (5000, 4, 40)
