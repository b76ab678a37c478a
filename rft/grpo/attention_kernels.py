"""The kernels that forest attention calls: what one launch is, and a table of what can compute it.

Shapes: T tokens of the forest, H query heads, K key / value heads (H a multiple of K), D head size; L queries and M
keys of one launch. Tensors are token-major, [T, H, D].

A kernel is a pair of functions. `forward` gives the attention of a launch's queries over the launch's keys alone, and
its log-sum-exps. `backward` gives the launch's share of the gradient, from the *merged* output and log-sum-exps of all
launches ("Gradients" in forest_attention.py); every flash attention kernel takes them as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelLaunch:
    """One call of an attention kernel: S sequences side by side, the queries of each on the keys of the same sequence.

    L is the number of queries of all sequences together, M that of their keys.

    Example, S = 1, the descendants 40..80 of the segment 0..40:
        KernelLaunch(queries=slice(40, 80), keys=slice(0, 40), causal=False, query_bounds=tensor([0, 40]),
                     key_bounds=tensor([0, 40]), longest_queries=40, longest_keys=40)
    """

    queries: slice | Tensor
    """Which of the T tokens: a slice, or int64 indices [L] where they do not stand side by side."""
    keys: slice | Tensor
    """The same for keys and values; as indices [M]."""
    causal: bool
    """A query sees the keys up to its own place, instead of all. Only where a sequence's queries are its keys."""
    query_bounds: Tensor
    """int32 [S + 1]: sequence s has the queries query_bounds[s] .. query_bounds[s + 1] of the L."""
    key_bounds: Tensor
    """int32 [S + 1]: the same among the M keys."""
    longest_queries: int
    """Queries of the sequence that has most; the kernel wants to know."""
    longest_keys: int


