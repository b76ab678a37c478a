"""What each text of a row tells by itself: leftovers, disguises, secrets, and texts that say nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rft.auditing.findings import Case
from rft.auditing.messages import SAYS_SOMETHING, problems_of_text, stands_for_nothing
from rft.records import Question


def texts_of_rows(questions: Sequence[Question]) -> Iterator[Case]:
    """Every case of the query, the options and the preference, each text looked at alone."""
    for question in questions:
        answers = (question.correct_answer, *question.incorrect_answers)
        for text in (question.query, *answers, str(question.columns.get("preference") or "")):
            for check, detail in problems_of_text(text):
                yield Case(check=check, question=question.question_id, detail=detail)
        says = [SAYS_SOMETHING.search(text) is not None for text in (question.query, *answers)]
        silent = [text for text, found in zip((question.query, *answers), says, strict=True) if not found]
        # Where options are signs, such as those of arithmetic, more of them say nothing to us.
        if not says[0] or (question.incorrect_answers and len(silent) == 1):
            yield Case(check="empty_text", question=question.question_id, detail=f"nothing but {silent[0].strip()!r}")
        # An open answer may well be "none".
        for text in (question.query, *(answers if question.incorrect_answers else ())):
            if stands_for_nothing(text):
                yield Case(check="empty_text", question=question.question_id, detail=f"nothing but {text.strip()!r}")
