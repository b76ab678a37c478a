"""Liger-kernel's RMSNorm, SwiGLU and rotary positions in our pass: a forest, and log-probs in place of logits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from transformers.models.qwen3 import modeling_qwen3
from transformers.utils import is_liger_kernel_available

from rft.config import TrainConfig
from rft.grpo.forest_attention import FOREST_ATTENTION
from rft.grpo.layers import prepare_layers
from rft.grpo.logprobs import dense_logprobs, forest_logprobs
from tests.tiny import gradient_difference, gradients, random_paths, samples_of_paths, tiny_qwen3

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not is_liger_kernel_available(), reason="liger-kernel is not installed"),
]

SAMPLES = samples_of_paths([path for seed in range(3, 8) for path in random_paths(seed)])


@pytest.fixture(autouse=True)
def unpatched() -> Iterator[None]:
    """Liger-kernel replaces names of the module that models come from."""
    names = ("apply_rotary_pos_emb", "Qwen3RMSNorm", "Qwen3MLP")
    before = {name: getattr(modeling_qwen3, name) for name in names}
    yield
    for name, value in before.items():
        setattr(modeling_qwen3, name, value)


@pytest.mark.parametrize(
    "settings", [{}, {"tiled_mlp": True, "activation_offloading": True}], ids=["", "with the rest"]
)
def test_log_probs_and_gradients_are_those_of_the_plain_layers(settings: dict[str, bool]) -> None:
    """Under autocast, as one GPU trains; positions restart where branches do."""
    found = []
    for fused in (False, True):
        model = tiny_qwen3(True, attn_implementation=FOREST_ATTENTION if fused else "sdpa").cuda()
        if fused:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            prepare_layers(model, TrainConfig(use_liger_kernel=True, gradient_checkpointing=True, **settings))
        # The kernels of attention take 16 bits.
        with torch.autocast("cuda", torch.bfloat16):
            path = forest_logprobs if fused else dense_logprobs
            logps = path(model.train(), SAMPLES, 1.0, entropy=False).logps
        logps.mean().backward()
        found.append((logps.detach(), gradients(model)))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=0.05, atol=0.05)
    assert gradient_difference(found[1][1], found[0][1]) <= 0.1
