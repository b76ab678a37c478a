"""Reward functions of the user's, with trl's own signature: those written for trl's GRPOTrainer work unchanged.

    def brevity(completions, answer, **kwargs) -> list[float | None]: ...

    reward.function=[task,my_rewards:brevity] reward.weights=[1.0,0.2]

A function is called with keyword arguments alone, for all attempts of a batch at once:

    prompts          what was asked: [{"role": "user", "content": ...}] each, or the text with reward.completions=text.
                     The shared context is not in it; context_id says which one came before.
    completions      the replies in the same form, with the role assistant
    completion_ids   the replies' token ids as lists; empty ones where a chat endpoint answered
    trainer_state    transformers' TrainerState, of which global_step, max_steps and epoch are set
    log_metric       log_metric(name, value) adds a number to the run's metrics, averaged over the batch
    log_extra        taken, so that trl's functions work, and ignored: there is no table of completions
    question_id, context_id, cluster, query, answer, incorrect_answers, option_order
                     of the questions, a list each
    and every tag and every column of the questions by its name, a list each. A column takes the place of an argument of
    the line above, which takes the place of a tag. What only some questions have is None for the others.

It returns one value per attempt: a number, true or false, or None where it does not apply; NaN counts as None. The
reward is the sum of weight * value over the functions that returned a value, None where all returned None (trl's
`sum_then_normalize`). Functions declared with `async def` run at the same time, in an event loop that lives as long as
the process. All functions get the same lists: they are for reading.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from transformers import TrainerState

from rft.config import RewardConfig
from rft.records import Attempt, Question, Score
from rft.reward.function_calls import call_functions
from rft.reward.function_loading import OWN, load_functions, signature_of

RESERVED = ("prompts", "completions", "completion_ids", "trainer_state", "log_metric", "log_extra")
"""Arguments whose names no tag and no column may have."""


def check_reward(config: RewardConfig) -> None:
    """Finds what is wrong with the functions and weights of a config before anything loads.

    Raises:
        ValueError: a function that cannot be found or called, a reward model, weights that do not fit.
    """
    load_functions(config)


class RewardFunctions:
    """Scores attempts with the functions of a config.

    Args:
        config: `function`, `weights` and `completions` are used.
        own: the task's own scorer, which `task` in `function` stands for. What it raises passes through.

    Attributes:
        trainer_state: handed to functions; `begin_step` sets `global_step`, `max_steps` and `epoch`.

    Raises:
        ValueError: as `check_reward`.
    """

    def __init__(self, config: RewardConfig, own: Callable[[Sequence[Attempt]], list[Score]]) -> None:
        self.functions = load_functions(config)
        self.own = own
        self.as_messages = config.completions == "messages"
        self.trainer_state = TrainerState()
        self.logged: dict[str, list[float]] = {}

    def check_questions(self, questions: Iterable[Question]) -> None:
        """Finds columns that a function lacks, or that have the name of another argument, before anything is asked.

        Raises:
            ValueError: in one line that names the column or the function.
        """
        names = dict.fromkeys(name for question in questions for name in question_arguments(question, ()))
        for function in self.functions:
            signature = None if function.call is None else signature_of(function.call)
            try:
                if signature is not None:
                    signature.bind(**dict.fromkeys([*RESERVED, *names]))
            except TypeError as error:
                raise ValueError(
                    f"reward function {function.name}: {error}; the data set has {', '.join(names)}"
                ) from None

    def __call__(self, attempts: Sequence[Attempt]) -> list[Score]:
        """One score per attempt, in their order.

        Raises:
            RuntimeError: a function that raises, or returns what is no reward; with its name and a question's id.
            ValueError: a column with the name of another argument.
        """
        if not attempts:
            return []
        shared = {"trainer_state": self.trainer_state, "log_metric": self.log_metric, "log_extra": ignore_extra}
        called = [function for function in self.functions if function.call is not None]
        values = call_functions(called, attempts, self.columns(attempts), shared)
        own = self.own(attempts) if len(called) < len(self.functions) else None
        if own is not None:
            values[OWN] = [score.reward for score in own]
        return [
            self.combined({name: of[index] for name, of in values.items()}, own[index] if own else None)
            for index in range(len(attempts))
        ]

    def combined(self, values: dict[str, float | None], own: Score | None) -> Score:
        """The score of one attempt, from what each function said of it."""
        parts = {f.name: value for f in self.functions if (value := values[f.name]) is not None}
        weighted = [function.weight * parts[function.name] for function in self.functions if function.name in parts]
        return Score(
            reward=sum(weighted) if weighted else None,
            parsed=own.parsed if own else None,
            failure=own.failure if own else None,
            parts=parts,
        )

    def columns(self, attempts: Sequence[Attempt]) -> dict[str, list[Any]]:
        """The arguments that have one item per attempt."""
        rows = [question_arguments(attempt.question, attempt.option_order) for attempt in attempts]
        names = dict.fromkeys(name for row in rows for name in row)
        return {
            "prompts": [self.shown("user", attempt.asked) for attempt in attempts],
            "completions": [self.shown("assistant", attempt.text) for attempt in attempts],
            "completion_ids": [list(attempt.token_ids) for attempt in attempts],
            **{name: [row.get(name) for row in rows] for name in names},
        }

    def shown(self, role: str, text: str) -> str | list[dict[str, str]]:
        return [{"role": role, "content": text}] if self.as_messages else text

    def begin_step(self, step: int, max_steps: int, epoch: float) -> None:
        """Sets what functions may read in `trainer_state`."""
        state = self.trainer_state
        state.global_step, state.max_steps, state.epoch = step, max_steps, epoch

    def log_metric(self, name: str, value: float) -> None:
        self.logged.setdefault(name, []).append(float(value))

    def pop_metrics(self) -> dict[str, float]:
        """The mean of what functions gave to `log_metric`, by name, since this was last asked for; of this rank."""
        logged, self.logged = self.logged, {}
        return {name: statistics.fmean(values) for name, values in logged.items()}


def ignore_extra(column: str, values: list[Any]) -> None:
    """trl shows such values in a table of completions; there is none here."""


def question_arguments(question: Question, option_order: Sequence[int]) -> dict[str, Any]:
    """What functions get to know of a question, by the name of the argument.

    Raises:
        ValueError: a tag or a column with the name of another argument.
    """
    for name in (*question.tags, *question.columns):
        if name in RESERVED:
            raise ValueError(
                f"question {question.question_id} has a tag or column '{name}', the name of another argument of reward "
                "functions; rename it"
            )
    return {
        **question.tags,
        "question_id": question.question_id,
        "context_id": question.context_id,
        "cluster": question.cluster,
        "query": question.query,
        "answer": question.correct_answer,
        "incorrect_answers": list(question.incorrect_answers),
        "option_order": list(option_order),
        **question.columns,
    }


def reward_part_metrics(scores: Sequence[Score]) -> dict[str, float]:
    """Of one rollout batch: mean and standard deviation (over n - 1) of each function's values, by trl's names.

    `reward/left_out_ratio` is the share of attempts without a reward. A function that returned no value has no entry,
    and one that returned a single value no deviation.
    """
    values: dict[str, list[float]] = {}
    for score in scores:
        for name, value in score.parts.items():
            values.setdefault(name, []).append(value)
    metrics = {f"rewards/{name}/mean": statistics.fmean(of) for name, of in values.items()}
    metrics |= {f"rewards/{name}/std": statistics.stdev(of) for name, of in values.items() if len(of) > 1}
    if scores:
        metrics["reward/left_out_ratio"] = sum(score.reward is None for score in scores) / len(scores)
    return metrics
