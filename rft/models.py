"""Loading: the policy, its tokenizer, and the tokens that end its replies."""

from __future__ import annotations

import re
from typing import cast

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rft.config import LoraConfig, ModelConfig
from rft.model_folder import check_model_place


def resolve_dtype(config: ModelConfig) -> torch.dtype:
    """Type of the weights: `auto` is bfloat16 on a GPU and float32 on a CPU."""
    if config.dtype == "auto":
        return torch.bfloat16 if torch.cuda.is_available() else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[config.dtype]


def load_policy(
    config: ModelConfig,
    gradient_checkpointing: bool,
    dtype: torch.dtype | None = None,
    attn_implementation: str | None = None,
) -> PreTrainedModel:
    """The model to train, on the CPU (under ZeRO-3 already partitioned); LoRA layers added when `lora.r > 0`.

    `dtype` overrides the type of the weights: a trainer that keeps no float32 copy of its own must hold float32
    weights, since a step of 5e-6 is lost in the rounding of bfloat16. `attn_implementation` overrides the config's.

    A LoRA policy is a `peft.PeftModel`, which offers the same methods.

    Raises:
        ValueError: `lora.target_modules` matches no layer (peft names it).
    """
    policy: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        config.model_name_or_path,
        revision=config.model_revision,
        dtype=dtype or resolve_dtype(config),
        attn_implementation=attn_implementation or config.attn_implementation,
    )
    restore_rotary_frequencies(policy)
    if gradient_checkpointing:
        # The re-entrant kind loses the gradients of adapters under frozen embeddings.
        policy.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return add_lora(policy, config.lora) if config.lora.r > 0 else policy


def restore_rotary_frequencies(policy: torch.nn.Module) -> None:
    """Computes the angles per position of rotary embeddings anew, in float32.

    While a model is loaded under ZeRO-3, DeepSpeed gives every tensor that a module makes the type of the weights
    (https://github.com/deepspeedai/DeepSpeed/issues/4932). In bfloat16 Qwen3-4B's frequencies are off by up to 0.6%: at
    position 37,000 by up to 33 radians, so that the policy no longer knows where a token stands, while the engine does.
    """
    for module in policy.modules():
        if "RotaryEmbedding" in type(module).__name__ and hasattr(module, "config"):
            fresh = type(module)(module.config)
            for name, frequencies in fresh.named_buffers(recurse=False):
                found = getattr(module, name)
                if found.dtype != frequencies.dtype:
                    setattr(module, name, frequencies.to(found.device))


def add_lora(policy: PreTrainedModel, config: LoraConfig) -> PreTrainedModel:
    """The policy with its weights frozen and trainable low-rank adapters beside them."""
    import peft  # only LoRA runs need it, and it takes seconds to import

    adapters = peft.LoraConfig(
        r=config.r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=config.target_modules,
        task_type="CAUSAL_LM",
    )
    return cast(PreTrainedModel, peft.get_peft_model(policy, adapters))


def check_layers(config: ModelConfig, attn_implementation: str) -> None:
    """Refuses LoRA targets that the model does not have and attention that is not installed, without any weight.

    The model is built on PyTorch's meta device: layers with shapes and without memory, in a second.

    Args:
        attn_implementation: what the policy will be loaded with.

    Raises:
        ValueError: a model that cannot be read, such a target or attention.
    """
    settings = read_settings(config)
    with torch.device("meta"):
        try:
            model = AutoModelForCausalLM.from_config(settings, attn_implementation=attn_implementation)
        except (ValueError, ImportError) as error:
            raise ValueError(f"model.attn_implementation = {attn_implementation}: {first_sentence(error)}") from None
        if config.lora.r > 0:
            check_lora(model, config)


def check_lora(model: PreTrainedModel, config: ModelConfig) -> None:
    """Refuses LoRA targets that `model` does not have, or that are no one weight; adds the adapters to it."""
    from rft.weights import named_full_weights  # imports peft, as add_lora does

    targets, name = config.lora.target_modules, config.model_name_or_path
    layers = [f".{layer}" for layer, _ in model.named_modules()]
    for target in targets if isinstance(targets, list) else []:
        # peft is content when one target of a list is found.
        if not any(layer.endswith(f".{target}") for layer in layers):
            raise ValueError(f"model.lora.target_modules: no layer of {name} ends in {target}; correct it")
    try:
        # The engine and the checkpoints get each adapter merged into the weight it belongs to.
        for _ in named_full_weights(add_lora(model, config.lora)):
            pass
    except (ValueError, re.error) as error:
        reason = f"model.lora.target_modules = {targets}: {first_sentence(error)}"
        raise ValueError(f"{reason}; name layers of {name}, or all-linear") from None


def first_sentence(error: Exception) -> str:
    """The beginning of a library's message, as one line."""
    return " ".join(str(error).split()).partition(". ")[0]


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """The model's own tokenizer; where it has no padding token, the end token pads.

    Raises:
        ValueError, OSError: there is no such folder and no such hub id, or no tokenizer that can be read.
    """
    check_model_place(config.model_name_or_path, config.model_revision)
    try:
        tokenizer = AutoTokenizer.from_pretrained(config.model_name_or_path, revision=config.model_revision)
    except ValueError as error:
        raise ValueError(
            f"model.model_name_or_path: no tokenizer can be made of what {config.model_name_or_path} has "
            f"({first_sentence(error)}); put the tokenizer.json of the model that it was made from beside it"
        ) from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def check_dense(settings: PretrainedConfig, name: str) -> None:
    """Refuses a mixture of experts: its experts have other names in the engine, and a weight sync cannot fill them.

    Raises:
        ValueError: names the model.
    """
    text = settings.get_text_config()
    experts = max(getattr(text, key, 0) or 0 for key in ("num_experts", "num_local_experts", "n_routed_experts"))
    if experts > 1:
        raise ValueError(
            f"{name} is a mixture of {experts} experts, whose weights cannot be sent to the engine after a step; use a "
            "dense model"
        )


def check_positions(config: ModelConfig, window: int) -> PretrainedConfig:
    """The model's own settings, if it has positions for `window` tokens.

    Raises:
        ValueError: a model that cannot be read, or too few positions.
    """
    name, settings = config.model_name_or_path, read_settings(config)
    if window > settings.max_position_embeddings:
        raise ValueError(
            f"the window of {window} tokens is longer than the {settings.max_position_embeddings} positions of {name}; "
            "lower data.max_prompt_length or rollout.max_completion_length"
        )
    return settings


def read_settings(config: ModelConfig) -> PretrainedConfig:
    """The model's config.json.

    Raises:
        ValueError: it cannot be read, or is of no known model.
    """
    name = config.model_name_or_path
    try:
        check_model_place(name, config.model_revision)
    except ValueError as error:
        raise ValueError(f"model.model_name_or_path: {error}") from None
    try:
        return cast(PretrainedConfig, AutoConfig.from_pretrained(name, revision=config.model_revision))
    except (OSError, ValueError) as error:
        raise ValueError(f"model.model_name_or_path: cannot read {name}: {first_sentence(error)}") from None


def load_generation_config(config: ModelConfig) -> GenerationConfig | None:
    """The model's own, None where it ships none."""
    try:
        return GenerationConfig.from_pretrained(config.model_name_or_path, revision=config.model_revision)
    except OSError:
        return None


def stop_token_ids(settings: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Tokens that end a reply, ascending: those of the model's generation config and the tokenizer's end token."""
    configured = settings.eos_token_id if settings is not None else None
    ids = set(configured if isinstance(configured, list) else [configured]) | {tokenizer.eos_token_id}
    return tuple(sorted(ids - {None}))
