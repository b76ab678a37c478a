"""Tasks that ask once: the whole context in the prompt, one reply."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rft.config import Config
from rft.data.prepare import prepare
from rft.records import Answer, Attempt, Completion, Prompt, Rollout, Score, TurnRequest
from rft.reward.thoughts import decode_reply, opens_thought
from rft.tasks.task import Episode, PromptSplit, SeedOf, Task, describe_micro_batches


class SingleTurnTask(Task):
    """A subclass sets `wording`, and `own_score` unless the config names a reward function."""

    asks_once: ClassVar[bool] = True

    def load_split(self, name: str) -> PromptSplit:
        return prepare(self.config.data, self.dataset, self.tokenizer, self.wording, name)

    @classmethod
    def longest_shared_prefix(cls, config: Config) -> tuple[int, int]:
        """A context, before the siblings of all its questions."""
        tokens, siblings = super().longest_shared_prefix(config)
        return tokens, siblings * config.data.questions_per_context

    @classmethod
    def describe_batch(cls, config: Config, world_size: int) -> str:
        rollout, data, train = config.rollout, config.data, config.train
        completions = rollout.questions_per_batch * rollout.num_generations
        contexts = math.ceil(rollout.questions_per_batch / data.questions_per_context)
        dense = completions * (data.max_prompt_length + rollout.max_completion_length)
        unique = contexts * data.max_prompt_length + completions * rollout.max_completion_length
        per_step = (unique if train.shared_prefix else dense) // train.steps_per_generation
        return "\n".join(
            [
                f"rollout batch    {rollout.questions_per_batch} questions of about {contexts} contexts x "
                f"{rollout.num_generations} completions = {completions:,}",
                f"optimizer step   {completions // (train.steps_per_generation * world_size):,} completions on each of "
                f"{world_size} ranks, in {describe_micro_batches(config)}",
                f"tokens           at most {data.max_prompt_length:,} of prompt + {rollout.max_completion_length:,} of "
                f"completion; about {per_step:,} per optimizer step, each context computed "
                f"{'once' if train.shared_prefix else 'with every completion'}",
            ]
        )

    def units(self, prompts: Sequence[Prompt]) -> list[list[Prompt]]:
        """Each question by itself."""
        return [[prompt] for prompt in prompts]

    def episode(self, unit: Sequence[Prompt], sibling: int, seed_of: SeedOf) -> Episode:
        """One sibling of one question."""
        (prompt,) = unit
        return SingleTurnEpisode(task=self, prompt=prompt, sibling=sibling, seed=seed_of(prompt.question_id))

    def attempt(self, prompt: Prompt, completion: Completion) -> Attempt:
        """What is scored of a reply."""
        return Attempt(
            question=prompt.question,
            option_order=prompt.option_order,
            asked=self.wording.ask(prompt.question, prompt.option_order),
            text=decode_reply(self.tokenizer, completion.token_ids),
            token_ids=completion.token_ids,
            thought_open=self.opens_thought(prompt),
        )

    def opens_thought(self, prompt: Prompt) -> bool:
        """Whether the chat template itself has opened the thought at the end of the prompt."""
        return opens_thought(self.tokenizer.decode(prompt.token_ids[-8:]))


@dataclass(kw_only=True)
class SingleTurnEpisode:
    """See `rft.tasks.task.Episode`."""

    task: SingleTurnTask
    prompt: Prompt
    sibling: int
    seed: int
    completion: Completion | None = None
    attempt: Attempt | None = None

    def requests(self) -> Sequence[TurnRequest]:
        if self.completion is not None:
            return ()
        max_tokens = self.task.config.rollout.max_completion_length
        return (TurnRequest(prompt_ids=self.prompt.token_ids, seed=self.seed, max_tokens=max_tokens),)

    def observe(self, completions: Sequence[Completion]) -> None:
        (self.completion,) = completions
        self.attempt = self.task.attempt(self.prompt, self.completion)

    def attempts(self) -> Sequence[Attempt]:
        assert self.attempt is not None, "the episode is not over"
        return (self.attempt,)

    def rollout(self, scores: Sequence[Score]) -> Rollout:
        assert self.completion is not None and self.attempt is not None, "the episode is not over"
        (score,) = scores
        answer = Answer(
            prompt=self.prompt, sibling=self.sibling, completion=self.completion, text=self.attempt.text, score=score
        )
        return Rollout(updates=(), answers=(answer,))
