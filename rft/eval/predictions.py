"""One line of predictions.jsonl: a question, how it was asked, what was answered, what that is worth.

Training writes the file at every checkpoint, `rft/evaluate.py` for every system; both lines have the same keys.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rft.data.prompts import gold_letter
from rft.jsonl import whole_lines
from rft.records import FinishReason, Question, Role

QUESTION_CHARS = 4000
"""How much of a question's text is kept, from its end."""

PROMPT_TOO_LONG = "prompt_too_long"
"""The failure of a question that was not asked, because its prompt was too long (data.length_policy: drop)."""

TABLE_COLUMNS = ("question_id", "tags", "reference", "parsed", "reward", "failure", "question", "text")
"""Of a prediction in a table for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One answer to one question.

    Example:
        Prediction(question_id="benchmark/0", cluster="521", context_id="data/...json", tags={"who": "self"}, sample=0,
                   option_order=(2, 0, 3, 1), reference="b", parsed="b", reward=1.0, parts={}, failure=None,
                   finish_reason="stop", prompt_tokens=31_402, completion_tokens=218,
                   question="Any idea for my evening? ...", text="<think>...</think> \\boxed{b}")
    """

    question_id: str
    cluster: str
    context_id: str
    tags: Mapping[str, str]
    """`Question.tags`."""
    sample: int
    """0 .. num_samples-1"""
    option_order: tuple[int, ...]
    """Which answer each letter showed: 0 is the correct one; empty where no options were shown."""
    reference: str
    """The right letter; the reference answer where no options were shown."""
    parsed: str | None
    """The answer that was read in the reply: the letter, where letters were offered."""
    reward: float | None
    """What the answer is worth: 1.0 or 0.0 for a letter, a judge's score in [0, 1], or whatever reward functions give.
    None where no function applied, no verdict of the judge could be read, or no answer came that says anything of the
    model (rft.chat.failures.PASSING_FAILURES)."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """The value of each reward function by name."""
    failure: str | None
    """Why no answer could be read, or none came."""
    finish_reason: FinishReason | None
    """None where no model was asked, or none answered."""
    prompt_tokens: int
    completion_tokens: int
    question: str
    """The message that asks, its last 4,000 characters."""
    text: str
    """The reply, as it came."""
    closed_by: Role | None = None
    """With compare.protocol=leaderboard: the role of the message that showed the options, the last one of the chat;
    `user` where the model's chat takes no system message there."""
    messages_dropped: int = 0
    """Messages of the context left out because it was too long."""
    memory: dict[str, Any] | None = None
    """With a memory: its text, its cost, what it kept (rft.eval.memory.MemoryTrace)."""
    verdicts: tuple[dict[str, Any], ...] = ()
    """With a judge: each verdict, its layout, its score or why it has none."""
    detail: str = ""
    """Where an endpoint did not answer: its address, the model, and what it says."""

    def as_row(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def question_fields(question: Question, option_order: Sequence[int]) -> dict[str, Any]:
    """The fields of a prediction that are known before anything is answered.

    Args:
        option_order: of the options that are shown; empty where none are.
    """
    return {
        "question_id": question.question_id,
        "cluster": question.cluster,
        "context_id": question.context_id,
        "tags": dict(question.tags),
        "option_order": tuple(option_order),
        "reference": gold_letter(option_order) if option_order else question.correct_answer,
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


def prediction_table(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Predictions as rows of a table for people: tags as one text."""
    rows = []
    for prediction in predictions:
        row = {column: getattr(prediction, column) for column in TABLE_COLUMNS}
        rows.append(row | {"tags": ", ".join(f"{name} {value}" for name, value in prediction.tags.items())})
    return rows
