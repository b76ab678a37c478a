"""A LoRA adapter as files in peft's layout, which vLLM serves beside the base weights (rollout.lora=adapter)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rft.config import Config, LoraConfig

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM 0.31 can make room for."""


def sent_adapter(config: Config) -> LoraConfig | None:
    """The adapter that a run sends to its engine as it is; None where whole weights are sent."""
    return config.model.lora if config.rollout.lora == "adapter" else None


def engine_rank(rank: int) -> int:
    """The least room that vLLM can make for adapters of this rank."""
    return next(room for room in RANKS if room >= rank)


def write_adapter(folder: Path, weights: Iterable[tuple[str, Tensor]], lora: LoraConfig) -> None:
    """Writes an adapter to a folder that exists.

    Args:
        weights: `named_adapter_weights` (weights.py).
    """
    from safetensors.torch import save_file  # imports torch, and a wrong config is told before that

    # Copies of their own: safetensors takes no tensors that share memory, and no strides.
    held = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights}
    modules = sorted({name.split(".")[-3] for name in held})
    save_file(held, folder / WEIGHTS)
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "bias": "none",
        "target_modules": modules,
        "r": lora.r,
        "lora_alpha": lora.lora_alpha,
    }
    (folder / CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
