"""Where the samples of a batch come from, as the loop sees it: rollouts (live_rollouts.py) or another run's samples."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch

from rft.checkpoint.state import TrainerState
from rft.eval.predictions import Prediction
from rft.eval.score import EvalResult
from rft.records import Sample
from rft.telemetry.clock import Clock


class SampleSource(Protocol):
    """What the loop needs beside the policy."""

    engine_name: str
    """Library and version of what sampled; for summary.json."""
    num_eval_questions: int
    max_logprob_gap: float
    """Largest mean |log p(engine) - log p(trainer)| that is no fault, in nats."""

    def samples(self, state: TrainerState, last_step: int, clock: Clock) -> tuple[list[Sample], dict[str, float]]:
        """The samples of all ranks for batch `state.batch_index`, the same on every rank, and metrics.

        Args:
            state: where the run stands.
            last_step: the optimizer step that the batch ends with; rows are logged under it.
            clock: measures the phases.
        """
        ...

    def take_weights(self, policy: torch.nn.Module, clock: Clock) -> dict[str, float]:
        """Sampling continues with these weights. Collective. Returns what was measured of it.

        Raises:
            RuntimeError: the engine does not hold them afterwards.
        """
        ...

    def kept(self) -> dict[str, str]:
        """Files of a checkpoint, name to text, with what was sampled already for batches to come. Collective."""
        ...

    def resume(self, checkpoint: Path) -> None:
        """Continues with what a checkpoint kept; after the first `take_weights`."""
        ...

    def evaluate(self) -> tuple[EvalResult, list[Prediction]] | None:
        """Greedy answers of the current weights to the fixed subset; None where nothing can be asked."""
        ...

    def close(self) -> None: ...
