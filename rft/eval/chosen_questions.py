"""Which questions are asked: those of one split whose contexts can be used, or a fixed part of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tqdm.auto import tqdm

from rft.config import Config
from rft.data.contexts import Tally, by_context, read_context
from rft.data.dataset import Dataset, content_fingerprint
from rft.data.prepare import rows_skipped
from rft.data.subset import stratified_subset
from rft.records import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenQuestions:
    """The questions of a comparison.

    Example:
        ChosenQuestions(split="val", questions=(...), fingerprint="9f86d0...",
                        manifest={"split": "val", "rows_skipped": {"history_empty": 3}})
    """

    split: str
    questions: tuple[Question, ...]
    """Ordered by context; never empty."""
    fingerprint: str
    """`content_fingerprint` of all questions of the split, those that are not asked included: a larger part of it may
    be asked later."""
    manifest: dict[str, Any]
    """What was read and left out, for results files."""


def choose_questions(config: Config, dataset: Dataset) -> ChosenQuestions:
    """`eval.num_questions` of the split `eval.split`: the same as in training's evaluation, where nothing is skipped
    because of its length.

    Raises:
        ValueError: a split, row or context that cannot be used; no question is left.
    """
    name = config.eval.split or dataset.eval_split
    dataset.check_split(name)
    split = dataset.split(name)
    tally = Tally()
    skips = config.data.bad_rows == "skip"
    # A question with a bad context must be gone before the fixed part is chosen. Where nothing may be skipped, only
    # the contexts of that part have to be looked at.
    pool = with_usable_context(dataset, "skip", split.questions, tally) if skips else split.questions
    if not pool:
        raise ValueError(f"no question of the {name} split is left: {dict(tally.bad_rows)}; correct the data")
    chosen = [pool[index] for index in stratified_subset(pool, config.eval.num_questions, dataset.strata)]
    if not skips:
        with_usable_context(dataset, "error", chosen, tally)
    tally.warn("results.json")
    manifest = {
        "split": name,
        "num_questions": len(pool),
        **split.manifest,
        "rows_skipped": rows_skipped(split, tally),
        "odd_contexts": dict(sorted(tally.odd_contexts.items())),
        "notes": tally.notes,
    }
    fingerprint = content_fingerprint(split.questions, ())
    return ChosenQuestions(split=name, questions=tuple(chosen), fingerprint=fingerprint, manifest=manifest)


def with_usable_context(
    dataset: Dataset, bad_rows: str, questions: Sequence[Question], tally: Tally
) -> Sequence[Question]:
    """The questions whose context is there, can be read and is theirs, in their order.

    Raises:
        RecordError: a context of which that is not true, with `bad_rows` "error".
    """
    groups = by_context(questions)
    usable: set[str] = set()
    for group in tqdm(groups.values(), desc="read", unit="context", disable=len(groups) < 500):
        _, found = read_context(dataset, bad_rows, group, tally)
        usable.update(question.question_id for question in found)
    return [question for question in questions if question.question_id in usable]
