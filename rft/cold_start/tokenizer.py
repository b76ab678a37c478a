"""The tokenizer of a cold start: the model's own, or for a new model one made from its data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rft.cold_start.config import SftConfig
from rft.cold_start.memory_sequences import training_texts as memory_texts
from rft.cold_start.sequences import reply
from rft.cold_start.word_tokenizer import build_word_tokenizer
from rft.config import ModelConfig
from rft.data import personamem, prompts, splits


def load_or_build_tokenizer(config: SftConfig) -> Any:
    """The model's tokenizer; for a new model one made from the training split."""
    name = config.model.model_name_or_path
    if name is not None:
        from rft.models import load_tokenizer

        try:
            return load_tokenizer(ModelConfig(model_name_or_path=name, model_revision=config.model.model_revision))
        except OSError as error:
            raise ValueError(f"model.model_name_or_path: cannot read {name}: {str(error).splitlines()[0]}") from None
    length = config.model.config.get("max_position_embeddings", 32768)
    return build_word_tokenizer(training_texts(config), model_max_length=length)


def training_texts(config: SftConfig) -> Iterator[str]:
    """All that a model may read or write on the training split, history by history."""
    data = config.data
    root = personamem.resolve_source(data.source, data.revision, data.window)
    questions = splits.load_split(data, root, "train").questions
    if config.target.reply == "memory":
        yield from memory_texts(questions, lambda history_id: personamem.load_history(root, history_id)[0].messages)
        return
    seen: set[str] = set()
    for question in questions:
        if question.history_id not in seen:
            seen.add(question.history_id)
            history = personamem.read_history(root, question.history_id, question.persona_id)
            yield from (message.content for message in prompts.history_messages(history, data.persona_card))
        order = prompts.paper_option_order(question.row)
        yield prompts.question_message(question, order).content
        yield from (reply(config.target, question, order, right) for right in (True, False))
