"""Attention over a forest of token paths: each token sees its ancestors and itself, nothing is computed twice.

Shapes: T tokens of the forest, H query heads, K key / value heads (H a multiple of K), D head size. One forest is one
row of a batch, its tensors are token-major, [T, H, D]; log-sum-exps are float32 [T, H].

What a token sees are the tokens before it on its path: those before it in its own segment, and all tokens of the
segments above. A segment's descendants stand right behind it (forest.py). So all of attention is two kinds of plain
calls on slices:

    own        a segment's queries on the same segment's keys, causal
    ancestors  the queries of all descendants of a segment on that segment's keys, no mask: each sees all of them

A token gets one partial result per call that it takes part in. A partial result is a softmax over the keys of that call
alone, and its log-sum-exp says how large the sum under that softmax was; with it the partial results are merged into
the softmax over all keys. There is no [T, T] mask, and no key or value is copied for a descendant; memory is linear
in T.

Gradients. The kernels return their log-sum-exps without a gradient. If autograd went through the merging, the gradient
that belongs to the log-sum-exps would be lost. So one autograd function holds the whole of it. Its backward pass calls
each kernel's own backward pass, but gives it the *merged* output O and log-sum-exp lse instead of the partial ones. A
kernel computes

    P = exp(QK^T * scale - lse)        dS = P * (dO V^T - rowsum(dO * O))

With the merged lse, P is the probability of a key among *all* keys that the token sees, and with the merged O the
second line is the gradient of the full softmax at the keys of this call. So each call returns its own share of the true
gradient, and the shares are added (as in ring attention, arXiv 2310.01889).

Registered with transformers as `forest`: `model(input_ids, position_ids=..., forest=plan)` with
`attn_implementation="forest"`. Without `forest` it is plain causal attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PretrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from rft.grpo.attention_kernels import AttentionKernel, KernelLaunch, kernel_in_use, tokens_first
from rft.grpo.forest import Segment

FOREST_ATTENTION = "forest"
"""The name under which transformers knows it."""

LONG_SEGMENT = 1024
"""On CUDA a segment of this many tokens or more has a kernel launch of its own. Its keys and values are then slices of
the whole, while a launch for several segments copies theirs to put them side by side."""

TokenRange = tuple[int, int]
"""Flat tokens [start, end)."""
QueriesAndKeys = tuple[TokenRange, TokenRange]
"""A range of queries, and the range of keys that these queries attend to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPlan:
    """The kernel calls that one forest's attention consists of; every layer of the model makes the same ones.

    Example, one prompt of 40 tokens with two completions of 20, on a CPU:
        AttentionPlan(kernel=CPU, own=(prompt, completion_1, completion_2), ancestors=(completions_on_prompt,))
    """

    kernel: AttentionKernel
    """What computes the launches, forward and backward."""
    own: tuple[KernelLaunch, ...]
    """Each segment's queries on its own keys: every one of the T tokens is a query exactly once."""
    ancestors: tuple[KernelLaunch, ...]
    """The queries of a segment's descendants on that segment's keys: a token is a query once per segment above it."""


def plan_attention(
    segments: Sequence[Segment], device: torch.device, kernel: AttentionKernel | None = None
) -> AttentionPlan:
    """The launches for a forest's segments.

    On a CPU one per segment, and one more per segment that has descendants. On CUDA, whose kernels take many sequences
    at once, one for all segments with themselves, and one per level of the forest, long segments apart. A level is all
    segments with equally many segments above them.

    Args:
        kernel: None is the one in use on `device`.
    """
    kernel = kernel or kernel_in_use(device)
    own: list[QueriesAndKeys] = []
    levels: list[list[QueriesAndKeys]] = []  # per level, the segments that have descendants, with these as queries
    depths: list[int] = []  # per segment, its level: 0 for a root
    for segment in segments:
        tokens = (segment.start, segment.end)
        depths.append(0 if segment.parent is None else depths[segment.parent] + 1)
        own.append((tokens, tokens))
        if segment.subtree_end > segment.end:
            levels.extend([] for _ in range(depths[-1] + 1 - len(levels)))
            levels[depths[-1]].append(((segment.end, segment.subtree_end), tokens))
    if kernel.many_sequences:
        own_groups, ancestor_groups = [own], [group for level in levels for group in split_long_segments(level)]
    else:
        own_groups, ancestor_groups = [[pair] for pair in own], [[pair] for level in levels for pair in level]
    return AttentionPlan(
        kernel=kernel,
        own=tuple(kernel_launch(group, causal=True, device=device) for group in own_groups),
        ancestors=tuple(kernel_launch(group, causal=False, device=device) for group in ancestor_groups),
    )


