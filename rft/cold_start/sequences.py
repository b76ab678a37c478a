"""What a cold start learns from: token ids, and labels on the replies alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rft.cold_start import traces
from rft.cold_start.config import TargetConfig
from rft.data import prompts
from rft.data.prepare import PreparedSplit
from rft.records import Question

IGNORED = -100
"""Label of a token that no loss is taken on."""


class Sequences(ABC):
    """Sequences, written out when the trainer asks for them; histories of 32k tokens stay on disk until then."""

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
    """Sequences of a history's questions, each with its reply. One is the indices of its questions."""

    split: PreparedSplit
    tokenizer: Any
    target: TargetConfig
    seed: int

    def indices(self) -> list[list[int]]:
        """Questions of one history in the data's order, cut into runs of `questions_per_sequence`."""
        by_history: dict[str, list[int]] = {}
        for index, question in enumerate(self.split.questions):
            by_history.setdefault(question.history_id, []).append(index)
        step = self.target.questions_per_sequence
        return [run[start : start + step] for run in by_history.values() for start in range(0, len(run), step)]

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
                asked = [*self.encode("\n"), *asked[prompt.num_history_tokens :]]
            question = self.split.questions[index]
            right = traces.demonstrates_right(question, self.target.right_share_hard, self.seed)
            answer = [*self.encode(reply(self.target, question, order, right)), self.tokenizer.eos_token_id]
            input_ids += [*asked, *answer]
            labels += [*([IGNORED] * len(asked)), *answer]
        return input_ids, labels

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def reply(target: TargetConfig, question: Question, option_order: Sequence[int], right: bool) -> str:
    if target.reply == "trace":
        return traces.trace_target(question, option_order, right)
    return prompts.sft_target(question, option_order)
