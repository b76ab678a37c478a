"""Small models and machines for tests of the planner."""

from __future__ import annotations

from typing import Any

from transformers import Qwen3Config

from rft.config import Config, load_config
from rft.parallel import ParallelMode, parallel_mode
from rft.planning.cards import CARDS
from rft.planning.planner import Machine
from rft.planning.shape import QWEN3_4B

RECIPE = "configs/qwen3_4b.yaml"

TINY: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 65_536,
    "tie_word_embeddings": True,
}


def tiny_shape(**changes: Any) -> Qwen3Config:
    """A Qwen3 of two narrow layers."""
    return Qwen3Config(**TINY | changes)


def shape_4b(**changes: Any) -> Qwen3Config:
    return Qwen3Config(**QWEN3_4B | changes)


def two_layers_of_4b() -> Qwen3Config:
    """Layers as wide as those of Qwen3-4B, and few words."""
    return shape_4b(num_hidden_layers=2, vocab_size=4096)


def recipe(*overrides: str) -> Config:
    """The recipe with short prompts and replies, and without `auto` values."""
    short = ["data.max_prompt_length=1000", "rollout.max_completion_length=100"]
    numbers = ["train.max_tokens_per_microbatch=4096", "rollout.vllm_gpu_memory_utilization=0.5"]
    return load_config(RECIPE, [*short, *numbers, *overrides])


def mode_of(config: Config, num_ranks: int) -> ParallelMode:
    """How ranks share the work where no launcher has a say."""
    return parallel_mode(config, num_ranks, {})


def machine(card: str = "h100", num_gpus: int = 8, num_nodes: int = 1) -> Machine:
    return Machine(card=CARDS[card], num_gpus=num_gpus, num_nodes=num_nodes)
