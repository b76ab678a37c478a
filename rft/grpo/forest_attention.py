"""Attention over a forest of token paths: each token sees its ancestors and itself, nothing is computed twice.

Shapes: T tokens of the forest, H query heads, K key / value heads (H a multiple of K), D head size. Tensors of one pack
are token-major, [T, H, D]; log-sum-exps are float32 [T, H].

A segment's descendants stand right behind it (forest.py), so all of attention is two kinds of plain calls on slices: a
segment with itself, causal; and the descendants of a segment with that segment, no mask at all. A token's partial
results are merged by their log-sum-exps. There is no [T, T] mask, and no key or value is copied for a descendant;
memory is linear in T.

The kernels' log-sum-exps carry no gradient, so merging them under autograd would lose a part of it. Instead one
autograd function holds the whole: the backward of each call is given the *merged* output and log-sum-exp, for which the
kernel's own formula, dS = P * (dO V^T - rowsum(dO * O)) with P = exp(QK^T * scale - lse), is the right one (as in ring
attention, arXiv 2310.01889). Its parts then simply add up.

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

from rft.grpo.forest import Segment

NAME = "forest"

LONG_SEGMENT = 1024
"""Tokens from which a segment's keys get a kernel launch of their own on CUDA, which spares their copy."""

Range = tuple[int, int]
Pair = tuple[Range, Range]
"""Queries [start, end) and the keys [start, end) that all of them attend to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One kernel launch: queries and keys as rows of the pack, cut into sequences that do not see each other.

    Example, the descendants 40..80 of the segment 0..40:
        Launch(queries=slice(40, 80), keys=slice(0, 40), causal=False, query_bounds=tensor([0, 40]),
               key_bounds=tensor([0, 40]), longest_queries=40, longest_keys=40)
    """

    queries: slice | Tensor
    """Which rows: a slice, or int64 indices where they are not contiguous."""
    keys: slice | Tensor
    causal: bool
    """Only where each sequence's queries are its keys."""
    query_bounds: Tensor
    """int32 [S + 1]: where each of the S sequences starts and ends among the queries."""
    key_bounds: Tensor
    longest_queries: int
    longest_keys: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPlan:
    """What one pack's attention consists of, the same for every layer.

    Example, one prompt of 40 tokens with two completions of 20, on a CPU:
        AttentionPlan(own=(prompt, completion_1, completion_2), ancestors=(completions_on_prompt,))
    """

    own: tuple[Launch, ...]
    """Each segment with itself: every token is a query exactly once."""
    ancestors: tuple[Launch, ...]
    """The descendants of each segment with that segment."""


def plan_attention(segments: Sequence[Segment], device: torch.device) -> AttentionPlan:
    """The launches for a forest's segments.

    On a CPU one per segment, and one more per segment that has descendants. On CUDA one for all segments with
    themselves, and one per level of the forest, long segments apart.
    """
    own: list[Pair] = []
    levels: list[list[Pair]] = []
    depths: list[int] = []
    for segment in segments:
        tokens = (segment.start, segment.end)
        depths.append(0 if segment.parent is None else depths[segment.parent] + 1)
        own.append((tokens, tokens))
        if segment.subtree_end > segment.end:
            levels.extend([] for _ in range(depths[-1] + 1 - len(levels)))
            levels[depths[-1]].append(((segment.end, segment.subtree_end), tokens))
    if device.type == "cpu":
        own_groups, ancestor_groups = [[pair] for pair in own], [[pair] for level in levels for pair in level]
    else:
        own_groups, ancestor_groups = [own], [group for level in levels for group in split_long(level)]
    return AttentionPlan(
        own=tuple(launch(group, causal=True, device=device) for group in own_groups),
        ancestors=tuple(launch(group, causal=False, device=device) for group in ancestor_groups),
    )


def split_long(level: Sequence[Pair]) -> list[list[Pair]]:
    """Long segments one by one, the short ones together."""
    short = [pair for pair in level if pair[1][1] - pair[1][0] < LONG_SEGMENT]
    return [*([pair] for pair in level if pair not in short), *([short] if short else [])]


def launch(pairs: Sequence[Pair], *, causal: bool, device: torch.device) -> Launch:
    """One launch for pairs whose queries, and whose keys, do not overlap."""
    queries, keys = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return Launch(
        queries=rows(queries, device),
        keys=rows(keys, device),
        causal=causal,
        query_bounds=bounds(queries, device),
        key_bounds=bounds(keys, device),
        longest_queries=max(end - start for start, end in queries),
        longest_keys=max(end - start for start, end in keys),
    )


def rows(ranges: Sequence[Range], device: torch.device) -> slice | Tensor:
    if all(before[1] == after[0] for before, after in pairwise(ranges)):
        return slice(ranges[0][0], ranges[-1][1])
    return torch.cat([torch.arange(start, end) for start, end in ranges]).to(device)


def bounds(ranges: Sequence[Range], device: torch.device) -> Tensor:
    return torch.tensor([0, *accumulate(end - start for start, end in ranges)], dtype=torch.int32, device=device)


# ---------------------------------------------------------------------------------------------------------- kernels


