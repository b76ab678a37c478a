"""What a GPU's attention kernel holds while its backward pass runs; fake tensors know its results and nothing else.

Shapes: as in rft/grpo/attention_kernels.py.

PyTorch's flash attention adds up the gradients of queries in float32, with free rows between sequences, and computes
the gradients of keys and values once per query head before it adds those of one key head together (`mha_varlen_bwd` in
PyTorch's aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp). Flash attention 4 adds up all three in
float32, keys and values by key head: no more than that.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from rft.grpo.attention_kernels import ATEN, KernelLaunch

FREE_ROWS = 128
"""Between the sequences of one launch, in what is added up."""
SIZE_STEP = 32
"""Of head sizes there."""


def backward_with_workspace(
    launch: KernelLaunch, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """As `ATEN.backward`, with the kernel's own memory alive meanwhile."""
    workspace = backward_workspace(launch, q, k)
    grads = ATEN.backward(launch, grad, q, k, v, out, lse, scale)
    del workspace
    return grads


def backward_workspace(launch: KernelLaunch, q: Tensor, k: Tensor) -> list[Tensor]:
    """What the kernel allocates besides its results, for q [L, H, D] and k [M, K, D]."""
    heads, size = q.shape[1:]
    rows = len(q) + FREE_ROWS * (len(launch.query_bounds) - 1)
    held = [
        q.new_empty(rows, heads, math.ceil(size / SIZE_STEP) * SIZE_STEP, dtype=torch.float32),
        q.new_empty(heads, rows, dtype=torch.float32),
    ]
    if k.shape[1] != heads:
        held += [k.new_empty(len(k), heads, size) for _ in range(2)]
    return held


ATEN_ON_A_GPU = replace(ATEN, backward=backward_with_workspace)
"""For fake tensors."""
