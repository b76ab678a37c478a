"""Where a run stands, as trainer_state.json has it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

TRAINER_STATE = "trainer_state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerState:
    """Where a run stands.

    Example:
        TrainerState(step=50, batch_index=25, best_accuracy=0.61, best_step=50)
    """

    step: int = 0
    """Optimizer steps taken."""
    batch_index: int = 0
    """Rollout batches consumed."""
    best_accuracy: float | None = None
    best_step: int | None = None
    idle_steps: int = 0
    """Optimizer steps in a row, up to now, that had nothing to learn from."""
    wall_seconds: float = 0.0
    """Of all starts of the run, up to here."""
    evaluation_due: bool = False
    """A signal stopped the run at a checkpoint whose evaluation had to be left out: the next start makes up for it."""
    passing_steps: tuple[int, ...] = ()
    """Checkpoints that are there because a signal stopped the run, between two regular ones."""
    data: str | None = None
    """Fingerprint of the training data; None with train.replay."""


def write_state(folder: Path, state: TrainerState) -> None:
    (folder / TRAINER_STATE).write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")


def read_state(checkpoint: Path) -> TrainerState:
    """Of a checkpoint, possibly of an earlier version, which has fewer fields.

    Raises:
        ValueError: the file cannot be read, or says something else.
    """
    file = checkpoint / TRAINER_STATE
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return TrainerState(**found | {"passing_steps": tuple(found.get("passing_steps", ()))})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is damaged ({error})") from None
