"""The tokenizer of a cold start: the model's own, or for a new model one made from its data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rft.cold_start.config import SftConfig
from rft.cold_start.memory_sequences import memory_training_texts
from rft.cold_start.sequences import reply
from rft.cold_start.word_tokenizer import build_word_tokenizer
from rft.config import DataConfig, ModelConfig
from rft.data.contexts import Tally, by_context, read_context
from rft.data.dataset import Dataset
from rft.data.prompts import McqWording, context_messages
from rft.records import Context, Question


def load_or_build_tokenizer(config: SftConfig, dataset: Dataset) -> Any:
    """The model's tokenizer; for a new model one made from the training split.

    Raises:
        ValueError: the model's tokenizer cannot be read; for a new model, data that cannot be used.
    """
    name = config.model.model_name_or_path
    if name is not None:
        from rft.models import load_tokenizer

        try:
            return load_tokenizer(ModelConfig(model_name_or_path=name, model_revision=config.model.model_revision))
        except (OSError, ValueError) as error:
            raise ValueError(f"model.model_name_or_path: cannot read {name}: {str(error).splitlines()[0]}") from None
    length = config.model.config.get("max_position_embeddings", 32768)
    return build_word_tokenizer(training_texts(config, dataset), model_max_length=length)


def training_texts(config: SftConfig, dataset: Dataset) -> Iterator[str]:
    """All that a model may read or write on the training split, context by context."""
    contexts = read_contexts(config.data, dataset)
    if config.target.reply == "memory":
        yield from memory_training_texts(contexts, McqWording(), dataset.option_order)
        return
    wording = McqWording()
    for context, questions in contexts:
        yield from (message.content for message in context_messages(context, wording, config.data.persona_card))
        for question in questions:
            order = dataset.option_order(question)
            yield wording.ask(question, order)
            yield from (reply(config.target, question, order, right) for right in (True, False))


def read_contexts(data: DataConfig, dataset: Dataset) -> Iterator[tuple[Context, list[Question]]]:
    """Every usable context of the training split with its questions; `prepare` counts those that are left out."""
    for group in by_context(dataset.split("train").questions).values():
        context, questions = read_context(dataset, data.bad_rows, group, Tally())
        if context is not None:
            yield context, questions
