"""The tokenizer of a comparison: the model's own, the one that counts for an endpoint, or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from transformers import PreTrainedTokenizerBase

from rft.config import ModelConfig
from rft.eval.config import ComparisonConfig
from rft.eval.systems import System, counts_tokens


def load_tokenizer_for(config: ComparisonConfig, systems: Sequence[System]) -> PreTrainedTokenizerBase | None:
    """The model's own; with an endpoint the one that counts tokens. None where nothing is counted.

    Raises:
        ValueError: it cannot be read.
    """
    from rft.models import load_tokenizer

    with_model = [system for system in systems if system.kind != "rule"]
    if config.uses_endpoint:
        with_model = [system for system in with_model if counts_tokens(system, config.compare)]
    if not with_model and config.compare.tokenizer is None:
        return None
    key, source = "model.model_name_or_path", config.model
    if config.uses_endpoint or not with_model:
        key, source = "compare.tokenizer", ModelConfig(model_name_or_path=tokenizer_of_endpoint(config))
    try:
        return load_tokenizer(source)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"{key}: cannot read a tokenizer from {source.model_name_or_path}: {first}") from None


def tokenizer_of_endpoint(config: ComparisonConfig) -> str:
    return config.compare.tokenizer or str(config.compare.endpoint.model)


class NoTokenizer:
    """Stands where a task expects a tokenizer, in a comparison without one. A task that only words and scores never
    asks for it."""

    def __init__(self, task: str) -> None:
        self.task = task

    def __getattr__(self, name: str) -> NoReturn:
        self.refuse()

    def __call__(self, *arguments: Any, **named: Any) -> NoReturn:
        self.refuse()

    def __len__(self) -> int:
        return self.refuse()

    def refuse(self) -> NoReturn:
        raise ValueError(
            f"task {self.task} reads a tokenizer, and this comparison has none: no model of this machine is asked; set "
            "compare.tokenizer to a folder or hub id"
        )
