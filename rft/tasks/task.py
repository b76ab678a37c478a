"""The one interface of every task: how questions are worded, how replies become rollouts, what is checked and logged.

A multiple-choice question asks the engine once. A memory asks once per chunk, and then once per question. The loop that
serves them (rollout/collect.py) does not know the difference. A task of your own subclasses `Task`, or the nearest of
the tasks here, and is named in the config as `task: package.module:Name`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

from transformers import PreTrainedTokenizerBase

from rft.config import Config
from rft.data.dataset import Dataset
from rft.data.prompts import Wording
from rft.records import Attempt, Completion, Prompt, Question, Rollout, Score, TurnRequest
from rft.reward.function_loading import OWN
from rft.reward.scorer import Scorer, make_scorer

SeedOf = Callable[[str], int]
"""The sampling seed of a turn, by a name that is unique within the episode's batch and sibling."""

Problem = tuple[bool, str]
"""Whether a config has it, and the one line that says what to do."""


class Episode(Protocol):
    """One rollout in progress."""

    def requests(self) -> Sequence[TurnRequest]:
        """What to ask next; empty when the episode is over. Asking twice without `observe` gives the same."""
        ...

    def observe(self, completions: Sequence[Completion]) -> None:
        """Takes the replies to the last `requests`, in their order."""
        ...

    def attempts(self) -> Sequence[Attempt]:
        """What has to be scored, once the episode is over."""
        ...

    def rollout(self, scores: Sequence[Score]) -> Rollout:
        """The finished rollout, from the scores of `attempts` in their order."""
        ...


class PromptSplit(Protocol):
    """The questions of one split, and their prompts on demand."""

    questions: list[Question]
    manifest: dict[str, Any]
    """What was read, left out and measured."""

    def __len__(self) -> int: ...

    def eval_order(self, index: int) -> tuple[int, ...]:
        """The order in which an evaluation shows the options of question `index`."""
        ...

    def prompt(self, index: int, option_order: Sequence[int]) -> Prompt:
        """Question `index` as token ids, its options in `option_order`; `Prompt.option_order` says what is shown."""
        ...


def describe_micro_batches(config: Config) -> str:
    """For `Task.describe_batch`."""
    limit = config.train.max_tokens_per_microbatch
    if config.train.shared_prefix:
        return f"micro-batches of up to {limit if isinstance(limit, str) else f'{limit:,}'} unique tokens"
    return f"micro-batches of {config.train.per_device_train_batch_size:,}"


class Task(ABC):
    """A way to ask questions.

    Args:
        config: of the run.
        tokenizer: encodes prompts, decodes replies.
        dataset: what is asked about.
    """

    uses: ClassVar[frozenset[str]] = frozenset()
    """What this task reads of the config that not every task reads: sections such as `memory`, keys such as
    `reward.rule`."""

    asks_once: ClassVar[bool] = False
    """A rollout is one reply to one question, whose prompt has the whole context. Such tasks can choose their questions
    (rollout.select) and their windows (data.curriculum)."""

    wording: Wording
    """What stands around a question and its options."""

    def __init__(self, config: Config, tokenizer: PreTrainedTokenizerBase, dataset: Dataset) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.dataset = dataset
        self.score: Scorer = make_scorer(config.reward, self.own_score)
        """Scores of attempts, in their order: by `reward.function`, else by `own_score`."""

    # ------------------------------------------------------------------------------- before anything is loaded

    @classmethod
    def problems(cls, config: Config, world_size: int) -> list[Problem]:
        """What cannot work with this task."""
        named = config.reward.function
        functions = [named] if isinstance(named, str) else named
        return [
            (
                cls.own_score is Task.own_score and (functions is None or OWN in functions),
                f"task {config.task} has no reward of its own; set reward.function to package.module:name",
            )
        ]

    @classmethod
    def longest_completion(cls, config: Config) -> tuple[int, str]:
        """Most tokens that one reply can have, and the config key that says so."""
        return config.rollout.max_completion_length, "rollout.max_completion_length"

    @classmethod
    def longest_shared_prefix(cls, config: Config) -> tuple[int, int]:
        """The most tokens that requests of one rank begin with in common while training, and how many requests do."""
        return config.data.max_prompt_length, config.rollout.num_generations

    @classmethod
    @abstractmethod
    def describe_batch(cls, config: Config, world_size: int) -> str:
        """What one rollout batch consists of, for a person: a line per fact."""

    # ----------------------------------------------------------------------------------------- data and replies

    @abstractmethod
    def load_split(self, name: str) -> PromptSplit:
        """The prompts of one split; checked, and tokenised where they can be before training.

        Raises:
            ValueError: data that cannot be used, a prompt that does not fit.
        """

    @abstractmethod
    def units(self, prompts: Sequence[Prompt]) -> list[list[Prompt]]:
        """The prompts, in order, cut into those that one episode answers."""

    @abstractmethod
    def episode(self, unit: Sequence[Prompt], sibling: int, seed_of: SeedOf) -> Episode:
        """One sibling of a unit."""

    def own_score(self, attempts: Sequence[Attempt]) -> list[Score]:
        """The task's own scores, used where the config names no reward function. A task may have none."""
        raise NotImplementedError("the task has none, and `problems` refuses a config that asks for it")

    # -------------------------------------------------------------------------------------------------- metrics

    def outcomes(self, groups: Sequence[Sequence[Rollout]]) -> list[Any]:
        """What `metrics` needs of this rank's rollouts beyond rewards and lengths: small and picklable."""
        return []

    def metrics(self, outcomes: Sequence[Any]) -> dict[str, float]:
        """Metrics of one rollout batch from the outcomes of all ranks, beyond those that every task has."""
        return {}
