"""Views of a run's numbers in other programs: wandb, trackio, tensorboard.

metrics.jsonl has every number by itself. So trouble with a view is a warning, and the run goes on without it.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.tracking import GeneralTracker, TensorBoardTracker, TrackioTracker, WandBTracker

from rft.config import Config, to_dict
from rft.config_schema import tracker_names
from rft.extras import need

logger = logging.getLogger(__name__)

TABLE_ROWS = 200
"""Of a table in wandb."""

TRL_SECTIONS = ("clip_ratio", "completions", "kl", "rewards", "sampling")
"""What trl's names begin with; transformers shows all that a trainer logs under `train/`."""


def check_trackers(key: str, report_to: str | Sequence[str]) -> None:
    """
    Args:
        key: of the config, for the message.

    Raises:
        ValueError: a tracker whose package is not installed.
    """
    for name in tracker_names(report_to):
        need(name, f"{key}={name}")


class Trackers:
    """The views of one run.

    Args:
        config: of the run; `log` and `output_dir` are used.
        first_step: optimizer steps already taken; None is a fresh start.
    """

    def __init__(self, config: Config, first_step: int | None) -> None:
        self.opened: list[GeneralTracker] = []
        for name in tracker_names(config.log.report_to):
            try:
                self.opened.append(OPENERS[name](config, first_step))
            except Exception as error:  # keys, addresses, networks, servers and disks fail in many ways
                logger.warning("%s did not start (%s); metrics.jsonl has every number", name, first_line(error))

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Shows `values`, all measured at optimizer step `step`; those that are no finite number are left out."""
        shown = {shown_name(name): value for name, value in values.items() if math.isfinite(value)}
        self.each(lambda tracker: tracker.log(shown, step=step))

    def table(self, step: int, name: str, rows: Sequence[dict[str, Any]]) -> None:
        """Shows the first rows as a table in wandb."""
        columns = list(rows[0]) if rows else []
        data = [[row[column] for column in columns] for row in rows[:TABLE_ROWS]]
        self.each(lambda tracker: log_table(tracker, name, columns, data, step))

    def artifact(self, name: str, file: Path) -> None:
        """Hands a file to wandb."""
        self.each(lambda tracker: log_artifact(tracker, name, file))

    def close(self) -> None:
        self.each(lambda tracker: tracker.finish())

    def each(self, show: Callable[[GeneralTracker], None]) -> None:
        """Calls `show` with every view; one that fails is shown nothing more."""
        for tracker in tuple(self.opened):
            try:
                show(tracker)
            except Exception as error:
                logger.warning("%s: %s; it gets nothing more of this run", tracker.name, first_line(error))
                self.opened.remove(tracker)


def shown_name(name: str) -> str:
    """A metric's name in a view, whose sections are what stands before the first slash.

    trl's metrics get the names under which transformers shows them, so that runs of both lie in the same charts.
    """
    section, slash, _ = name.partition("/")
    return f"train/{name}" if not slash or section in TRL_SECTIONS else name


def log_table(tracker: GeneralTracker, name: str, columns: list[str], data: list[list[Any]], step: int) -> None:
    if isinstance(tracker, WandBTracker) and data:
        tracker.log_table(name, columns=columns, data=data, step=step)


def log_artifact(tracker: GeneralTracker, name: str, file: Path) -> None:
    if not isinstance(tracker, WandBTracker):
        return
    import wandb

    artifact = wandb.Artifact(f"{name}-{tracker.run.id}", type=name)
    artifact.add_file(str(file))
    tracker.run.log_artifact(artifact)


def run_name(config: Config) -> str:
    return config.log.run_name or Path(config.output_dir).name


def start_tensorboard(config: Config, first_step: int | None) -> GeneralTracker:
    """Events in OUTPUT_DIR/tensorboard; those of work that a resume repeats are marked as gone."""
    purge_step = None if first_step is None else first_step + 1
    folder = Path(config.output_dir) / "tensorboard"
    return started(TensorBoardTracker(run_name(config), str(folder), purge_step=purge_step))


def start_trackio(config: Config, first_step: int | None) -> GeneralTracker:
    """A run in trackio's own folder of this machine, where `trackio show` finds it beside others."""
    # It resumes by name, and two runs in folders of one name would be one.
    folder = hashlib.sha256(str(Path(config.output_dir).absolute()).encode()).hexdigest()[:6]
    fresh = "never" if first_step is None else "allow"
    name = config.log.run_name or f"{run_name(config)}-{folder}"
    return started(TrackioTracker(config.log.project, name=name, config=to_dict(config), resume=fresh))


WANDB_ADDRESSES = ("WANDB_MODE", "WANDB_BASE_URL")
"""Variables that can be wrong in such a way that wandb does not start even offline."""


def start_wandb(config: Config, first_step: int | None) -> GeneralTracker:
    """A wandb run, offline where there is no key or wandb refuses."""
    try:
        return open_wandb(config, os.environ.get("WANDB_MODE") or None)
    except Exception as error:
        logger.warning("wandb: %s; this run is recorded offline (`wandb sync` sends it later)", first_line(error))
    kept = {name: os.environ.pop(name) for name in WANDB_ADDRESSES if name in os.environ}
    try:
        return open_wandb(config, "offline")
    finally:
        os.environ |= kept


def open_wandb(config: Config, mode: str | None) -> GeneralTracker:
    import wandb

    if mode is None:
        mode = "online" if wandb.login(prompt=False) else "offline"
    id_file = Path(config.output_dir) / "wandb_id.txt"
    run_id = id_file.read_text(encoding="utf-8").strip() if id_file.exists() else uuid.uuid4().hex[:8]
    id_file.write_text(run_id + "\n", encoding="utf-8")
    return started(
        WandBTracker(
            config.log.project,
            name=run_name(config),
            id=run_id,
            resume="allow" if mode == "online" else None,
            dir=config.output_dir,
            config=to_dict(config),
            mode=mode,
            settings=wandb.Settings(init_timeout=60, silent=True),
        )
    )


OPENERS: dict[str, Callable[[Config, int | None], GeneralTracker]] = {
    "wandb": start_wandb,
    "trackio": start_trackio,
    "tensorboard": start_tensorboard,
}


def started(tracker: Any) -> GeneralTracker:
    PartialState()  # accelerate's trackers ask it which process they are in; a run has one already
    tracker.start()
    opened: GeneralTracker = tracker
    return opened


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
