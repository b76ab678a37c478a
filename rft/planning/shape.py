"""The shape of the model: its config.json, and none of its weights."""

from __future__ import annotations

from typing import cast

from transformers import AutoConfig, PretrainedConfig, Qwen3Config

from rft.config import ModelConfig

QWEN3_4B = {
    "vocab_size": 151_936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 262_144,
    "tie_word_embeddings": True,
}
"""The config.json of Qwen/Qwen3-4B-Instruct-2507."""

BUILT_IN = {
    "Qwen/Qwen3-4B-Instruct-2507": QWEN3_4B,
    "Qwen/Qwen3-4B-Thinking-2507": QWEN3_4B,
    "bowen-upenn/Qwen3-4B-PersonaMem-SFT": QWEN3_4B,
}
"""Models of the shipped configs, so that these can be planned on a machine that never saw them."""


def model_shape(model: ModelConfig) -> tuple[PretrainedConfig, str]:
    """A model's settings, and where they come from, for a person. Nothing is downloaded.

    Raises:
        ValueError: the model's config.json is not on this machine, and its shape is not built in.
    """
    name = model.model_name_or_path
    try:
        found = AutoConfig.from_pretrained(name, revision=model.model_revision, local_files_only=True)
        return cast(PretrainedConfig, found), f"config.json of {name}"
    except (OSError, ValueError):
        if name in BUILT_IN:
            return Qwen3Config(**BUILT_IN[name]), f"the built-in shape of Qwen3-4B; {name} is not on this machine"
    raise ValueError(
        f"model.model_name_or_path: {name} is not on this machine, and a plan downloads nothing; name a folder with "
        f"its config.json, or one of {', '.join(BUILT_IN)}"
    )