def attend(launch: Launch, q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Output [L, H, D] and log-sum-exp [L, H] of the launch's L queries, from q [T, H, D] and k, v [T, K, D]."""
    queries, keys, values = q[launch.queries], k[launch.keys], v[launch.keys]
    if q.device.type == "cpu":
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            heads_first(queries), heads_first(keys), heads_first(values), 0.0, launch.causal, scale=scale
        )
        return tokens_first(out), lse.squeeze(0).transpose(0, 1)
    out, lse, *_ = torch.ops.aten._flash_attention_forward(
        queries, keys, values, launch.query_bounds, launch.key_bounds, launch.longest_queries, launch.longest_keys,
        0.0, launch.causal, False, scale=scale,
    )  # fmt: skip
    return out, lse.transpose(0, 1)


def attend_backward(
    launch: Launch, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What the launch adds to the gradients of its queries [L, H, D] and of its keys and values [M, K, D].

    `out` [T, H, D] and `lse` [T, H] are the merged ones, `grad` is that of the merged output.
    """
    grad, out, lse = grad[launch.queries], out[launch.queries], lse[launch.queries].transpose(0, 1)
    queries, keys, values = q[launch.queries], k[launch.keys], v[launch.keys]
    if q.device.type == "cpu":
        grads = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            heads_first(grad), heads_first(queries), heads_first(keys), heads_first(values),
            heads_first(out), lse.unsqueeze(0), 0.0, launch.causal, scale=scale,
        )  # fmt: skip
        grad_q, grad_k, grad_v = map(tokens_first, grads)
        return grad_q, grad_k, grad_v
    unused = torch.zeros(2, dtype=torch.uint64, device=q.device)  # the state of a dropout that is off
    grad_q, grad_k, grad_v = torch.ops.aten._flash_attention_backward(
        grad, queries, keys, values, out, lse.contiguous(), launch.query_bounds, launch.key_bounds,
        launch.longest_queries, launch.longest_keys, 0.0, launch.causal, unused, unused, scale=scale,
    )  # fmt: skip
    return grad_q, grad_k, grad_v


def heads_first(x: Tensor) -> Tensor:
    """[L, H, D] -> [1, H, L, D], a view."""
    return x.transpose(0, 1).unsqueeze(0)


def tokens_first(x: Tensor) -> Tensor:
    """[1, H, L, D] -> [L, H, D], a view."""
    return x.squeeze(0).transpose(0, 1)


# -------------------------------------------------------------------------------------------------- the whole forest


class ForestAttention(torch.autograd.Function):
    """q [T, H, D], k and v [T, K, D] -> output [T, H, D]. Sums are kept in float32 at least."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan, scale: float) -> Tensor:
        wide = torch.promote_types(q.dtype, torch.float32)
        merged = torch.empty_like(q, dtype=wide, memory_format=torch.contiguous_format)
        lse = torch.empty(q.shape[:2], dtype=wide, device=q.device)
        for own in plan.own:
            merged[own.queries], lse[own.queries] = attend(own, q, k, v, scale)
        for ancestor in plan.ancestors:
            merge(merged, lse, ancestor.queries, *attend(ancestor, q, k, v, scale))
        out = merged.to(q.dtype)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.plan, ctx.scale = plan, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        q, k, v, out, lse = ctx.saved_tensors
        grad_q, grad_k, grad_v = (torch.empty_like(x, dtype=lse.dtype) for x in (q, k, v))
        for own in ctx.plan.own:
            parts = attend_backward(own, grad, q, k, v, out, lse, ctx.scale)
            grad_q[own.queries], grad_k[own.keys], grad_v[own.keys] = parts
        for ancestor in ctx.plan.ancestors:
            part_q, part_k, part_v = attend_backward(ancestor, grad, q, k, v, out, lse, ctx.scale)
            add(grad_q, ancestor.queries, part_q)
            add(grad_k, ancestor.keys, part_k)
            add(grad_v, ancestor.keys, part_v)
        return grad_q.to(q.dtype), grad_k.to(k.dtype), grad_v.to(v.dtype), None, None


def merge(out: Tensor, lse: Tensor, at: slice | Tensor, part: Tensor, part_lse: Tensor) -> None:
    """Takes one more partial result into `out[at]` and `lse[at]`.

    With w = sigmoid(part_lse - lse), the part's share of all probability so far: out = (1 - w) out + w part.
    """
    before = lse[at]
    share = torch.sigmoid(part_lse - before).unsqueeze(-1)
    if isinstance(at, slice):
        out[at].lerp_(part.to(out.dtype), share)
    else:
        out[at] = torch.lerp(out[at], part.to(out.dtype), share)
    lse[at] = torch.logaddexp(before, part_lse)


def add(total: Tensor, at: slice | Tensor, part: Tensor) -> None:
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
    assert attention_mask is None and len(query) == 1, "a pack is one row, and its plan says who sees whom"
    # Under autocast the norms of queries and keys leave float32; plain attention would cast back as well.
    device = query.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype
    q, k, v = (tokens_first(x).to(dtype) for x in (query, key, value))
    scale = scaling if scaling is not None else q.shape[-1] ** -0.5
    return ForestAttention.apply(q, k, v, forest, scale).unsqueeze(0), None


def no_mask(*args: Any, attention_mask: Tensor | None = None, **kwargs: Any) -> None:
    """transformers' mask interface: a pack has none, and a plain batch is padded on the right."""
    assert attention_mask is None, "forest attention takes no mask"


AttentionInterface.register(NAME, forest_attention_forward)
AttentionMaskInterface.register(NAME, no_mask)


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
