"""What vLLM is told on a CPU and on a GPU, and the check of what a CPU cannot hold."""

from __future__ import annotations

import math
from typing import Any

import torch

from rft.config import LoraConfig, ModelConfig, RolloutConfig
from rft.models import resolve_dtype
from rft.rollout.adapter_files import engine_rank
from rft.rollout.vllm_cascade import decode_shape

CPU_BLOCK_SIZE = 32
"""Tokens per prefix-cache block on a CPU: the smallest its attention kernel takes, so the least is computed twice."""

CPU_STEP_TOKENS = 4096
"""Tokens per scheduler step on a CPU, vLLM's default; more where one request needs more."""


def engine_options(
    config: RolloutConfig,
    *,
    window: int,
    dtype: torch.dtype,
    seed: int,
    load_format: str,
    lora: LoraConfig | None,
    cascade: bool,
) -> dict[str, Any]:
    """Of an engine in the trainer's process; serving/command.py has those of a server."""
    return {
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        "dtype": str(dtype).removeprefix("torch."),
        "seed": seed,
        "max_model_len": window,
        "max_num_seqs": config.vllm_max_num_seqs,
        "enable_prefix_caching": True,
        "logprobs_mode": "processed_logprobs",
        "use_tqdm_on_load": False,
        "load_format": load_format,
        "disable_log_stats": False,  # they count preemptions
        "disable_cascade_attn": not cascade,
        "distributed_executor_backend": executor_backend(),
        **({} if lora is None else {"enable_lora": True, "max_lora_rank": engine_rank(lora.r)}),
        **(cuda_options(config) if torch.cuda.is_available() else cpu_options(config, window)),
    }


def executor_backend() -> str:
    """One worker in this process; with several ranks the launcher's LOCAL_RANK chooses its device."""
    distributed = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
    return "external_launcher" if distributed else "uni"


def cpu_options(config: RolloutConfig, window: int) -> dict[str, Any]:
    return {
        "enforce_eager": True,
        # A prompt split over steps rewinds its seeded generator, which CPU generators cannot do.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(window, CPU_STEP_TOKENS),
        "block_size": CPU_BLOCK_SIZE,
        "kv_cache_memory_bytes": int(config.vllm_kv_cache_gb * 2**30),
    }


def cuda_options(config: RolloutConfig) -> dict[str, Any]:
    return {
        "gpu_memory_utilization": config.vllm_gpu_memory_utilization,
        "enable_sleep_mode": config.vllm_enable_sleep_mode,
    }


def check_kv_cache(model: ModelConfig, rollout: RolloutConfig, window: int) -> None:
    """Refuses a CPU engine's KV cache that one sequence of the engine's window does not fit in.

    Raises:
        ValueError: with the size that is needed.
    """
    shape = decode_shape(model.model_name_or_path, model.model_revision, resolve_dtype(model))
    if shape is None:
        return
    needed = window * shape.token_bytes / 2**30
    if needed > rollout.vllm_kv_cache_gb:
        raise ValueError(
            f"rollout.vllm_kv_cache_gb = {rollout.vllm_kv_cache_gb:g} holds no sequence of {window} tokens, which "
            f"takes {needed:.2g} GiB; raise it to {math.ceil(needed * 10) / 10:g} at least, or lower "
            "data.max_prompt_length"
        )
