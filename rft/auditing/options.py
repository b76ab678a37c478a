"""Checks of one question's texts: options that repeat each other, a query that says too much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rft.auditing.findings import Case
from rft.auditing.words import content_words, words_of
from rft.records import Question

TOLD = 0.8
"""Share of the words that only the right option has; a query with so many of them tells it."""

FEWEST_WORDS = 3
"""Of an open answer that a query repeats: a short one may stand in it by chance."""


def check_texts(questions: Sequence[Question]) -> Iterator[Case]:
    """Every case of one question's texts."""
    for question in questions:
        for check, detail in problems_of(question):
            yield Case(check=check, question=question.question_id, detail=detail)


def problems_of(question: Question) -> Iterator[tuple[str, str]]:
    """Checks that find something, each with what it finds."""
    plain = [
        " ".join(words_of(text)) or text.strip() for text in (question.correct_answer, *question.incorrect_answers)
    ]
    repeated = [text for index, text in enumerate(plain) if text in plain[:index]]
    if repeated:
        of_right = " (the right one)" if repeated[0] == plain[0] else ""
        yield "repeated_option", f"two options read {repeated[0][:60]!r}{of_right}"
    if told := told_by_query(question, plain):
        yield "query_tells_answer", f"the query holds {told[:80]!r}"
    content = content_words(str(question.columns.get("preference") or ""))
    if len(content) >= 2 and content <= set(words_of(question.query)):
        yield "query_tells_preference", f"preference {str(question.columns['preference'])[:80]!r}"


def told_by_query(question: Question, plain: Sequence[str]) -> str | None:
    """What of the right answer stands in the query and tells it from the others; None where nothing does."""
    query = words_of(question.query)
    if question.incorrect_answers:
        return option_told(query, [set(option.split()) for option in plain])
    whole = len(plain[0].split()) >= FEWEST_WORDS and f" {plain[0]} " in f" {' '.join(query)} "
    return plain[0] if whole else None


def option_told(query: Sequence[str], options: Sequence[set[str]]) -> str | None:
    """Words of a query that tell the first of some options, each a set of words, from the others."""
    shares = [share_told(options, index, set(query)) for index in range(len(options))]
    if shares[0] < TOLD or max(shares[1:]) >= shares[0]:
        return None
    return " ".join(sorted((options[0] - set().union(*options[1:])) & set(query)))


def share_told(sets: Sequence[set[str]], index: int, query: set[str]) -> float:
    """Of the words that only this option has, how many the query holds."""
    own = sets[index] - set().union(*(other for at, other in enumerate(sets) if at != index))
    return len(own & query) / len(own) if own else 0.0
