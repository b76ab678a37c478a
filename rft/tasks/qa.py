"""A plain question about a context, answered in free text; a reward function says what the answer is worth."""

from __future__ import annotations

from typing import ClassVar

from transformers import PreTrainedTokenizerBase

from rft.config import Config
from rft.data.dataset import Dataset
from rft.data.prompts import PlainWording
from rft.tasks.single_turn import SingleTurnTask
from rft.tasks.task import Problem


class QaTask(SingleTurnTask):
    """Shows the context as it is, then the query as it is.

    `task_options.system_prompt` is the first message of the chat; without it a chat begins with the context.
    """

    uses: ClassVar[frozenset[str]] = frozenset({"task_options"})

    def __init__(self, config: Config, tokenizer: PreTrainedTokenizerBase, dataset: Dataset) -> None:
        super().__init__(config, tokenizer, dataset)
        self.wording = PlainWording(config.task_options.get("system_prompt"))

    @classmethod
    def problems(cls, config: Config, world_size: int) -> list[Problem]:
        unknown = sorted(config.task_options.keys() - {"system_prompt"})
        return [
            *super().problems(config, world_size),
            (
                bool(unknown),
                f"unknown config key 'task_options.{''.join(unknown[:1])}'; task qa has system_prompt alone",
            ),
            (
                not isinstance(config.task_options.get("system_prompt", ""), str),
                "task_options.system_prompt must be text",
            ),
        ]