Forward = Callable[[KernelLaunch, Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
"""launch, queries [L, H, D], keys [M, K, D], values [M, K, D], scale -> output [L, H, D], log-sum-exps [L, H]: float32,
or float64 where the inputs are. Both are over the keys of this launch alone."""

Backward = Callable[
    [KernelLaunch, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor, Tensor]
]
"""launch, gradient of the merged output [L, H, D], queries, keys, values, merged output [L, H, D], merged log-sum-exps
[L, H], scale -> what the launch adds to the gradients of its queries, keys and values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionKernel:
    """Example: AttentionKernel(name="aten", forward=aten_forward, backward=aten_backward, many_sequences=True)"""

    name: str
    """As in train.attention_kernel."""
    forward: Forward
    backward: Backward
    many_sequences: bool
    """Takes a launch of several sequences; without, each has a launch of its own."""
    capabilities: tuple[int, ...] | None = None
    """Major compute capabilities of the GPUs it runs on; None is every one."""


# ---------------------------------------------------------------------------------------------- PyTorch's, on a CPU


def cpu_forward(launch: KernelLaunch, q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        heads_first(q), heads_first(k), heads_first(v), 0.0, launch.causal, scale=scale
    )
    return tokens_first(out), lse.squeeze(0).transpose(0, 1)  # lse [1, H, L] -> [L, H]


def cpu_backward(
    launch: KernelLaunch, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    grads = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        heads_first(grad), heads_first(q), heads_first(k), heads_first(v),
        heads_first(out), lse.transpose(0, 1).unsqueeze(0), 0.0, launch.causal, scale=scale,
    )  # fmt: skip
    grad_q, grad_k, grad_v = map(tokens_first, grads)
    return grad_q, grad_k, grad_v


def heads_first(x: Tensor) -> Tensor:
    """[L, H, D] -> [1, H, L, D], a view."""
    return x.transpose(0, 1).unsqueeze(0)


def tokens_first(x: Tensor) -> Tensor:
    """[1, H, L, D] -> [L, H, D], a view."""
    return x.squeeze(0).transpose(0, 1)


# ------------------------------------------------------------------------------- PyTorch's, on CUDA (flash attention 2)


def aten_forward(launch: KernelLaunch, q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    # The two zeros and `False`: no dropout, no debug mask.
    out, lse, *_ = torch.ops.aten._flash_attention_forward(
        q, k, v, launch.query_bounds, launch.key_bounds, launch.longest_queries, launch.longest_keys,
        0.0, launch.causal, False, scale=scale,
    )  # fmt: skip
    return out, lse.transpose(0, 1)  # lse [H, L] -> [L, H]


def aten_backward(
    launch: KernelLaunch, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    unused = torch.zeros(2, dtype=torch.uint64, device=q.device)  # the state of a dropout that is off
    grad_q, grad_k, grad_v = torch.ops.aten._flash_attention_backward(
        grad, q, k, v, out, lse.transpose(0, 1).contiguous(), launch.query_bounds, launch.key_bounds,
        launch.longest_queries, launch.longest_keys, 0.0, launch.causal, unused, unused, scale=scale,
    )  # fmt: skip
    return grad_q, grad_k, grad_v


# ------------------------------------------------------------------------------------ vLLM's wheel (flash attention 4)


def flash_attn_4_forward(launch: KernelLaunch, q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    from rft.rollout.vllm_flash_attention import flash_attn_4  # takes seconds to import

    out, lse, *_ = flash_attn_4().forward(
        q, k, v, cu_seqlens_q=launch.query_bounds, cu_seqlens_k=launch.key_bounds, max_seqlen_q=launch.longest_queries,
        max_seqlen_k=launch.longest_keys, softmax_scale=scale, causal=launch.causal, return_lse=True,
    )  # fmt: skip
    return out, lse.transpose(0, 1)  # lse [H, L] -> [L, H]


def flash_attn_4_backward(
    launch: KernelLaunch, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    from rft.rollout.vllm_flash_attention import flash_attn_4

    grad_q, grad_k, grad_v = flash_attn_4().backward(
        q, k, v, out, grad, lse.transpose(0, 1).contiguous(), softmax_scale=scale, causal=launch.causal,
        cu_seqlens_q=launch.query_bounds, cu_seqlens_k=launch.key_bounds, max_seqlen_q=launch.longest_queries,
        max_seqlen_k=launch.longest_keys,
    )  # fmt: skip
    return grad_q, grad_k, grad_v


# ------------------------------------------------------------------------------------------------------------ the table

CPU = AttentionKernel(name="aten", forward=cpu_forward, backward=cpu_backward, many_sequences=False)
ATEN = AttentionKernel(name="aten", forward=aten_forward, backward=aten_backward, many_sequences=True)
FLASH_ATTN_4 = AttentionKernel(
    name="flash_attn_4",
    forward=flash_attn_4_forward,
    backward=flash_attn_4_backward,
    many_sequences=True,
    capabilities=(9, 10, 11),  # Hopper and Blackwell
)

KERNELS: dict[str, tuple[AttentionKernel, ...]] = {"cpu": (CPU,), "cuda": (FLASH_ATTN_4, ATEN)}
"""By type of device, the fastest first."""

IN_USE: dict[str, AttentionKernel] = {"cpu": CPU, "cuda": ATEN}
"""By type of device, what a new plan takes. The start of a run puts its choice here (kernel_agreement.py)."""


def candidates(wanted: str, device: torch.device) -> list[AttentionKernel]:
    """What train.attention_kernel = `wanted` allows on `device`, the fastest first; `auto` is all that runs there."""
    named = [kernel for kernel in KERNELS[device.type] if wanted in ("auto", kernel.name)]
    if device.type != "cuda":
        return named
    capability = torch.cuda.get_device_capability(device)[0]
    return [kernel for kernel in named if kernel.capabilities is None or capability in kernel.capabilities]


def kernel_in_use(device: torch.device) -> AttentionKernel:
    """What computes attention on `device`; ATEN on a device that has shapes and no memory."""
    return IN_USE.get(device.type, ATEN)
