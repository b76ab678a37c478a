"""What vLLM is told."""

from __future__ import annotations

import torch

from rft.config import LoraConfig, RolloutConfig
from rft.rollout.vllm_options import CPU_STEP_TOKENS, cpu_options, engine_options, executor_backend


def test_a_single_process_needs_no_launcher() -> None:
    assert executor_backend() == "uni"


def test_a_cpu_takes_the_longest_request_in_one_step() -> None:
    config = RolloutConfig(vllm_kv_cache_gb=0.5)
    assert cpu_options(config, 100)["max_num_batched_tokens"] == CPU_STEP_TOKENS
    assert cpu_options(config, 9000)["max_num_batched_tokens"] == 9000
    assert cpu_options(config, 100)["kv_cache_memory_bytes"] == 2**29


def test_an_engine_has_room_for_an_adapter_where_it_gets_one() -> None:
    def options(lora: LoraConfig | None) -> dict[str, object]:
        return engine_options(
            RolloutConfig(), window=100, dtype=torch.bfloat16, seed=3, load_format="auto", lora=lora, cascade=False
        )

    assert options(LoraConfig(r=9))["max_lora_rank"] == 16
    assert "enable_lora" not in options(None)
    assert options(None)["dtype"] == "bfloat16"
