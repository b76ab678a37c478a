"""Samples of another run in place of rollouts (train.replay)."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from rft.checkpoint.state import TrainerState
from rft.eval.predictions import Prediction
from rft.eval.score import EvalResult
from rft.grpo.replay import num_saved, read_samples
from rft.records import Sample
from rft.telemetry.clock import Clock


class ReplayedSamples:
    """Samples of another run (log.save_samples), batch by batch: no engine, no evaluation; see `SampleSource`.

    Args:
        folder: of `log.save_samples`.
        questions_per_batch: of this run; a saved batch may have no more, or a part of it would never be trained on.

    Raises:
        ValueError: a folder without saved samples.
    """

    engine_name = "replay"
    num_eval_questions = 0
    # The weights may be others than those that sampled.
    max_logprob_gap = math.inf

    def __init__(self, folder: Path, questions_per_batch: int) -> None:
        self.folder = folder
        self.questions_per_batch = questions_per_batch
        self.num_batches = num_saved(folder)

    def samples(self, state: TrainerState, last_step: int, clock: Clock) -> tuple[list[Sample], dict[str, float]]:
        samples = read_samples(self.folder, state.batch_index)
        most = max((sample.place for sample in samples), default=0)
        if most >= self.questions_per_batch:
            raise ValueError(
                f"{self.folder}: batch {state.batch_index} has more questions ({most + 1} at least) than "
                f"rollout.questions_per_batch = {self.questions_per_batch}; set it as in the run that saved the samples"
            )
        return samples, {}

    def take_weights(self, policy: torch.nn.Module, clock: Clock) -> dict[str, float]:
        return {}  # nobody samples

    def kept(self) -> dict[str, str]:
        return {}

    def resume(self, checkpoint: Path) -> None:
        """The samples are where they were."""

    def evaluate(self) -> tuple[EvalResult, list[Prediction]] | None:
        return None

    def close(self) -> None:
        """Nothing is open."""
