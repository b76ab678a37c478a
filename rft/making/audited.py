"""Candidates by the audit's own rules (rft/auditing): what it would call unfit is dropped before it is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from rft.auditing.checks import CHECKS
from rft.auditing.config import AuditSettings
from rft.auditing.options import check_texts
from rft.auditing.rows import duplicates, near_duplicates
from rft.auditing.texts import texts_of_rows
from rft.records import Question


def unfit_texts(query: str, options: Sequence[str]) -> list[str]:
    """The errors that the audit finds in a query and its options, the right one first; none where they are fit."""
    question = Question(
        question_id="", context_id="", cluster="", query=query,
        correct_answer=options[0], incorrect_answers=tuple(options[1:]),
    )  # fmt: skip
    cases = chain(check_texts([question]), texts_of_rows([question]))
    return [case.check for case in cases if CHECKS[case.check].severity == "error"]


def repeated_queries(questions: Sequence[Question]) -> set[str]:
    """Ids of questions that ask one user nearly what an earlier one asks."""
    cases = chain(duplicates(questions), near_duplicates(questions, AuditSettings().near_duplicate))
    return {case.question for case in cases if case.question is not None}
