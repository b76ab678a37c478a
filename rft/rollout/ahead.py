"""The next batch's rollouts while the trainer works on this one (rollout.max_lag).

Servers sample batch b + 1 with the weights from before batch b is trained on: it is one batch behind when its turn
comes, and never more. What a checkpoint finds sampled ahead is kept in it, so that a resumed run trains on the same.
"""

from __future__ import annotations

import hashlib
import json
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from rft.records import Completion, TurnRequest
from rft.rollout.engine import Engine, EngineCounters, EngineLost, Sampling
from rft.tasks.task import Episode

KEPT = "ahead.jsonl"
"""The file of a checkpoint with what was sampled ahead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """One rank's part of a rollout batch, not scored yet.

    Example:
        Sampled(episodes=[...], used=EngineCounters(...), seconds=31.2, idle_seconds=4.1)
    """

    episodes: list[Episode]
    used: EngineCounters
    """What the engine did for it."""
    seconds: float
    """From its first request to its last completion."""
    idle_seconds: float
    """How long the engine had nothing to do before it."""


class Asked:
    """An engine's `generate` that knows completions already and remembers all.

    Args:
        engine: asked for what is not known.
        known: completions by `key_of` their request.
    """

    def __init__(self, engine: Engine, known: Mapping[str, Completion]) -> None:
        self.engine = engine
        self.known = known
        self.seen: dict[str, Completion] = {}

    def generate(self, requests: Sequence[TurnRequest], sampling: Sampling) -> list[Completion]:
        keys = [key_of(request) for request in requests]
        missing = [number for number, key in enumerate(keys) if key not in self.known]
        fresh = self.engine.generate([requests[number] for number in missing], sampling)
        found = dict(zip(missing, fresh, strict=True))
        completions = [found[number] if number in found else self.known[key] for number, key in enumerate(keys)]
        self.seen |= dict(zip(keys, completions, strict=True))
        return completions


def key_of(request: TurnRequest) -> str:
    """Of what was asked; a question's siblings have seeds of their own."""
    numbers = array("Q", (request.seed, request.max_tokens, *request.prompt_ids))
    return hashlib.blake2b(numbers.tobytes(), digest_size=16).hexdigest()


class AheadOfTrainer:
    """
    Args:
        engine: of this rank; it is used in a thread, and by nobody else meanwhile.
        sample: samples a batch, by its index, with a `generate`.
    """

    def __init__(self, engine: Engine, sample: Callable[[int, Asked], list[Episode]]) -> None:
        self._engine = engine
        self._sample = sample
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rollout")
        self._under_way: dict[int, tuple[Asked, Future[Sampled]]] = {}
        """By batch: what it has asked, and its end."""
        self._known: dict[str, Completion] = {}
        self._idle_since = time.monotonic()

    def start(self, batch_index: int) -> None:
        """Begins to sample a batch with the engine's present weights; nothing where it has begun already."""
        if batch_index not in self._under_way:
            asked = Asked(self._engine, self._known)
            self._under_way[batch_index] = asked, self._thread.submit(self._run, batch_index, asked)

    def _run(self, batch_index: int, asked: Asked) -> Sampled:
        before, begin = self._engine.counters(), time.monotonic()
        idle = begin - self._idle_since
        episodes = self._sample(batch_index, asked)
        self._idle_since = time.monotonic()
        return Sampled(
            episodes=episodes,
            used=self._engine.counters() - before,
            seconds=self._idle_since - begin,
            idle_seconds=idle,
        )

    def take(self, batch_index: int) -> Sampled:
        """The batch, begun now if it was not before.

        Raises:
            EngineLost: as `Engine.generate`.
        """
        try:
            sampled = self._end_of(batch_index)
        except EngineLost:
            # It was lost while the trainer worked, and may be back.
            del self._under_way[batch_index]
            sampled = self._end_of(batch_index)
        del self._under_way[batch_index]
        self._known = {}
        return sampled

    def _end_of(self, batch_index: int) -> Sampled:
        self.start(batch_index)
        _, future = self._under_way[batch_index]
        return future.result()

    def wait(self) -> None:
        """Until nothing is under way; what went wrong is raised when the batch is taken."""
        for _, future in self._under_way.values():
            future.exception()

    def kept(self) -> list[str]:
        """What was sampled and not taken, on this rank, as lines of a checkpoint's file. Waits for it."""
        if any(future.exception() is not None for _, future in self._under_way.values()):
            return []
        return [
            json.dumps({"key": key, "age": self._engine.policy_version - completion.policy_version} | plain(completion))
            for asked, _ in self._under_way.values()
            for key, completion in asked.seen.items()
        ]

    def resume(self, lines: Sequence[str]) -> None:
        """Continues with what a checkpoint kept: of every rank, for they may be others now. After the first sync."""
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self._known = {
            row["key"]: Completion(
                token_ids=tuple(row["token_ids"]),
                logprobs=tuple(row["logprobs"]),
                finish_reason=row["finish_reason"],
                policy_version=self._engine.policy_version - row["age"],
            )
            for row in rows
        }

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)


def plain(completion: Completion) -> dict[str, Any]:
    row = asdict(completion)
    del row["policy_version"]
    return row