def split_long_segments(level: Sequence[QueriesAndKeys]) -> list[list[QueriesAndKeys]]:
    """The pairs of one level as groups, one per launch: each long segment alone, the short ones together."""
    long: list[QueriesAndKeys] = []
    short: list[QueriesAndKeys] = []
    for pair in level:
        (long if pair[1][1] - pair[1][0] >= LONG_SEGMENT else short).append(pair)
    return [*([pair] for pair in long), *([short] if short else [])]


def kernel_launch(pairs: Sequence[QueriesAndKeys], *, causal: bool, device: torch.device) -> KernelLaunch:
    """One launch for several pairs, each a sequence of its own.

    No token may be a query in two of them, nor a key in two: the results of a launch are written to its tokens in one
    go, and only one of two results for the same token would stay. Segments of one level have no descendant in common.
    """
    queries, keys = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return KernelLaunch(
        queries=slice_or_indices(queries, device),
        keys=slice_or_indices(keys, device),
        causal=causal,
        query_bounds=cumulative_lengths(queries, device),
        key_bounds=cumulative_lengths(keys, device),
        longest_queries=max(end - start for start, end in queries),
        longest_keys=max(end - start for start, end in keys),
    )


def slice_or_indices(ranges: Sequence[TokenRange], device: torch.device) -> slice | Tensor:
    """The tokens of several ranges: a slice (no copy when used) where they stand side by side, else int64 indices."""
    if all(before[1] == after[0] for before, after in pairwise(ranges)):
        return slice(ranges[0][0], ranges[-1][1])
    return torch.cat([torch.arange(start, end) for start, end in ranges]).to(device)


def cumulative_lengths(ranges: Sequence[TokenRange], device: torch.device) -> Tensor:
    """Where each of S ranges starts and ends when they are put side by side: int32 [S + 1].

    Example: the ranges (3, 5) and (7, 8) give 0, 2, 3.
    """
    return torch.tensor([0, *accumulate(end - start for start, end in ranges)], dtype=torch.int32, device=device)


# -------------------------------------------------------------------------------------------------- the whole forest


def attend(q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan, scale: float) -> tuple[Tensor, Tensor]:
    """q [T, H, D], k and v [T, K, D] -> output [T, H, D] in q's type and log-sum-exps [T, H], over all a token sees.

    Partial results are merged in float32 (float64 where the inputs are), whatever the inputs' type.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    merged = torch.empty_like(q, dtype=wide, memory_format=torch.contiguous_format)
    lse = torch.empty(q.shape[:2], dtype=wide, device=q.device)

    def partial(launch: KernelLaunch) -> tuple[Tensor, Tensor]:
        return plan.kernel.forward(launch, q[launch.queries], k[launch.keys], v[launch.keys], scale)

    # The first partial result of every token fills the empty tensors; each later one is merged in.
    for own in plan.own:
        merged[own.queries], lse[own.queries] = partial(own)
    for ancestor in plan.ancestors:
        merge_partial_attention(merged, lse, ancestor.queries, *partial(ancestor))
    return merged.to(q.dtype), lse


class ForestAttention(torch.autograd.Function):
    """q [T, H, D], k and v [T, K, D] -> output [T, H, D]; gradients are summed as partial results are merged."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan, scale: float) -> Tensor:
        out, lse = attend(q, k, v, plan, scale)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.plan, ctx.scale = plan, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        q, k, v, out, lse = ctx.saved_tensors
        plan: AttentionPlan = ctx.plan
        grad_q, grad_k, grad_v = (torch.empty_like(x, dtype=lse.dtype) for x in (q, k, v))

        def partial(launch: KernelLaunch) -> tuple[Tensor, Tensor, Tensor]:
            queries, keys = launch.queries, launch.keys
            return plan.kernel.backward(
                launch, grad[queries], q[queries], k[keys], v[keys], out[queries], lse[queries], ctx.scale
            )

        # As forward: every token is once a query and once a key of its own segment, which fills the empty tensors.
        for own in plan.own:
            grad_q[own.queries], grad_k[own.keys], grad_v[own.keys] = partial(own)
        for ancestor in plan.ancestors:
            part_q, part_k, part_v = partial(ancestor)
            add_to_tokens(grad_q, ancestor.queries, part_q)
            add_to_tokens(grad_k, ancestor.keys, part_k)
            add_to_tokens(grad_v, ancestor.keys, part_v)
        return grad_q.to(q.dtype), grad_k.to(k.dtype), grad_v.to(v.dtype), None, None


