"""One line of predictions.jsonl: a question, how it was asked, what was answered, what that is worth.

Training writes the file at every checkpoint, `rft/evaluate.py` for every system; both lines have the same keys.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rft.jsonl import whole_lines
from rft.records import FinishReason, Question

QUESTION_CHARS = 4000
"""How much of a question's text is kept, from its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One answer to one question.

    Example:
        Prediction(question_id="benchmark/0", persona_id=521, history_id="data/...json",
                   pref_type="neutral_preferences", who="self", updated=False, sensitive=False,
                   scenario="translation", topic="music",
                   distance_tokens=18_861, sample=0, option_order=(2, 0, 3, 1), gold="b", letter="b", reward=1.0,
                   failure=None, finish_reason="stop", prompt_tokens=31_402, completion_tokens=218,
                   question="Any idea for my evening? ...", text="<think>...</think> \\boxed{b}")
    """

    question_id: str
    persona_id: int
    history_id: str
    pref_type: str
    who: str
    updated: bool
    sensitive: bool
    scenario: str
    topic: str
    distance_tokens: int
    sample: int
    """0 .. num_samples-1"""
    option_order: tuple[int, ...]
    """Which answer each letter showed: 0 is the correct one; empty where no options were shown."""
    gold: str | None
    letter: str | None
    reward: float | None
    """1.0 for the gold letter, else 0.0; a judge's score in [0, 1], None where no verdict was valid."""
    failure: str | None
    """Why there is no letter."""
    finish_reason: FinishReason | None
    """None where no model was asked."""
    prompt_tokens: int
    completion_tokens: int
    question: str
    """The message that asks, its last 4,000 characters."""
    text: str
    """The reply, as it came."""
    messages_dropped: int = 0
    """Messages of the history left out because it was too long."""
    memory: dict[str, Any] | None = None
    """With a memory: its text, its cost, what it kept (rft.eval.memory.MemoryTrace)."""
    verdicts: tuple[dict[str, Any], ...] = ()
    """With a judge: each verdict, its layout, its score or why it has none."""

    def as_row(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def about(question: Question) -> dict[str, Any]:
    """The fields of a prediction that the question alone decides."""
    return {
        "question_id": question.question_id,
        "persona_id": question.persona_id,
        "history_id": question.history_id,
        "pref_type": question.pref_type,
        "who": question.who,
        "updated": question.updated,
        "sensitive": question.sensitive,
        "scenario": question.scenario,
        "topic": question.topic,
        "distance_tokens": question.distance_tokens,
    }


def to_json(prediction: Prediction) -> str:
    return json.dumps(prediction.as_row(), ensure_ascii=False) + "\n"


def read_predictions(path: Path) -> list[Prediction]:
    """The predictions of a file; a last line that a crash cut short is left out.

    Raises:
        ValueError: another line that is no prediction.
    """
    found = []
    for number, line in enumerate(whole_lines(path), 1):
        try:
            row = json.loads(line)
            lists = {key: tuple(row[key]) for key in ("option_order", "verdicts")}
            found.append(Prediction(**row | lists))
        except (json.JSONDecodeError, TypeError, KeyError):
            raise ValueError(f"{path} line {number} is no prediction of this version; remove the file") from None
    return found


def append_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Adds whole lines; what was written before stays as it is."""
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(map(to_json, predictions)))
