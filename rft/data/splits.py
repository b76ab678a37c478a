"""Which questions train, validate and test a model.

The released val.csv shares 735 personas with train.csv, and one persona of the benchmark is in both. So by default
(`data.train_split: persona`) the two files are pooled, rid of the benchmark's personas, and cut by persona.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rft.config import DataConfig
from rft.data.personamem import CsvName, read_personas, read_questions
from rft.records import Question

SplitName = Literal["train", "val", "benchmark"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The questions of one split, and what was left out on the way.

    Example:
        Split(name="val", questions=(...), csv_rows={"train": 18549, "val": 2061},
              skipped={"repeated_option": 1}, removed={"persona_of_benchmark": 22, "other_split": 18579})
    """

    name: SplitName
    questions: tuple[Question, ...]
    csv_rows: dict[str, int]
    """Rows of each CSV that was read, usable or not."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Unusable rows by reason (`data.bad_rows: skip`)."""
    removed: dict[str, int] = field(default_factory=dict)
    """Usable rows that do not belong to this split, by reason."""


def load_split(config: DataConfig, root: Path, name: SplitName) -> Split:
    """The questions of split `name` of the data set under `root`, in file order.

    Raises:
        ValueError: a file or row that cannot be used, more validation personas than there are, an empty split.
    """
    if name == "benchmark" or config.train_split == "paper":
        return released_split(config, root, name)
    return persona_split(config, root, name)


def released_split(config: DataConfig, root: Path, name: SplitName) -> Split:
    """One CSV as it is."""
    questions, skipped = read_questions(root, name, config.window, config.bad_rows)
    csv_rows: dict[str, int] = {name: len(questions) + sum(skipped.values())}
    return Split(name=name, questions=tuple(questions), csv_rows=csv_rows, skipped=skipped)


def persona_split(config: DataConfig, root: Path, name: SplitName) -> Split:
    """train.csv and val.csv pooled, without the benchmark's personas, and cut by persona."""
    pool: list[Question] = []
    skipped: Counter[str] = Counter()
    csv_rows: dict[str, int] = {}
    sources: tuple[CsvName, ...] = ("train", "val")
    for source in sources:
        questions, skips = read_questions(root, source, config.window, config.bad_rows)
        pool += questions
        skipped.update(skips)
        csv_rows[source] = len(questions) + sum(skips.values())
    benchmark_personas = read_personas(root, "benchmark")
    kept = [question for question in pool if question.persona_id not in benchmark_personas]
    val_personas = held_out_personas([question.persona_id for question in kept], config.num_val_personas)
    chosen = tuple(question for question in kept if (question.persona_id in val_personas) == (name == "val"))
    if not chosen:
        raise ValueError(f"the {name} split is empty; change data.num_val_personas ({config.num_val_personas})")
    removed = {
        "persona_of_benchmark": len(pool) - len(kept),
        "other_split": len(kept) - len(chosen),
    }
    assert not {question.persona_id for question in chosen} & benchmark_personas
    return Split(
        name=name,
        questions=chosen,
        csv_rows=csv_rows,
        skipped=dict(skipped),
        removed=removed,
    )


def held_out_personas(persona_ids: Sequence[int], count: int) -> set[int]:
    """`count` of the personas, chosen by a hash of the id: the same in every process, whatever the order of rows."""
    personas = sorted(
        set(persona_ids),
        key=lambda persona: hashlib.sha256(f"persona {persona}".encode()).digest(),
    )
    if count >= len(personas):
        raise ValueError(
            f"data.num_val_personas is {count}, but train.csv and val.csv hold {len(personas)} personas outside the "
            "benchmark; lower it"
        )
    return set(personas[:count])
