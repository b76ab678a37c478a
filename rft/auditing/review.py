"""A sample of questions for a person to look at, each with its history and the place of its evidence."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from typing import Any

from rft.auditing.evidence import EvidenceSearch
from rft.auditing.findings import Case
from rft.auditing.sources import Source, stored_history
from rft.data.dataset import Dataset, RecordError
from rft.data.prompts import LETTERS
from rft.records import Question

DIGEST_CHARS = 16

FUZZY = 0.7
"""As `audit.fuzzy_evidence`."""

VERDICTS = ("keep", "drop", "unsure")


def draw(source: Source, num_questions: int, seed: int, split: str | None = None) -> list[Question]:
    """Questions drawn by lot, in the order of the data set.

    Raises:
        ValueError: a split that is not there, or no question.
    """
    if split is not None and split not in source.questions:
        raise ValueError(f"--split {split}: the data set has {', '.join(source.questions)}; choose one of them")
    questions = [q for name, found in source.questions.items() if split in (None, name) for q in found]
    if not questions:
        raise ValueError("there is no question to look at; see what rft/audit.py says of the rows")
    chosen = random.Random(seed).sample(range(len(questions)), min(num_questions, len(questions)))
    return [questions[index] for index in sorted(chosen)]


def digest_of(question: Question) -> str:
    """Changes with what a person judges: a verdict is of this text and of no other."""
    said = [question.query, question.correct_answer, list(question.incorrect_answers), question.cluster]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:DIGEST_CHARS]


def review_material(source: Source, questions: Sequence[Question], seed: int) -> dict[str, Any]:
    """What the page shows, as JSON: each history once."""
    histories: dict[str, list[dict[str, Any]]] = {}
    searches: dict[str, EvidenceSearch] = {}
    for question in questions:
        file = question.context_id
        if file not in histories:
            histories[file], shown = messages_of(source.dataset, file)
            searches[file] = EvidenceSearch(file, shown, FUZZY)
    return {
        "data_set": source.dataset.name,
        "seed": seed,
        "questions": [view_of(source.dataset, question, searches[question.context_id]) for question in questions],
        "histories": histories,
    }


def messages_of(dataset: Dataset, context_id: str) -> tuple[list[dict[str, Any]], list[str | None]]:
    """The messages as they are stored, so that numbers are those of the audit, and the texts in which evidence is
    looked for; none where the history is unusable."""
    try:
        stored = stored_history(dataset, context_id)
    except RecordError:
        return [], []
    roles = [str(item.get("role")) if isinstance(item, dict) else "?" for item in stored.items]
    return [{"role": role, "text": text} for role, text in zip(roles, stored.texts, strict=True)], stored.shown


def view_of(dataset: Dataset, question: Question, search: EvidenceSearch) -> dict[str, Any]:
    """One question: query, options as they are shown, why the right one is right."""
    answers = (question.correct_answer, *question.incorrect_answers)
    order = dataset.option_order(question) or (0,)
    return {
        "id": question.question_id,
        "digest": digest_of(question),
        "history": question.context_id,
        "query": question.query,
        "options": [
            {"letter": LETTERS[place] if len(order) > 1 else "", "text": answers[index], "right": index == 0}
            for place, index in enumerate(order)
        ],
        "why": {
            "preference": str(question.columns.get("preference") or ""),
            **question.tags,
        },
        "evidence": [{"role": message.role, "text": message.content} for message in question.evidence],
        "evidence_at": search.places(question),
        "evidence_note": note_of(list(search.check(question))),
    }


def note_of(cases: Sequence[Case]) -> str:
    """What is wrong with the evidence, for a person; empty where nothing is."""
    return "; ".join(case.detail for case in cases)
