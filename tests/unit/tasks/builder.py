"""Prompts and a data set in memory, for tests of tasks and rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rft.config import DataConfig
from rft.data.dataset import Dataset, Split
from rft.records import Context, Message, Prompt, Question


def make_question(number: int = 0, *, context_id: str = "h", options: int = 4, **changes: Any) -> Question:
    """Question `val/<number>` of cluster 0 with `options` answers, the first of them right."""
    values: dict[str, Any] = {
        "question_id": f"val/{number}",
        "context_id": context_id,
        "cluster": "0",
        "query": f"Question {number}?",
        "correct_answer": "Right.",
        "incorrect_answers": tuple(f"Wrong {index}." for index in range(1, options)),
    }
    return Question(**values | changes)


def make_prompt(token_ids: Sequence[int], question: Question, option_order: Sequence[int], **changes: Any) -> Prompt:
    values: dict[str, Any] = {"num_context_tokens": 0, "option_order": tuple(option_order)}
    return Prompt(question=question, token_ids=tuple(token_ids), **values | changes)


class MemoryDataset(Dataset):
    """Whatever is put into it."""

    splits = ("train", "val")
    eval_split = "val"

    def __init__(
        self,
        contexts: dict[str, Sequence[Message]],
        questions: Sequence[Question] = (),
        config: DataConfig | None = None,
    ) -> None:
        super().__init__(config or DataConfig())
        self.contexts = contexts
        self.questions = tuple(questions)

    @property
    def name(self) -> str:
        return "memory"

    def split(self, name: str) -> Split:
        return Split(name=name, questions=self.questions)

    def context(self, context_id: str) -> Context:
        return Context(context_id=context_id, messages=tuple(self.contexts[context_id]))
