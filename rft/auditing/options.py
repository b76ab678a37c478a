"""Checks of one question's texts: options that repeat each other, a query that says too much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations

from rft.auditing.findings import Case
from rft.auditing.labels import labels_of
from rft.auditing.words import PICTURES, UNPARTED, content_words, said_by, words_of
from rft.records import Question

TOLD = 0.8
"""Share of the words that only the right option has; a query with so many of them tells it."""

FEWEST_SHARED, MOST_MORE = 6, 2
"""Words of an option that another one repeats, and words that the other has more: a word more of a short text, as in
"tea" and "green tea", is another answer."""

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
        first, later = repeated
        of_right = " (the right one)" if first == 0 else ""
        yield "repeated_option", f"two options read {options[later][:60]!r}{of_right}"
    elif longer := longer_option(options):
        yield "nearly_repeated_option", f"{options[longer][:60]!r} holds the whole of another option"
    yield from (("labelled_option", found) for found in labels_of(question))
    if told := told_by_query(question, options):
        yield "query_tells_answer", f"the query holds {told[:80]!r}"
    content = content_words(str(question.columns.get("preference") or ""))
    if len(content) >= 2 and content <= set(words_of(question.query)):
        yield "query_tells_preference", f"preference {str(question.columns['preference'])[:80]!r}"


def repeated_option(options: Sequence[str]) -> tuple[int, int] | None:
    """Places of the first two options that read the same, letters' case, punctuation marks and decoration aside; None
    where all differ."""
    said = list(map(said_by, options))
    for first, later in combinations(range(len(options)), 2):
        if said[first] == said[later]:
            pictures = [PICTURES.findall(options[at]) for at in (first, later)]
            if not all(pictures) or pictures[0] == pictures[1]:
                return first, later
    return None


def longer_option(options: Sequence[str]) -> int | None:
    """The first option that is another one with few words before or behind it; None where there is none."""
    words = list(map(words_of, options))
    said = [f" {' '.join(found)} " for found in words]
    for shorter, longer in permutations(range(len(options)), 2):
        is_long, more = len(words[shorter]) >= FEWEST_SHARED, len(words[longer]) - len(words[shorter])
        if is_long and 0 < more <= MOST_MORE and said[shorter] in said[longer]:
            return longer
    return None


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
    told = sorted((options[0] - set().union(*options[1:])) & set(query))
    # Two characters of writing without spaces are less than a word, and may be in a query by chance.
    return None if len(told) == 1 and UNPARTED.fullmatch(told[0]) else " ".join(told)


def share_told(sets: Sequence[set[str]], index: int, query: set[str]) -> float:
    """Of the words that only this option has, how many the query holds."""
    own = sets[index] - set().union(*(other for at, other in enumerate(sets) if at != index))
    return len(own & query) / len(own) if own else 0.0
