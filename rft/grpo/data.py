"""What is ready before any model loads: the tokenizer, and the questions as prompts."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from rft.config import Config
from rft.data.memory_prompts import MemoryPrompts
from rft.data.memory_split import MemorySplit, check_prompt_lengths, load_memory_split
from rft.data.prepare import PreparedSplit, prepare
from rft.data.splits import SplitName
from rft.grpo.forest_attention import check_supported
from rft.models import check_positions, load_tokenizer


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
    train: PreparedSplit | MemorySplit
    evaluation: PreparedSplit | MemorySplit


def load_data(config: Config) -> Data:
    """Reads, checks and tokenizes both splits (from the cache where nothing changed).

    Raises:
        ValueError: a model or data set that cannot be read, a prompt that does not fit, a window longer than the
            model's positions.
    """
    check_model(config)
    tokenizer = load_tokenizer(config.model)
    data = Data(
        tokenizer=tokenizer,
        train=load_split(config, tokenizer, "train"),
        evaluation=load_split(config, tokenizer, config.eval.split),
    )
    for split in (data.train, data.evaluation):
        if isinstance(split, MemorySplit):
            check_prompt_lengths(config, MemoryPrompts(split.histories.chat), split)
    return data


def load_split(config: Config, tokenizer: PreTrainedTokenizerBase, name: SplitName) -> PreparedSplit | MemorySplit:
    load = load_memory_split if config.task == "memory" else prepare
    return load(config, tokenizer, name)


def check_model(config: Config) -> None:
    """Refuses a window the model has no positions for, and shared prefixes where its attention cannot have them."""
    settings = check_positions(config.model, config.engine_window)
    if config.train.shared_prefix:
        check_supported(settings)
