"""Questions as a file for EleutherAI's lm-evaluation-harness (configs/lm_eval/personamem.yaml reads it).

A line holds the whole chat through one model's own template, as text, so the harness must not apply a template again.
A control token in what a message says is a control token to the harness, which sees one text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from rft.config import DataConfig
from rft.data.chat_template import ChatParts, ChatTemplate, unquoted
from rft.data.dataset import Dataset
from rft.data.prompts import McqWording, context_messages, gold_letter
from rft.records import Question


def write_lm_eval_questions(
    path: Path,
    data: DataConfig,
    dataset: Dataset,
    questions: Sequence[Question],
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Writes one JSON line per multiple-choice question: `prompt`, `gold`, and what the question is about.

    Args:
        path: the file to write.
        data: whether profiles are shown.
        dataset: contexts and the order of options.
        questions: those to write, by context.
        tokenizer: of the model that will be evaluated.

    Raises:
        ValueError: a question without options.
    """
    chat, wording = ChatTemplate(tokenizer), McqWording()
    if bare := next((question for question in questions if not question.incorrect_answers), None):
        raise ValueError(f"{bare.question_id} has no options; name a data set of multiple-choice questions")

    @lru_cache(maxsize=1)
    def parts_of(context_id: str) -> ChatParts:
        return chat.split(context_messages(dataset.context(context_id), wording, data.persona_card))

    with path.open("w", encoding="utf-8") as file:
        for question in questions:
            order = dataset.option_order(question)
            parts = parts_of(question.context_id)
            row = {
                "question_id": question.question_id,
                "cluster": question.cluster,
                "tags": dict(question.tags),
                "prompt": unquoted(parts.history + parts.tail(wording.ask(question, order))),
                "gold": gold_letter(order),
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
