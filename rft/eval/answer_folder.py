"""The folder of one system's answers: what they were made with, and what an interruption leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rft.types import Rollout


def check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Writes the settings of a folder without answers; to answers that were made with other settings none are added.

    Raises:
        ValueError: the folder's settings differ.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "settings.json"
    if path.exists() and any((folder / name).exists() for name in ("predictions.jsonl", "memories.jsonl")):
        before = json.loads(path.read_text(encoding="utf-8"))
        before.pop("judge", None)
        differing = sorted(key for key in before.keys() | settings.keys() if before.get(key) != settings.get(key))
        if differing:
            raise ValueError(
                f"{folder} holds answers made with another {', '.join(differing)}; remove it, or set evaluate.label or "
                "output_dir to keep both"
            )
    else:
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def add_counters(path: Path, counters: dict[str, int]) -> None:
    """Adds up over interruptions."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    total = {name: value + before.get(name, 0) for name, value in counters.items()}
    path.write_text(json.dumps(total) + "\n", encoding="utf-8")


class Updates:
    """Writes a memory's updates to memories.jsonl."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, rollout: Rollout) -> None:
        answer = rollout.answers[0]
        lines = [
            json.dumps(
                {
                    "history_id": answer.prompt.history_id,
                    "sample": answer.sibling,
                    "turn": turn,
                    "memory": update.memory,
                    "failure": update.failure,
                },
                ensure_ascii=False,
            )
            for turn, update in enumerate(rollout.updates)
        ]
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