def merge_partial_attention(out: Tensor, lse: Tensor, at: slice | Tensor, part: Tensor, part_lse: Tensor) -> None:
    """Merges one more partial result into `out[at]` and `lse[at]`, in place.

    exp(lse) is the sum under the softmax over the keys so far, exp(part_lse) that over the part's keys. Of both
    together the part has the share w = exp(part_lse) / (exp(lse) + exp(part_lse)) = sigmoid(part_lse - lse), so

        out = (1 - w) out + w part        lse = log(exp(lse) + exp(part_lse))

    Args:
        out: [T, H, D] and lse: [T, H]: merged so far.
        at: the L tokens that the part is about.
        part: [L, H, D] and part_lse: [L, H]: the partial result.
    """
    before = lse[at]
    share = torch.sigmoid(part_lse - before).unsqueeze(-1)  # w, [L, H, 1]
    if isinstance(at, slice):  # a slice is a view, which can be changed in place; indices make a copy
        out[at].lerp_(part.to(out.dtype), share)
    else:
        out[at] = torch.lerp(out[at], part.to(out.dtype), share)
    lse[at] = torch.logaddexp(before, part_lse)


def add_to_tokens(total: Tensor, at: slice | Tensor, part: Tensor) -> None:
    """`total[at] += part` in place: total [T, ...], part [L, ...] of the L tokens `at`."""
    if isinstance(at, slice):
        total[at].add_(part)
    else:
        total.index_add_(0, at, part.to(total.dtype))


# ------------------------------------------------------------------------------------------------ with transformers


def forest_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    forest: AttentionPlan | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: query [1, H, T, D], key and value [1, K, T, D] -> [1, T, H, D]."""
    if forest is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    assert attention_mask is None and len(query) == 1, "a forest is one row, and its plan says who sees whom"
    # Under autocast the layer norms of queries and keys (Qwen3 has them) return float32, while values stay 16 bits. The
    # kernels want one type, so all three are cast as autocast casts the inputs of plain attention.
    device = query.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype
    q, k, v = (tokens_first(x).to(dtype) for x in (query, key, value))
    scale = scaling if scaling is not None else q.shape[-1] ** -0.5
    return ForestAttention.apply(q, k, v, forest, scale).unsqueeze(0), None


def no_attention_mask(*args: Any, attention_mask: Tensor | None = None, **kwargs: Any) -> None:
    """transformers' mask interface: a forest has none, and a plain batch needs none, being padded on the right."""
    assert attention_mask is None, "forest attention takes no mask"


AttentionInterface.register(FOREST_ATTENTION, forest_attention_forward)
AttentionMaskInterface.register(FOREST_ATTENTION, no_attention_mask)


def check_supported(config: PretrainedConfig) -> None:
    """Refuses models whose tokens look at each other in other ways than full attention over rotary positions.

    Raises:
        ValueError: names the model type and what it has.
    """
    settings = config.get_text_config().to_dict()
    layers = set(settings.get("layer_types") or ["full_attention"])
    rope = settings.get("rope_parameters") or {}
    kinds = {name: settings.get(name) for name in settings if name.startswith(("mamba", "ssm", "linear_"))}
    reasons = {
        "sliding-window attention": bool(settings.get("sliding_window")) or "sliding_attention" in layers,
        "state-space or recurrent layers": bool(kinds),
        f"{', '.join(sorted(layers - {'full_attention'}))} layers": layers != {"full_attention"},
        "no rotary positions": not rope,
        "rotary positions that depend on the length of the batch": rope.get("rope_type") in ("dynamic", "longrope"),
        "soft-capped attention": settings.get("attn_logit_softcapping") is not None,
        "attention dropout": bool(settings.get("attention_dropout")),
        "multi-head latent attention": "kv_lora_rank" in settings,
    }
    for reason, applies in reasons.items():
        if applies:
            raise ValueError(
                f"train.shared_prefix does not work with {settings.get('model_type')}: it has {reason}; "
                "set train.shared_prefix=false"
            )


def check_dtype(dtype: torch.dtype, device: torch.device) -> None:
    """Refuses what the kernels on `device` do not compute in.

    Raises:
        ValueError: float32 on a GPU, whose flash kernels take 16 bits.
    """
    if device.type == "cuda" and dtype == torch.float32:
        raise ValueError(
            "train.shared_prefix does not compute in float32 on a GPU; set model.dtype=bfloat16, or "
            "train.shared_prefix=false"
        )
