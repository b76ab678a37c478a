"""Offloaded layer inputs and tiled MLPs on a GPU: copies beside the computation change no bit, and memory falls."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import Qwen3ForCausalLM

from rft.config import TrainConfig
from rft.grpo import tiled_mlp
from rft.grpo.forest_attention import FOREST_ATTENTION
from rft.grpo.layers import prepare_layers
from rft.grpo.logprobs import forest_logprobs
from rft.records import Sample
from tests.tiny import VOCAB_SIZE, gradient_difference, gradients, tiny_qwen3

pytestmark = pytest.mark.gpu

DEVICE = torch.device("cuda")
NUM_TOKENS, HIDDEN, WIDE, NUM_LAYERS = 20_000, 256, 2048, 8
GENERATOR = torch.Generator().manual_seed(0)
SAMPLE = Sample(
    prompt_ids=tuple(torch.randint(2, VOCAB_SIZE, (NUM_TOKENS - 100,), generator=GENERATOR).tolist()),
    completion_ids=tuple(torch.randint(2, VOCAB_SIZE, (100,), generator=GENERATOR).tolist()),
    sampling_logprobs=(-1.0,) * 100,
    advantage=1.0,
    group="train/0",
)


def make(**settings: bool) -> Qwen3ForCausalLM:
    model = tiny_qwen3(
        True, attn_implementation=FOREST_ATTENTION,
        hidden_size=HIDDEN, intermediate_size=WIDE, num_hidden_layers=NUM_LAYERS, head_dim=64,
    )  # fmt: skip
    model.gradient_checkpointing_enable({"use_reentrant": False})
    prepare_layers(model, TrainConfig(gradient_checkpointing=True, **settings))
    return model.to(DEVICE, torch.bfloat16).train()


def step(model: Qwen3ForCausalLM) -> tuple[Tensor, dict[str, Tensor], int]:
    """Log-probs, gradients of three micro-batches, and bytes at the peak."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    for _ in range(3):
        logps = forest_logprobs(model, [SAMPLE], 1.0, entropy=False).logps
        logps.mean().backward()
    torch.cuda.synchronize()
    return logps.detach(), gradients(model), torch.cuda.max_memory_allocated() - before


def deterministic(model: Qwen3ForCausalLM) -> tuple[Tensor, dict[str, Tensor], int]:
    """The backward pass of the attention adds in whatever order comes up, unless it is told not to."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        return step(model)
    finally:
        torch.use_deterministic_algorithms(False)


def test_offloading_changes_no_bit_and_saves_the_inputs() -> None:
    plain, expected, peak = deterministic(make())
    ours, found, lower = deterministic(make(activation_offloading=True))
    assert torch.equal(ours, plain)
    assert gradient_difference(found, expected) == 0.0
    one_input = NUM_TOKENS * HIDDEN * 2
    assert peak - lower >= (NUM_LAYERS - 3) * one_input


def test_tiling_saves_the_wide_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiled_mlp, "TILE_TOKENS", 2048)
    plain, expected, peak = step(make())
    ours, found, lower = step(make(tiled_mlp=True))
    torch.testing.assert_close(ours, plain, rtol=0, atol=0.05)
    assert gradient_difference(found, expected) <= 0.05
    assert peak - lower >= 2 * NUM_TOKENS * WIDE * 2, "at least two of the wide tensors"


def test_all_of_it_together() -> None:
    plain, expected, peak = step(make())
    ours, found, lower = step(make(tiled_mlp=True, activation_offloading=True))
    torch.testing.assert_close(ours, plain, rtol=0, atol=0.05)
    assert gradient_difference(found, expected) <= 0.05 and lower < peak
