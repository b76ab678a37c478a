"""The vLLM server command of a config: the settings with which a server samples as the engine in the trainer would."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from rft.config import Config, RolloutConfig
from rft.models import resolve_dtype
from rft.rollout.adapter_files import engine_rank, sent_adapter
from rft.rollout.vllm_options import cpu_options
from rft.tasks.registry import engine_window

DEFAULTS = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
"""Of the environment, where it says nothing."""


def server_environment(config: Config, present: Mapping[str, str]) -> dict[str, str]:
    """The environment of a server: the present one, and what opens the endpoints that a run needs."""
    opened = {"VLLM_SERVER_DEV_MODE": "1"}  # control: weights, prefix cache, what it was started with
    if sent_adapter(config) is not None:
        opened["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    return DEFAULTS | dict(present) | opened


EXTENSION = "rft.serving.worker.WorkerExtension"
"""What vLLM adds to its workers."""

USUAL_SHARE = 0.9
"""Of a card's memory; vLLM's default."""


def server_command(config: Config, host: str, port: int, more: Sequence[str] = ()) -> list[str]:
    """
    Args:
        more: options of vLLM's own, last, so that they win; `--tensor-parallel-size 4` for a larger model.
    """
    window, rollout, on_cpu = engine_window(config), config.rollout, not torch.cuda.is_available()
    options = {
        "host": host,
        "port": port,
        "revision": config.model.model_revision,
        "dtype": str(resolve_dtype(config.model)).removeprefix("torch."),
        "seed": config.train.seed,
        "max_model_len": window,
        "max_num_seqs": rollout.vllm_max_num_seqs,
        "generation_config": "vllm",
        "logprobs_mode": "processed_logprobs",
        "enable_prefix_caching": True,
        "enable_prompt_tokens_details": True,  # how many came from the prefix cache
        "enable_scale_out": True,  # token ids in, token ids out
        "worker_extension_cls": EXTENSION,
        "middleware": "rft.serving.guard.KeyOnEveryPath",
        "disable_uvicorn_access_log": True,
        **adapter_options(config),
        **({"weight_transfer_config": {"backend": "nccl"}} if rollout.weight_transfer == "nccl" else {}),
        **(cpu_options(rollout, window) if on_cpu else own_card(rollout)),
    }
    # What `vllm serve` starts; the command itself fails with vLLM's build for CPUs, whose package has another name.
    program = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", config.model.model_name_or_path]
    return [*program, *as_arguments(options), *more]


def adapter_options(config: Config) -> dict[str, Any]:
    """Room for one LoRA adapter, which each sync replaces."""
    lora = sent_adapter(config)
    return {} if lora is None else {"enable_lora": True, "max_lora_rank": engine_rank(lora.r)}


def own_card(rollout: RolloutConfig) -> dict[str, Any]:
    """A server has its card for itself, and never sleeps."""
    share = USUAL_SHARE if rollout.vllm_gpu_memory_utilization == "auto" else rollout.vllm_gpu_memory_utilization
    return {"gpu_memory_utilization": share}


def as_arguments(options: Mapping[str, Any]) -> list[str]:
    """Options as vLLM's command line takes them; one that is None is left out."""
    words: list[str] = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            words += [f"--{flag}", json.dumps(value) if isinstance(value, dict) else str(value)]
    return words
