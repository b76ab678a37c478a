"""What is ready before any model loads: the tokenizer, and the questions as prompts."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import AutoConfig, PreTrainedTokenizerBase

from rft.config import Config
from rft.data.prepare import PreparedSplit, prepare
from rft.grpo.forest_attention import check_supported
from rft.models import load_tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Tokenizer and splits of a run.

    Example:
        Data(
            tokenizer=tokenizer,
            train=prepare(config, tokenizer, "train"),
            evaluation=prepare(config, tokenizer, "val"),
        )
    """

    tokenizer: PreTrainedTokenizerBase
    train: PreparedSplit
    evaluation: PreparedSplit


def load_data(config: Config) -> Data:
    """Reads, checks and tokenizes both splits (from the cache where nothing changed).

    Raises:
        ValueError: a model or data set that cannot be read, a prompt that does not fit, a window longer than the
            model's positions.
    """
    check_model(config)
    tokenizer = load_tokenizer(config.model)
    return Data(
        tokenizer=tokenizer,
        train=prepare(config, tokenizer, "train"),
        evaluation=prepare(config, tokenizer, config.eval.split),
    )


def check_model(config: Config) -> None:
    """Refuses a window the model has no positions for, and shared prefixes where its attention cannot have them."""
    name = config.model.model_name_or_path
    try:
        settings = AutoConfig.from_pretrained(name, revision=config.model.model_revision)
    except OSError as error:
        raise ValueError(f"model.model_name_or_path: cannot read {name}: {str(error).splitlines()[0]}") from None
    if config.engine_window > settings.max_position_embeddings:
        raise ValueError(
            f"the window of {config.engine_window} tokens is longer than the {settings.max_position_embeddings} "
            f"positions of {name}; lower data.max_prompt_length or rollout.max_completion_length"
        )
    if config.train.shared_prefix:
        check_supported(settings)
