"""Memory of the vLLM engine on a GPU: what it takes, and what that holds.

vLLM takes `gpu_memory_utilization` of the whole card, whatever else is on it, and refuses to start where less is free.
Of that it uses what it needs for weights, the activations of its largest step and CUDA graphs; the rest is the KV
cache.
"""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PretrainedConfig

from rft.config import RolloutConfig
from rft.planning.amount import Amount
from rft.planning.cards import GIB

STEP_TOKENS = 16_384
"""Tokens of vLLM's largest step (its max_num_batched_tokens for offline use) on a GPU of 70 GiB or more. An A100 and
smaller cards get half as many, and are counted with as many."""

CUDA_GRAPHS = Amount(low=0.4 * GIB, expected=0.8 * GIB, high=1.5 * GIB)
"""Of a model of some billion parameters; an assumption. They stay while the engine sleeps."""

ASLEEP = Amount(low=0.8 * GIB, expected=2.0 * GIB, high=3.0 * GIB)
"""What a sleeping engine keeps: CUDA graphs, workspaces of its attention kernels, its own allocator's remains; an
assumption, with what vLLM itself reports after its sleep not yet seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineMemory:
    """Example, Qwen3-4B on half of an 80 GB card:
    EngineMemory(total=4.25e10, weights=8.0e9, workspace=2.4e9, kv_cache=3.2e10, kv_bytes_per_token=147_456,
                 window=39_048)
    """

    total: float
    """Bytes that it takes while it is awake."""
    weights: float
    workspace: float
    """Activations of its largest step, and CUDA graphs."""
    kv_cache: float
    kv_bytes_per_token: int
    window: int
    """Tokens of the longest sequence that it may be given."""

    @property
    def kv_tokens(self) -> int:
        """Tokens that the KV cache holds."""
        return int(max(0.0, self.kv_cache) // self.kv_bytes_per_token)

    @property
    def starts(self) -> bool:
        """vLLM refuses to start where its KV cache cannot hold one sequence of the longest length."""
        return self.kv_tokens >= self.window


def engine_memory(
    shape: PretrainedConfig,
    rollout: RolloutConfig,
    utilization: float,
    *,
    num_weights: int,
    card_memory: float,
    window: int,
) -> EngineMemory:
    """The engine's memory on one GPU.

    Args:
        utilization: a resolved rollout.vllm_gpu_memory_utilization.
        num_weights: parameters of the model, without adapters.
        card_memory: bytes of the whole card.
        window: tokens of the longest sequence.
    """
    total = utilization * card_memory
    weights = 2.0 * num_weights
    workspace = step_workspace(shape, rollout) + CUDA_GRAPHS.expected
    return EngineMemory(
        total=total,
        weights=weights,
        workspace=workspace,
        kv_cache=total - weights - workspace,
        kv_bytes_per_token=kv_bytes_per_token(shape),
        window=window,
    )


def kv_bytes_per_token(shape: PretrainedConfig) -> int:
    """A key and a value of each head of each layer, in bfloat16."""
    text = shape.get_text_config()
    return 2 * text.num_hidden_layers * text.num_key_value_heads * head_dim(shape) * 2


def head_dim(shape: PretrainedConfig) -> int:
    text = shape.get_text_config()
    return int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)


def step_workspace(shape: PretrainedConfig, rollout: RolloutConfig) -> float:
    """Bytes that vLLM's largest step needs: the MLP's two wide tensors with their product, hidden states, and the
    logits of all sequences in float32 with one copy."""
    text = shape.get_text_config()
    wide = 3 * text.intermediate_size + 3 * text.hidden_size
    return STEP_TOKENS * wide * 2.0 + rollout.vllm_max_num_seqs * text.vocab_size * 4.0 * 2
