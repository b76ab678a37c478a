"""When a GPU's engine gets cascade attention."""

from __future__ import annotations

import pytest
import torch

from rft.config import load_config
from rft.rollout.vllm_cascade import DecodeShape, choose_cascade
from rft.tasks.registry import task_class


def test_auto_is_for_completions_that_share_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """By vLLM's formula, with the shape of Qwen3-4B on a card like an H100."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.delenv("VLLM_USE_V2_MODEL_RUNNER", raising=False)
    shape = DecodeShape(heads=32, kv_heads=8, token_bytes=147_456)
    assert shape.cascades(37_000, 17) and not shape.cascades(37_000, 16) and not shape.cascades(255, 64)

    def chosen(path: str, *overrides: str) -> bool:
        config = load_config(path, list(overrides))
        return choose_cascade(config.rollout, shape, task_class(config).longest_shared_prefix(config))

    assert chosen("configs/qwen3_4b.yaml") and chosen("configs/qwen3_4b_128k.yaml")
    assert not chosen("configs/qwen3_4b.yaml", "data.questions_per_context=1")
    assert not chosen("configs/qwen3_4b.yaml", "rollout.cascade_attention=off")
    assert not chosen("configs/qwen3_4b_memory.yaml")
    assert chosen("configs/qwen3_4b_memory.yaml", "rollout.cascade_attention=on")
    assert not chosen("configs/qwen3_4b.yaml", "data.max_prompt_length=500"), "too little to pay for another runner"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (10, 0))
    assert not chosen("configs/qwen3_4b.yaml"), "FlashInfer, vLLM's choice there, has none"
    monkeypatch.setenv("VLLM_USE_V2_MODEL_RUNNER", "1")
    with pytest.raises(ValueError, match="VLLM_USE_V2_MODEL_RUNNER asks for V2"):
        chosen("configs/qwen3_4b.yaml", "rollout.cascade_attention=on")
