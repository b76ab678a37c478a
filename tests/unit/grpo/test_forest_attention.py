"""Attention over a forest against plain attention along each path, and its gradients against finite differences."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    FalconH1Config,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3NextConfig,
)

from rft.grpo.forest import Segment, build_forest
from rft.grpo.forest_attention import (
    LONG_SEGMENT,
    ForestAttention,
    check_dtype,
    check_supported,
    plan_attention,
    split_long_segments,
)
from tests.forest_reference import along_paths, tensors
from tests.tiny import random_paths

CPU = torch.device("cpu")


@pytest.mark.parametrize("seed", range(40))
def test_equals_attention_along_each_path(seed: int) -> None:
    paths = random_paths(seed)
    forest = build_forest(paths)
    q, k, v = tensors(forest, heads=4, groups=[1, 2, 4][seed % 3], dtype=torch.float32, seed=seed)
    ours = ForestAttention.apply(q, k, v, plan_attention(forest.segments, CPU), 0.4)
    plain = along_paths(forest, len(paths), q, k, v, 0.4)
    torch.testing.assert_close(ours, plain, rtol=0, atol=2e-6)
    weights = torch.randn_like(q)
    found = torch.autograd.grad((ours * weights).sum(), (q, k, v))
    # Every token counts once in the sum, and a path's tokens are those of all paths that share them.
    expected = torch.autograd.grad((plain * weights).sum(), (q, k, v))
    for left, right in zip(found, expected, strict=True):
        assert (left - right).abs().max() <= 1e-5 * right.abs().max()


def test_gradcheck() -> None:
    forest = build_forest([(1, 2, 3, 4), (1, 2, 5), (1, 2, 3, 6, 7), (8, 9), (8,), (1,)])
    plan = plan_attention(forest.segments, CPU)
    inputs = tensors(forest, heads=4, groups=2, dtype=torch.float64, seed=0)
    assert torch.autograd.gradcheck(lambda q, k, v: ForestAttention.apply(q, k, v, plan, 0.3), inputs)


def test_bfloat16_is_as_near_as_its_rounding() -> None:
    paths = random_paths(3)
    forest = build_forest(paths)
    exact = tensors(forest, heads=4, groups=2, dtype=torch.float32, seed=1)
    plan = plan_attention(forest.segments, CPU)
    rounded = ForestAttention.apply(*(x.bfloat16() for x in exact), plan, 0.4)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), ForestAttention.apply(*exact, plan, 0.4), rtol=2e-2, atol=2e-2)


def test_calls_grow_with_segments_not_with_tokens() -> None:
    def launches(prompt: int, completion: int, siblings: int) -> tuple[int, int]:
        paths = [(*range(prompt), *range(1000 * n, 1000 * n + completion)) for n in range(1, siblings + 1)]
        plan = plan_attention(build_forest(paths).segments, CPU)
        return len(plan.own), len(plan.ancestors)

    assert launches(10, 5, 3) == launches(500, 200, 3) == (4, 1)
    assert launches(10, 5, 8) == (9, 1)


@pytest.mark.parametrize("seed", range(10))
def test_on_a_gpu_a_level_is_one_launch(seed: int) -> None:
    """The grouped launches hold the same pairs, and no token twice. (The kernels themselves need a GPU.)"""
    segments = build_forest(random_paths(seed)).segments
    grouped = plan_attention(segments, torch.device("meta"))
    single = plan_attention(segments, CPU)
    assert len(grouped.own) == 1 and grouped.own[0].queries == slice(0, segments[-1].end)
    depth = max(len(ancestors(segments, index)) for index in range(len(segments)))
    assert len(grouped.ancestors) == depth
    assert sum(launch.query_bounds.numel() - 1 for launch in grouped.ancestors) == len(single.ancestors)


def ancestors(segments: tuple[Segment, ...], index: int) -> list[int]:
    parent = segments[index].parent
    return [] if parent is None else [parent, *ancestors(segments, parent)]


def test_long_segments_have_a_launch_of_their_own() -> None:
    pairs = [((0, 5), (0, LONG_SEGMENT)), ((0, 5), (0, 3)), ((0, 5), (0, 4))]
    assert split_long_segments(pairs) == [[pairs[0]], [pairs[1], pairs[2]]]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (MistralConfig(), "sliding-window"),
        (Gemma2Config(), "sliding-window"),
        (GPT2Config(), "no rotary positions"),
        (MambaConfig(), "no rotary positions|state-space"),
        (FalconH1Config(), "state-space"),
        (Qwen3NextConfig(), "linear_attention|state-space"),
        (LlamaConfig(attention_dropout=0.1), "attention dropout"),
        (
            LlamaConfig(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}),
            "depend on the length",
        ),
    ],
    ids=lambda value: getattr(value, "model_type", None),
)
def test_what_it_cannot_serve_is_refused_by_name(config: PretrainedConfig, reason: str) -> None:
    with pytest.raises(ValueError, match=f"{config.model_type}: it has .*({reason}).*; set train.shared_prefix=false"):
        check_supported(config)


@pytest.mark.parametrize("config", [Qwen3Config(), Qwen2Config(), LlamaConfig()], ids=lambda c: c.model_type)
def test_what_it_serves(config: PretrainedConfig) -> None:
    check_supported(config)


def test_float32_on_a_gpu_is_refused() -> None:
    check_dtype(torch.float32, CPU)
    check_dtype(torch.bfloat16, torch.device("cuda"))
    with pytest.raises(ValueError, match=r"model\.dtype=bfloat16"):
        check_dtype(torch.float32, torch.device("cuda"))
