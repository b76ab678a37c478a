"""What an evaluation asks, whatever data set it comes from: questions, their histories, the order of their options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rft.config import DataConfig
from rft.data import longmemeval, personamem, personamem_v1, prompts, splits
from rft.data.splits import SplitName
from rft.records import History, Question

BenchmarkName = Literal["personamem_v2", "personamem_v1", "longmemeval"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A set of questions.

    Example:
        Benchmark(name="personamem_v2", questions=(...), history=read, option_order=order, training=(...),
                  manifest={"num_questions": 5000, "rows_skipped": {}})
    """

    name: BenchmarkName
    questions: tuple[Question, ...]
    history: Callable[[str], History]
    """The history by its id. Raises ValueError where it cannot be used."""
    option_order: Callable[[Question], tuple[int, ...]]
    """Which answer each letter shows, 0 the correct one: reproducible, and empty without options."""
    training: tuple[Question, ...]
    """Questions that belong to no evaluation, for controls that need to be fitted; may be none."""
    manifest: dict[str, Any]


def load_benchmark(name: BenchmarkName, data: DataConfig, split: SplitName) -> Benchmark:
    """Reads the questions; histories are read when asked for.

    Raises:
        ValueError: a file or row that cannot be used.
    """
    if name == "personamem_v2":
        return load_personamem_v2(data, split)
    root = Path(data.source).expanduser()
    if name == "personamem_v1":
        shared = personamem_v1.SharedContexts(root, data.window)
        questions, orders = personamem_v1.read_questions(root, data.window)
        return Benchmark(
            name=name,
            questions=questions,
            history=shared.history,
            option_order=lambda question: orders[question.question_id],
            training=(),
            manifest={
                "num_questions": len(questions),
                "correct_option_repeated": sum(q.correct_answer in q.incorrect_answers for q in questions),
            },
        )
    questions, histories = longmemeval.read(root)
    return Benchmark(
        name=name,
        questions=questions,
        history=histories.__getitem__,
        option_order=lambda question: (),
        training=(),
        manifest={"num_questions": len(questions)},
    )


def load_personamem_v2(data: DataConfig, split: SplitName) -> Benchmark:
    root = personamem.resolve_source(data.source, data.revision, data.window)
    loaded = splits.load_split(data, root, split)
    return Benchmark(
        name="personamem_v2",
        questions=loaded.questions,
        history=lambda history_id: personamem.load_history(root, history_id)[0],
        option_order=lambda question: prompts.paper_option_order(question.row),
        training=splits.load_split(data, root, "train").questions,
        manifest={"num_questions": len(loaded.questions), "csv_rows": loaded.csv_rows, "rows_skipped": loaded.skipped},
    )
