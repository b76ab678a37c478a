"""What a cold start learns from: token ids, and labels on the replies alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rft.cold_start import traces
from rft.cold_start.config import TargetConfig
from rft.data.chat_template import ChatTemplate
from rft.data.contexts import by_context
from rft.data.prepare import PreparedSplit
from rft.data.prompts import sft_target
from rft.records import Question

IGNORED = -100
"""Label of a token that no loss is taken on."""


class Sequences(ABC):
    """Sequences, written out when the trainer asks for them; contexts of 32k tokens stay on disk until then."""

    @abstractmethod
    def indices(self) -> list[list[int]]:
        """A few numbers for each sequence, in the order of the data."""

    @abstractmethod
    def sequence(self, indices: Sequence[int]) -> tuple[list[int], list[int]]:
        """Token ids, and labels that are -100 wherever no reply stands. A reply ends with the end token."""

    def __call__(self, batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        """A transform of datasets: `{"indices": [...]}` to `{"input_ids": [...], "labels": [...]}`."""
        built = [self.sequence(indices) for indices in batch["indices"]]
        return {"input_ids": [ids for ids, _ in built], "labels": [labels for _, labels in built]}

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        # datasets names a transform by the hash of its pickle; this one holds a whole split.
        return str, (type(self).__name__,)


@dataclass(frozen=True)
class McqSequences(Sequences):
    """Sequences of a context's questions, each with its reply. One is the indices of its questions."""

    split: PreparedSplit
    tokenizer: Any
    target: TargetConfig
    seed: int

    def indices(self) -> list[list[int]]:
        """Questions of one context in the data's order, cut into runs of `questions_per_sequence`."""
        place = {question.question_id: index for index, question in enumerate(self.split.questions)}
        runs = [[place[question.question_id] for question in run] for run in by_context(self.split.questions).values()]
        step = self.target.questions_per_sequence
        return [run[start : start + step] for run in runs for start in range(0, len(run), step)]

    def sequence(self, indices: Sequence[int]) -> tuple[list[int], list[int]]:
        """Token ids, and labels that are -100 wherever no reply stands. A reply ends with the end token."""
        input_ids: list[int] = []
        labels: list[int] = []
        for index in indices:
            order = self.split.eval_order(index)
            prompt = self.split.prompt(index, order)
            asked = list(prompt.token_ids)
            if input_ids:
                # Later questions continue the chat: the line break that ends a turn, then their own message.
                asked = [*self.encode("\n"), *asked[prompt.num_context_tokens :]]
            text = reply(self.target, prompt.question, order, self.is_right(prompt.question))
            answer = [*self.encode(text), self.tokenizer.eos_token_id]
            input_ids += [*asked, *answer]
            labels += [*([IGNORED] * len(asked)), *answer]
        return input_ids, labels

    def is_right(self, question: Question) -> bool:
        """Whether the reply to this question is right; a letter always is."""
        if self.target.reply == "letter":
            return True
        return traces.demonstrates_right(question, self.target.right_share_hard, self.seed)

    @cached_property
    def chat(self) -> ChatTemplate:
        return ChatTemplate(self.tokenizer)

    def encode(self, text: str) -> list[int]:
        """Token ids of what is written; an option that holds a control token holds it as text."""
        ids: list[int] = self.chat.encode([self.chat.quote(text)])[0].tolist()
        return ids


def check_target(target: TargetConfig, questions: Sequence[Question]) -> None:
    """Refuses questions for which the replies of `target.reply` cannot be written.

    Raises:
        ValueError: a question without options, or one that the synthetic data set would not ask.
    """
    for question in questions:
        if not question.incorrect_answers:
            raise ValueError(
                f"target.reply: {target.reply} needs options, and question {question.question_id} has none; name data "
                "with incorrect answers in data.source"
            )
        if target.reply != "letter" and not traces.is_synthetic(question):
            raise ValueError(
                f"target.reply: {target.reply} needs data written by rft/make_data.py synthetic, and question "
                f"{question.question_id} is not of that kind; set target.reply to letter"
            )


def reply(target: TargetConfig, question: Question, option_order: Sequence[int], right: bool) -> str:
    """What the model is to answer; with `trace` the right reading, or the careless one."""
    if target.reply == "trace":
        return traces.trace_target(question, option_order, right)
    return sft_target(question, option_order)
