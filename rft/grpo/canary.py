"""With rollout.max_lag: does the engine hold the weights it was sent? One short completion after each sync tells.

Without a lag every batch tells, for its completions are from the weights that train on them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator

from rft.config import Config
from rft.distributed import gather_lists, together
from rft.grpo.frozen_logprobs import frozen_logps
from rft.records import Completion, Sample, TurnRequest
from rft.rollout.engine import Engine, EngineLost, Sampling

TOKENS = 8
"""Of the completion that is compared."""


class Canary:
    """Compares engine and trainer on the shortest prompt of the last batch.

    Args:
        sampling: of training, whose log-probs both sides compute.
    """

    def __init__(self, config: Config, accelerator: Accelerator, engine: Engine, sampling: Sampling) -> None:
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
        """`sampling/canary_logp_difference`: mean |log p(engine) - log p(trainer)|, in nats. Collective.

        Raises:
            RuntimeError: it is above train.max_logprob_gap.
        """
        if self._prompt_ids is None:
            return {}
        try:
            completions = together(self._accelerator, self._ask, EngineLost)
        except EngineLost:
            return {}  # the next batch will say so, when the run stands where it can be saved
        (completion,) = gather_lists(self._accelerator, completions)
        sample = Sample(
            prompt_ids=self._prompt_ids,
            completion_ids=completion.token_ids,
            sampling_logprobs=completion.logprobs,
            advantage=0.0,
            group="",
        )
        (logps,) = frozen_logps(self._config, self._accelerator, policy, [sample])
        gap = float((logps - torch.tensor(completion.logprobs)).abs().mean())
        if not gap <= self._config.train.max_logprob_gap:
            raise RuntimeError(
                f"mean |log p(engine) - log p(trainer)| of {TOKENS} tokens after a sync is {gap:.2e}, over "
                f"train.max_logprob_gap = {self._config.train.max_logprob_gap:.2e}: the servers do not hold the "
                "trainer's weights, or compute in a coarser type"
            )
        return {"sampling/canary_logp_difference": gap}

    def _ask(self) -> list[Completion]:
        if not self._accelerator.is_main_process:
            return []
        assert self._prompt_ids is not None
        tokens = min(TOKENS, self._config.rollout.max_completion_length)
        request = TurnRequest(prompt_ids=self._prompt_ids, seed=self._config.train.seed, max_tokens=tokens)
        return self._engine.generate([request], self._sampling)
