"""The ranks of a comparison: which questions each of them asks, and what they have to agree on.

Each rank has a model of its own and needs nothing of the others while it asks. Launched with

    torchrun --nproc-per-node 8 rft/evaluate.py configs/qwen3_4b.yaml
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from rft.eval.asked import Asked

T = TypeVar("T")

ALONE = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
"""What a launcher would tell a single process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """The processes that were launched together, and which of them this is.

    Example:
        Ranks(index=3, count=8, local_index=3)
    """

    index: int = 0
    count: int = 1
    local_index: int = 0
    """Among those of this machine."""

    @staticmethod
    def launched() -> Ranks:
        """As torchrun and accelerate say; one process without them."""
        found = {name: int(os.environ.get(name, alone)) for name, alone in ALONE.items()}
        return Ranks(index=found["RANK"], count=found["WORLD_SIZE"], local_index=found["LOCAL_RANK"])

    @property
    def is_first(self) -> bool:
        return self.index == 0

    def join(self, timeout_s: int) -> None:
        """Makes the process group; nothing to do for one process.

        Args:
            timeout_s: how long a rank waits for the others.

        Raises:
            ValueError: the launched processes did not find each other.
        """
        if self.count == 1:
            return
        from accelerate import PartialState

        from rft.distributed import on_cpu, set_default_timeout

        # Nothing is trained: accelerate would join the ranks through DeepSpeed.
        os.environ.pop("ACCELERATE_USE_DEEPSPEED", None)
        timeout = timedelta(seconds=timeout_s)
        set_default_timeout(timeout)
        state = PartialState(cpu=on_cpu(), timeout=timeout)
        if state.num_processes != self.count:
            raise ValueError(
                f"{self.count} processes were launched and accelerate made {state.num_processes} of them one run; "
                "start them with torchrun or accelerate launch"
            )

    def first_says(self, make: Callable[[], T]) -> T:
        """What `make` gives on the first rank; the others wait for it.

        Raises:
            ValueError: of the first rank, on all.
        """
        if self.count == 1:
            return make()
        from accelerate.utils import broadcast_object_list

        told: list[Any] = [None, None]
        if self.is_first:
            try:
                told[0] = make()
            except ValueError as error:
                told[1] = str(error)
        broadcast_object_list(told)
        if told[1] is not None:
            raise ValueError(told[1])
        return told[0]

    def one_machine_after_another(self, make: Callable[[], T]) -> T:
        """What `make` gives here. The first rank of each machine goes first, and fills the caches for the others.

        Raises:
            ValueError: of the first rank that has one, on all.
        """
        made: list[T] = []
        for leads in (True, False):
            with self.together():
                if leads == (self.local_index == 0):
                    made.append(make())
        return made[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """All ranks come to the end of the block, or none goes on.

        Raises:
            ValueError: of the first rank that has one, on all.
        """
        if self.count == 1:
            yield
            return
        failure: str | None = None
        try:
            yield
        except ValueError as error:
            failure = str(error)
        from accelerate.utils import gather_object

        failures = [told for told in gather_object([failure]) if told is not None]
        if failures:
            raise ValueError(failures[0])

    def share(self, asked: Sequence[Asked]) -> list[Asked]:
        """What this rank asks, in the given order: all of a context or nothing of it, and about as much as the others.

        The contexts with the most to ask are dealt first, each to the rank that has the least.
        """
        sizes = Counter(question.context_id for question, _ in asked)
        load = [0] * self.count
        owner: dict[str, int] = {}
        for context_id, size in sorted(sizes.items(), key=lambda pair: -pair[1]):
            owner[context_id] = load.index(min(load))
            load[owner[context_id]] += size
        return [pair for pair in asked if owner[pair[0].context_id] == self.index]

    def leave(self) -> None:
        """Ends the process group. The engine has to be closed before."""
        if self.count == 1:
            return
        from accelerate import PartialState

        PartialState().destroy_process_group()
