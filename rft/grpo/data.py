"""What is ready before any model loads: the tokenizer, and the questions as prompts."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import AutoConfig, PreTrainedTokenizerBase

from rft.config import Config
from rft.data.chunks import Chunk
from rft.data.memory_prompts import MemoryPrompts
from rft.data.memory_split import MemorySplit, load_memory_split
from rft.data.prepare import PreparedSplit, prepare
from rft.data.splits import SplitName
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


def check_prompt_lengths(config: Config, prompts: MemoryPrompts, split: MemorySplit) -> None:
    """Refuses a window that the longest update or answer could leave."""
    chunk = Chunk(text="", token_ids=(0,) * config.memory.chunk_tokens, first=0, last=0)
    longest = max(len(split.question_ids(index, split.eval_order(index))) for index in range(len(split)))
    queries = split.questions if config.memory.query_aware else []
    needed = {
        "an update": config.memory.max_memory_tokens
        + max(len(prompts.update(chunk, "", query)) for query in [None, *(question.query for question in queries)]),
        "an answer": config.memory.max_memory_tokens + len(prompts.answer("", ())) + longest,
    }
    for what, tokens in needed.items():
        if tokens > config.data.max_prompt_length:
            raise ValueError(
                f"the prompt of {what} can have {tokens} tokens, data.max_prompt_length is "
                f"{config.data.max_prompt_length}; raise it, or lower memory.chunk_tokens or memory.max_memory_tokens"
            )


def load_split(config: Config, tokenizer: PreTrainedTokenizerBase, name: SplitName) -> PreparedSplit | MemorySplit:
    load = load_memory_split if config.task == "memory" else prepare
    return load(config, tokenizer, name)


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
