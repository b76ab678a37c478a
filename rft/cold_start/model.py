"""The model of a cold start: loaded, or made new and started so that a short training is enough."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from rft.cold_start.config import SftConfig
from rft.config import ModelConfig
from rft.model_folder import check_model_place
from rft.models import load_policy


def load_or_build_model(config: SftConfig, tokenizer: Any) -> Any:
    if config.model.model_name_or_path is not None:
        shape = ModelConfig(
            model_name_or_path=config.model.model_name_or_path,
            model_revision=config.model.model_revision,
            dtype=config.model.dtype,
            attn_implementation=config.model.attn_implementation,
        )
        return load_policy(shape, gradient_checkpointing=False)
    transformers.set_seed(config.train.seed)
    model_config = transformers.Qwen3Config(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        **config.model.config,
    )
    model = transformers.Qwen3ForCausalLM(model_config)
    if config.model.warm_start is not None:
        start_warm(model, tokenizer, config.model.warm_start)
        return model
    for layer in model.model.layers:
        layer.self_attn.q_norm.weight.data.fill_(config.model.qk_norm_start)
        layer.self_attn.k_norm.weight.data.fill_(config.model.qk_norm_start)
        if config.model.mimetic_start:
            start_mimetic(layer.self_attn, model_config)
    return model


def start_warm(model: Any, tokenizer: Any, name: str) -> None:
    """Copies the weights of `name`; the embedding of a word it does not know stays as it is.

    Raises:
        ValueError: there is no such model, or the shapes differ.
    """
    try:
        check_model_place(name, None)
    except ValueError as error:
        raise ValueError(f"model.warm_start: {error}") from None
    source = transformers.AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32).state_dict()
    known = transformers.AutoTokenizer.from_pretrained(name).get_vocab()
    shared = [(index, known[word]) for word, index in tokenizer.get_vocab().items() if word in known]
    here, there = (torch.tensor(column) for column in zip(*shared, strict=True))
    with torch.no_grad():
        for key, weight in model.state_dict().items():
            by_word = key in ("model.embed_tokens.weight", "lm_head.weight")
            fixed = 1 if by_word else 0
            given = source.get(key)
            if given is None or given.shape[fixed:] != weight.shape[fixed:]:
                raise ValueError(f"model.warm_start: {name} has another shape at {key}; give model.config the same")
            if by_word:
                weight[here] = given[there]
            else:
                weight.copy_(given)


def start_mimetic(attention: Any, shape: Any) -> None:
    """Half-way to a trained layer: in the first query head of each group Q = K and O = V^T.

    A head with Q = K attends to tokens like its own, and with O = V^T it writes what it read. Looking words up in a
    text needs both, and from a random start they appear only after a long plateau. After "Mimetic Initialization of
    Self-Attention Layers" (arXiv 2305.09828), which sets the products QK^T and VO near multiples of the identity.
    """
    heads, groups, size, width = (
        shape.num_attention_heads,
        shape.num_key_value_heads,
        shape.head_dim,
        shape.hidden_size,
    )
    query = attention.q_proj.weight.data.view(groups, heads // groups, size, width)
    output = attention.o_proj.weight.data.view(width, groups, heads // groups, size)
    query[:, 0] = attention.k_proj.weight.data.view(groups, size, width)
    output[:, :, 0] = attention.v_proj.weight.data.view(groups, size, width).permute(2, 0, 1)
