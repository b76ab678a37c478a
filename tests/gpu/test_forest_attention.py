"""The kernels of a GPU on the plan that the CPU's tests prove: forests in bfloat16 against float64, path by path.

Each kernel that this GPU has; one that the installed vLLM does not ship is skipped.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rft.grpo.attention_kernels import ATEN, FLASH_ATTN_4, AttentionKernel, candidates
from rft.grpo.forest import build_forest
from rft.grpo.forest_attention import FOREST_ATTENTION, LONG_SEGMENT, ForestAttention, plan_attention
from rft.grpo.kernel_agreement import AttentionShape, failure_of, relative_errors
from rft.grpo.logprobs import dense_logprobs, forest_logprobs
from tests.forest_reference import along_paths, tensors
from tests.tiny import random_paths, samples_of_paths, tiny_qwen3

pytestmark = pytest.mark.gpu

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

ROUNDING = 0.02
"""Of bfloat16 sums: of an output, whose values are about 1 and up to 5, and of a gradient relative to its largest
entry. Rounding the right output once costs up to 0.014."""

LONG = [
    [*range(LONG_SEGMENT + 200), *range(900, 900 + n)] for n in range(1, 7)
] + [[7, *range(LONG_SEGMENT * 2), n] for n in range(3)]  # fmt: skip


QWEN3_4B = AttentionShape(num_heads=32, num_kv_heads=8, head_size=128)
HEADS, GROUPS, SIZE = 8, 2, 128
"""Heads as large as those of Qwen3-4B, as many on a key head, so that the same kernels are compiled."""
SCALE = SIZE**-0.5


@pytest.fixture(params=[ATEN, FLASH_ATTN_4], ids=lambda kernel: kernel.name)
def kernel(request: pytest.FixtureRequest) -> AttentionKernel:
    found: AttentionKernel = request.param
    if found not in candidates("auto", DEVICE):
        pytest.skip(f"{found.name} does not run on this GPU")
    failure = failure_of(found, QWEN3_4B, DEVICE)
    if failure is not None and failure.startswith(("ImportError", "ModuleNotFoundError")):
        pytest.skip(failure)
    return found


def test_it_agrees_with_plain_attention(kernel: AttentionKernel) -> None:
    assert failure_of(kernel, QWEN3_4B, DEVICE) is None, relative_errors(kernel, QWEN3_4B, DEVICE)


def relative(ours: Tensor | None, exact: Tensor | None) -> float:
    assert ours is not None and exact is not None
    return ((ours.double().cpu() - exact).abs().max() / exact.abs().max()).item()


@pytest.mark.parametrize("paths", [*(random_paths(seed) for seed in range(10)), LONG])
def test_equals_attention_along_each_path(paths: list[list[int]], kernel: AttentionKernel) -> None:
    forest = build_forest(paths)
    drawn = tensors(forest, HEADS, GROUPS, torch.float64, seed=0, size=SIZE)
    rounded = [x.detach().to(DEVICE, torch.bfloat16).requires_grad_() for x in drawn]
    # What is compared starts from the same numbers.
    exact = [x.detach().double().cpu().requires_grad_() for x in rounded]
    expected = along_paths(forest, len(paths), *exact, SCALE)
    out = ForestAttention.apply(*rounded, plan_attention(forest.segments, DEVICE, kernel), SCALE)
    torch.testing.assert_close(out.double().cpu(), expected, rtol=ROUNDING, atol=ROUNDING)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (expected * weights).sum().backward()
    (out * weights.to(out)).sum().backward()
    for ours, theirs in zip(rounded, exact, strict=True):
        assert relative(ours.grad, theirs.grad) <= ROUNDING


def test_a_model_scores_as_the_plain_path_does() -> None:
    samples = samples_of_paths(random_paths(3) + random_paths(4))
    models = [tiny_qwen3(True, attn_implementation=name).to(DEVICE) for name in (FOREST_ATTENTION, "sdpa")]
    with torch.autocast(DEVICE.type, torch.bfloat16):
        forest = forest_logprobs(models[0], samples, 1.0, entropy=False).logps
        dense = dense_logprobs(models[1], samples, 1.0, entropy=False).logps
    (forest.mean() + dense.mean()).backward()
    torch.testing.assert_close(forest, dense, rtol=0.05, atol=0.05)
    for (name, ours), plain in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert ours.grad is not None and plain.grad is not None, name
        assert relative(ours.grad, plain.grad.double().cpu()) <= 0.1, name
