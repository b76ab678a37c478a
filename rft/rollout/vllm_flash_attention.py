"""Flash attention 4 with its backward pass, as vLLM's wheel for CUDA ships it.

It stands here because vLLM is imported in rollout/ and nowhere else: the training step that calls it (grpo/) asks for
two functions, and does not know where they come from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from rft.rollout.vllm_side_effects import quiet


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashAttention4:
    """Example: FlashAttention4(forward=_flash_attn_fwd, backward=_flash_attn_bwd)"""

    forward: Callable[..., Any]
    """q [L, H, D], k [M, K, D], v [M, K, D], keywords -> out [L, H, D], lse [H, L] float32, and two unused."""
    backward: Callable[..., Any]
    """q, k, v, out, grad, lse, keywords -> gradients of q, k, v."""


@cache
def flash_attn_4() -> FlashAttention4:
    """The two functions under vLLM's autograd function, which merging partial results has to go around.

    They compile their kernels when they are first called, which takes up to a minute.

    Raises:
        ImportError: this vLLM has none, such as the one for CPUs.
    """
    quiet()
    from vllm.vllm_flash_attn.cute.interface import _flash_attn_bwd, _flash_attn_fwd

    return FlashAttention4(forward=_flash_attn_fwd, backward=_flash_attn_bwd)
