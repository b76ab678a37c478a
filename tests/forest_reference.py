"""Attention over a forest the plain way: each path alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rft.grpo.forest import Forest


def tensors(
    forest: Forest, heads: int, groups: int, dtype: torch.dtype, seed: int, size: int = 8
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries of `heads` heads, keys and values of `groups` heads, each of `size` numbers."""
    generator = torch.Generator().manual_seed(seed)

    def normal(count: int) -> Tensor:
        values = torch.randn(forest.num_tokens, count, size, generator=generator, dtype=torch.float64)
        return values.to(dtype).requires_grad_()

    return normal(heads), normal(groups), normal(groups)


def along_paths(forest: Forest, num_paths: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Plain causal attention of each path alone, written to its tokens."""
    out = torch.zeros_like(q)
    for path in range(num_paths):
        at = torch.from_numpy(forest.path_indices(path))
        if len(at):
            one = [x[at].transpose(0, 1).unsqueeze(0) for x in (q, k, v)]
            plain = scaled_dot_product_attention(one[0], one[1], one[2], is_causal=True, scale=scale, enable_gqa=True)
            out = out.index_copy(0, at, plain.squeeze(0).transpose(0, 1))
    return out
