"""Multiple choice with the whole history in the prompt: one turn, one boxed letter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from rft.config import RewardConfig
from rft.records import Answer, Completion, Prompt, Rollout, TurnRequest
from rft.reward.mcq import score
from rft.tasks.task import SeedOf


class McqTask:
    """Makes episodes, and turns replies into scored rollouts.

    Args:
        tokenizer: decodes the replies.
        reward: which scoring rule.
        max_completion_length: tokens a reply may have.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, reward: RewardConfig, max_completion_length: int) -> None:
        self.tokenizer = tokenizer
        self.rule = reward.rule
        self.max_completion_length = max_completion_length

    def units(self, prompts: Sequence[Prompt]) -> list[list[Prompt]]:
        return [[prompt] for prompt in prompts]

    def episode(self, unit: Sequence[Prompt], sibling: int, seed_of: SeedOf) -> McqEpisode:
        """One sibling of one question."""
        (prompt,) = unit
        return McqEpisode(task=self, prompt=prompt, sibling=sibling, seed=seed_of(prompt.question_id))

    def scored(self, prompt: Prompt, sibling: int, completion: Completion, turn: int = 0) -> Answer:
        """Decodes and scores one reply."""
        text = self.tokenizer.decode(completion.token_ids, skip_special_tokens=True)
        return Answer(
            prompt=prompt,
            sibling=sibling,
            completion=completion,
            text=text,
            score=score(text, prompt.letters, prompt.gold, rule=self.rule, thought_open=self.opens_thought(prompt)),
            turn=turn,
        )

    def opens_thought(self, prompt: Prompt) -> bool:
        """Whether the chat template itself has opened the thought at the end of the prompt."""
        return self.tokenizer.decode(prompt.token_ids[-8:]).rstrip().endswith("<think>")


@dataclass(kw_only=True)
class McqEpisode:
    """See `rft.tasks.task.Episode`."""

    task: McqTask
    prompt: Prompt
    sibling: int
    seed: int
    completion: Completion | None = None

    def requests(self) -> Sequence[TurnRequest]:
        if self.completion is not None:
            return ()
        return (
            TurnRequest(prompt_ids=self.prompt.token_ids, seed=self.seed, max_tokens=self.task.max_completion_length),
        )

    def observe(self, completions: Sequence[Completion]) -> None:
        (self.completion,) = completions

    def rollout(self) -> Rollout:
        assert self.completion is not None, "the episode is not over"
        return Rollout(updates=(), answers=(self.task.scored(self.prompt, self.sibling, self.completion),))
