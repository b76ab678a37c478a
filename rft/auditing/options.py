"""Checks of one question's texts: options that repeat each other, a query that says too much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rft.auditing.findings import Case
from rft.auditing.labels import labels_of
from rft.auditing.words import content_words, repeats, words_of
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
    options = (question.correct_answer, *question.incorrect_answers)
    if repeated := repeated_option(options):
        of_right = " (the right one)" if repeats(options[0], repeated) else ""
        yield "repeated_option", f"two options read {repeated[:60]!r}{of_right}"
    yield from (("labelled_option", found) for found in labels_of(question))
    if told := told_by_query(question, options):
        yield "query_tells_answer", f"the query holds {told[:80]!r}"
    content = content_words(str(question.columns.get("preference") or ""))
    if len(content) >= 2 and content <= set(words_of(question.query)):
        yield "query_tells_preference", f"preference {str(question.columns['preference'])[:80]!r}"


def repeated_option(options: Sequence[str]) -> str | None:
    """The first option that reads as an earlier one does; None where all differ."""
    return next((later for at, later in enumerate(options) if any(repeats(one, later) for one in options[:at])), None)


def told_by_query(question: Question, options: Sequence[str]) -> str | None:
    """What of the right answer stands in the query and tells it from the others; None where nothing does."""
    query = words_of(question.query)
    if question.incorrect_answers:
        return option_told(query, [set(words_of(option)) for option in options])
    right = words_of(question.correct_answer)
    whole = len(right) >= FEWEST_WORDS and f" {' '.join(right)} " in f" {' '.join(query)} "
    return " ".join(right) if whole else None


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
