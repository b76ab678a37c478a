"""Multiple choice: the whole context in the prompt, one turn, one boxed letter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

from transformers import PreTrainedTokenizerBase

from rft.config import Config
from rft.data.dataset import Dataset
from rft.data.prompts import McqWording, gold_letter, offered_letters
from rft.records import Attempt, Rollout, Score
from rft.reward.mcq import score_boxed_letter
from rft.tasks.single_turn import SingleTurnTask
from rft.tasks.task import PromptSplit


class McqTask(SingleTurnTask):
    """Asks for a letter; right is 1, anything else 0."""

    uses: ClassVar[frozenset[str]] = frozenset({"reward.rule"})

    def __init__(self, config: Config, tokenizer: PreTrainedTokenizerBase, dataset: Dataset) -> None:
        super().__init__(config, tokenizer, dataset)
        self.wording = McqWording()

    def load_split(self, name: str) -> PromptSplit:
        split = super().load_split(name)
        check_options(split, self.config.task)
        return split

    def own_score(self, attempts: Sequence[Attempt]) -> list[Score]:
        return [
            score_boxed_letter(
                attempt.text,
                offered_letters(attempt.option_order),
                gold_letter(attempt.option_order),
                rule=self.config.reward.rule,
                thought_open=attempt.thought_open,
            )
            for attempt in attempts
        ]

    def outcomes(self, groups: Sequence[Sequence[Rollout]]) -> list[str | None]:
        """The letters that were read."""
        return [answer.score.parsed for group in groups for rollout in group for answer in rollout.answers]

    def metrics(self, outcomes: Sequence[Any]) -> dict[str, float]:
        """`letters/<letter>`: the share of all answers that chose it."""
        letters = Counter(letter for letter in outcomes if letter is not None)
        return {f"letters/{letter}": count / len(outcomes) for letter, count in sorted(letters.items())}


def check_options(split: PromptSplit, task: str) -> None:
    """Raises ValueError for a question that has no options to choose from."""
    open_question = next((question for question in split.questions if not question.incorrect_answers), None)
    if open_question is not None:
        raise ValueError(
            f"task {task} needs options, and question {open_question.question_id} has no incorrect answers; add some, "
            "or set task=qa with a reward.function"
        )
