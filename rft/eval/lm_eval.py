"""Questions as a file for EleutherAI's lm-evaluation-harness (configs/lm_eval/personamem.yaml reads it).

A line holds the whole chat through one model's own template, as text, so the harness must not apply a template again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from rft.data import prompts
from rft.data.benchmarks import Benchmark
from rft.data.chat_template import ChatParts, ChatTemplate
from rft.records import Question


def export(
    path: Path, benchmark: Benchmark, questions: Sequence[Question], tokenizer: PreTrainedTokenizerBase, card: str
) -> None:
    """Writes one JSON line per question: `prompt`, `gold`, and what the question is about.

    Args:
        path: the file to write.
        benchmark: histories and the order of options.
        questions: those to write, by history.
        tokenizer: of the model that will be evaluated.
        card: `drop` or `keep`, the persona card.
    """
    chat = ChatTemplate(tokenizer)

    @lru_cache(maxsize=1)
    def parts_of(history_id: str) -> ChatParts:
        return chat.split(prompts.history_messages(benchmark.history(history_id), card))

    with path.open("w", encoding="utf-8") as file:
        for question in questions:
            order = benchmark.option_order(question)
            parts = parts_of(question.history_id)
            row = {
                "question_id": question.question_id,
                "persona_id": question.persona_id,
                "pref_type": question.pref_type,
                "who": question.who,
                "updated": question.updated,
                "prompt": parts.history + parts.tail(prompts.question_message(question, order).content),
                "gold": prompts.gold_letter(order),
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
