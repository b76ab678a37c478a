"""Whether cascade attention pays: a prefix that all running sequences share is then read once per decode step.

On CUDA vLLM has two model runners. V2 is its default; V1, the only one on a CPU, is the only one with cascade
attention. prefix_groups.py decides which requests run together where there is cascade attention.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PretrainedConfig

from rft.config import ModelConfig, RolloutConfig
from rft.models import read_settings
from rft.rollout.prefix_groups import DecodeCost

if TYPE_CHECKING:
    from vllm import LLM

NO_PREFIX = (0, 1)
"""Of requests that have nothing in common: no tokens, one request."""

STEP_OVERHEAD_BYTES = 6 * 10**9
"""What a GPU could read while the kernels of one decode step are launched: 2 ms at 3 TB/s. Estimated, not measured."""

CASCADING_BACKEND = "FLASH_ATTN"
"""vLLM's name of the attention that has cascade, its default on cards up to Hopper."""

H100_PROCESSORS = 132
"""Streaming multiprocessors of the card whose choice is taken where there is no card to ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeShape:
    """What of a model's attention decides whether cascade attention pays.

    Example, Qwen3-4B in bfloat16:
        DecodeShape(heads=32, kv_heads=8, token_bytes=147_456)
    """

    heads: int
    kv_heads: int
    token_bytes: int
    """Keys and values of one token, over all layers."""

    def cascades(self, prefix: int, requests: int) -> bool:
        """vLLM's own choice in a decode step of `requests` sequences that begin with the same `prefix` tokens."""
        from vllm.v1.attention.backends.flash_attn import use_cascade_attention

        processors = H100_PROCESSORS
        if torch.cuda.is_available():
            processors = torch.cuda.get_device_properties(torch.cuda.current_device()).multi_processor_count
        return bool(
            use_cascade_attention(
                common_prefix_len=prefix,
                query_lens=np.ones(requests, dtype=np.int32),
                num_query_heads=self.heads,
                num_kv_heads=self.kv_heads,
                use_alibi=False,
                use_sliding_window=False,
                use_local_attention=False,
                num_sms=processors,
                dcp_world_size=1,
            )
        )


def decode_shape(model_name_or_path: str, revision: str | None, dtype: torch.dtype) -> DecodeShape | None:
    """From the model's config.json; None where it has no attention of the usual kind."""
    settings = read_settings(ModelConfig(model_name_or_path=model_name_or_path, model_revision=revision))
    text: PretrainedConfig = settings.get_text_config()
    heads, layers = getattr(text, "num_attention_heads", None), getattr(text, "num_hidden_layers", None)
    if not isinstance(heads, int) or not isinstance(layers, int):
        return None
    kv_heads = getattr(text, "num_key_value_heads", None) or heads
    size = getattr(text, "head_dim", None) or text.hidden_size // heads
    return DecodeShape(
        heads=heads, kv_heads=kv_heads, token_bytes=2 * layers * kv_heads * size * torch.empty(0, dtype=dtype).itemsize
    )


def choose_cascade(config: RolloutConfig, shape: DecodeShape | None, shared_prefix: tuple[int, int]) -> bool:
    """Whether the engine of a GPU gets cascade attention, and with it model runner V1.

    `auto` wants all of this: vLLM's own formula would choose it for the requests of one context; each step is spared
    more reading than launching its kernels costs; and attention is FlashAttention's, which is vLLM's default up to
    Hopper (FlashInfer, its default on Blackwell, has no cascade).

    Raises:
        ValueError: `on`, and VLLM_USE_V2_MODEL_RUNNER=1.
    """
    v2_asked = os.environ.get("VLLM_USE_V2_MODEL_RUNNER", "0") not in ("", "0")
    if config.cascade_attention == "on":
        if v2_asked:
            raise ValueError(
                "rollout.cascade_attention=on needs vLLM's model runner V1, and VLLM_USE_V2_MODEL_RUNNER asks for V2; "
                "unset it"
            )
        return True
    if config.cascade_attention == "off" or v2_asked or shape is None or torch.cuda.get_device_capability() >= (10, 0):
        return False
    tokens, requests = shared_prefix
    requests = min(requests, config.vllm_max_num_seqs)
    spared = (requests - 1) * tokens * shape.token_bytes
    return spared >= STEP_OVERHEAD_BYTES and shape.cascades(tokens, requests)


def attention_backends(llm: LLM) -> list[str]:
    """vLLM's names of the attention in use, such as FLASH_ATTN."""
    runner: Any = llm.llm_engine.model_executor.driver_worker.worker.model_runner
    return sorted({group.backend.get_name() for groups in runner.attn_groups for group in groups})


def measure_decode_cost(llm: LLM, shape: DecodeShape) -> DecodeCost:
    """What a decode step reads; on a CPU it is decided as on an H100."""
    (weights,) = llm.apply_model(lambda model: sum(p.numel() * p.element_size() for p in model.parameters()))
    return DecodeCost(
        step=weights + (STEP_OVERHEAD_BYTES if torch.cuda.is_available() else 0),
        token=shape.token_bytes,
        cascades=lru_cache(maxsize=None)(shape.cascades),
    )
