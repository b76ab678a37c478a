"""With rollout.max_lag: do the servers hold the weights they were sent? A short completion of each one tells.

Without a lag every batch tells, for its completions are from the weights that train on them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator

from rft.config import Config
from rft.distributed import gather_lists
from rft.grpo.frozen_logprobs import frozen_logps
from rft.records import Sample, TurnRequest
from rft.rollout.engine import Sampling
from rft.serving.engine import ServerEngine

TOKENS = 8
"""Of each completion that is compared."""


class Canary:
    """Compares every server and the trainer on the shortest prompt of the last batch.

    Args:
        sampling: of training, whose log-probs both sides compute.
    """

    def __init__(self, config: Config, accelerator: Accelerator, engine: ServerEngine, sampling: Sampling) -> None:
        self._config = config
        self._accelerator = accelerator
        self._engine = engine
        self._sampling = sampling
        self._prompt_ids: tuple[int, ...] | None = None

    def choose(self, samples: Sequence[Sample]) -> None:
        """Takes a prompt of this batch; `samples` are those of all ranks, the same on each."""
        if samples:
            self._prompt_ids = min((sample.prompt_ids for sample in samples), key=len)

    def compare(self, policy: torch.nn.Module) -> dict[str, float]:
        """`sampling/canary_logp_difference`: mean |log p(engine) - log p(trainer)| of the worst server, in nats.
        Collective.

        Raises:
            RuntimeError: it is above train.max_logprob_gap.
        """
        if self._prompt_ids is None:
            return {}
        samples = gather_lists(self._accelerator, self._ask() if self._accelerator.is_main_process else [])
        if not samples:
            return {}  # no server is up: the next batch says so, when the run stands where it can be saved
        logps = frozen_logps(self._config, self._accelerator, policy, samples)
        gap = max(
            float((ours - torch.tensor(sample.sampling_logprobs)).abs().mean())
            for ours, sample in zip(logps, samples, strict=True)
        )
        if not gap <= self._config.train.max_logprob_gap:
            raise RuntimeError(
                f"mean |log p(engine) - log p(trainer)| of {TOKENS} tokens after a sync is {gap:.2e}, over "
                f"train.max_logprob_gap = {self._config.train.max_logprob_gap:.2e}: a server does not hold the "
                "trainer's weights, or computes in a coarser type"
            )
        return {"sampling/canary_logp_difference": gap}

    def _ask(self) -> list[Sample]:
        """What each server says, as samples that the trainer can score."""
        assert self._prompt_ids is not None
        tokens = min(TOKENS, self._config.rollout.max_completion_length)
        request = TurnRequest(prompt_ids=self._prompt_ids, seed=self._config.train.seed, max_tokens=tokens)
        return [
            Sample(
                prompt_ids=self._prompt_ids,
                completion_ids=completion.token_ids,
                sampling_logprobs=completion.logprobs,
                advantage=0.0,
                group="",
            )
            for completion in self._engine.one_from_each(request, self._sampling)
        ]
