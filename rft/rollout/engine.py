"""What the trainer needs of an inference engine: token ids in; token ids, log-probs, finish reason, version out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from rft.records import Completion, TurnRequest


class EngineLost(RuntimeError):
    """Nothing answers any more, and the run can go on later: what it has trained is not touched by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn. `temperature` 0 is greedy; log-probs are those of the tempered distribution.

    Example:
        Sampling(temperature=1.0, top_p=1.0, top_k=0)
    """

    temperature: float
    top_p: float
    top_k: int
    """0 samples from the whole vocabulary."""


GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCounters:
    """Tokens an engine has handled since it started; subtract two readings to get a phase.

    Example:
        EngineCounters(prompt_tokens=4096, cached_prompt_tokens=3584, generated_tokens=512, preemptions=0)
    """

    prompt_tokens: int
    """Prompt tokens of all finished requests."""
    cached_prompt_tokens: int
    """Those of them that the prefix cache held, so that they were not computed again."""
    generated_tokens: int
    preemptions: int = 0
    """How often a sequence lost its place in a full KV cache, and was computed again."""

    def __sub__(self, earlier: EngineCounters) -> EngineCounters:
        return EngineCounters(
            prompt_tokens=self.prompt_tokens - earlier.prompt_tokens,
            cached_prompt_tokens=self.cached_prompt_tokens - earlier.cached_prompt_tokens,
            generated_tokens=self.generated_tokens - earlier.generated_tokens,
            preemptions=self.preemptions - earlier.preemptions,
        )


class Generator(Protocol):
    """Whatever answers requests."""

    def generate(self, requests: Sequence[TurnRequest], sampling: Sampling) -> list[Completion]:
        """One completion per request, in the order of the requests.

        Raises:
            EngineLost: nothing answers any more.
        """
        ...


class Engine(Generator, Protocol):
    """One inference engine that serves one rank; with servers, that rank's way to all of them."""

    name: str
    """Library and version, e.g. `vllm 0.31.0`."""
    summary: str
    """What a person should know of it, in one line."""
    kv_cache_tokens: int
    """Tokens that its KV cache holds at once."""
    policy_version: int
    """Weight syncs so far."""

    def sync_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Loads every (transformers parameter name, full tensor) pair, then empties the prefix cache; with
        rollout.lora=adapter the pairs of `named_adapter_weights`. Collective."""
        ...

    def reset_prefix_cache(self) -> None:
        """Forgets every cached prefix; raises RuntimeError when the engine refuses."""
        ...

    def counters(self) -> EngineCounters: ...

    def sleeping_bytes(self) -> int:
        """Device memory that `sleep` gives back, and that PyTorch counts as allocated all the same."""
        ...

    def sleep(self) -> None:
        """Gives device memory back, where there is some to give. `generate` then needs another `sync_weights`."""
        ...

    def close(self) -> None:
        """Ends the engine; it must come before the process group is taken down."""
        ...
