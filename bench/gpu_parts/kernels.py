"""Attention kernels: do they agree with plain attention at the start of a run, and how fast is each at full length."""

from __future__ import annotations

from typing import Any

import torch
from train_step import Row, samples_of

from gpu_parts.common import Report, Sizes, device, in_one_line, timed
from rft.grpo.attention_kernels import AttentionKernel, candidates
from rft.grpo.forest import Forest, build_forest
from rft.grpo.forest_attention import ForestAttention, plan_attention
from rft.grpo.kernel_agreement import AttentionShape, random_inputs, relative_errors
from rft.grpo.samples import token_paths

SIBLINGS = 8


def run(report: Report, sizes: Sizes) -> None:
    shape = attention_shape(sizes)
    row = Row((sizes.prompt,), 1, 0, SIBLINGS, sizes.completion)
    forest = build_forest(token_paths(samples_of(row, sizes.shape["vocab_size"])))
    # PyTorch's own first: a kernel that is compiled on the spot may take all of the time, or break the CUDA context.
    for kernel in reversed(candidates("auto", device())):
        try:
            errors = relative_errors(kernel, shape, device())
            report.write(
                kernel=kernel.name,
                agrees=all(error.is_rounding() for error in errors),
                error_over_rounding={error.name: [error.mean, error.worst] for error in errors},
            )
            report.write(kernel=kernel.name, **speed(kernel, shape, forest, sizes))
        except Exception as error:  # the next kernel may do
            report.write(kernel=kernel.name, error=in_one_line(error))


def attention_shape(sizes: Sizes) -> AttentionShape:
    return AttentionShape(
        num_heads=sizes.shape["num_attention_heads"],
        num_kv_heads=sizes.shape["num_key_value_heads"],
        head_size=sizes.shape["head_dim"],
    )


def speed(kernel: AttentionKernel, shape: AttentionShape, forest: Forest, sizes: Sizes) -> dict[str, Any]:
    """Of one layer's attention over a whole micro-batch. A backward pass has 2.5 times the products of a forward."""
    inputs, weights = random_inputs(forest.num_tokens, shape, device())
    inputs = [x.to(sizes.dtype).requires_grad_() for x in inputs]
    plan = plan_attention(forest.segments, device(), kernel)

    def forward() -> torch.Tensor:
        return ForestAttention.apply(*inputs, plan, shape.head_size**-0.5)

    def both() -> None:
        torch.autograd.grad(forward(), inputs, weights.to(sizes.dtype))

    both()  # compiles what is compiled
    forward_seconds, _ = timed(lambda: forward().detach())
    seconds, _ = timed(both)
    positions = forest.position_ids
    pairs = sum(
        (s.end - s.start) * int(positions[s.start]) + (s.end - s.start) * (s.end - s.start + 1) // 2
        for s in forest.segments
    )
    flops = 4 * pairs * shape.num_heads * shape.head_size
    return {
        "num_tokens": forest.num_tokens,
        "forward_seconds": forward_seconds,
        "backward_seconds": seconds - forward_seconds,
        "forward_tflops": flops / forward_seconds / 1e12,
        "tflops": 3.5 * flops / seconds / 1e12,
    }
