"""Checks of rows against each other: splits, duplicates, and whose preference the right answer follows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from rft.auditing.findings import Case
from rft.auditing.likeness import earlier_alike, same_letters
from rft.auditing.words import num_texts_with, said_by, words_of
from rft.records import Question

SAME_WORD = 0.8
"""Likeness of what differs between two queries, letter by letter, from which on it is an inflection or a slip."""

RARE = 0.2
"""Share of the preferences that a word may occur in to say what a preference is about."""


def clusters_in_two_splits(splits: Mapping[str, Sequence[Question]]) -> Iterator[Case]:
    """A case for each cluster that has rows in several splits, with the first row of each."""
    first: dict[str, dict[str, str]] = defaultdict(dict)
    for name, questions in splits.items():
        for question in questions:
            first[question.cluster].setdefault(name, question.question_id)
    for cluster, places in first.items():
        if len(places) > 1:
            names = " and ".join(places)
            rows = ", ".join(places.values())
            yield Case(check="cluster_in_two_splits", question=rows, detail=f"cluster {cluster} is in {names}")


def duplicates(questions: Sequence[Question]) -> Iterator[Case]:
    """Rows of one cluster with the same query and the same answers, in whichever order and split."""
    seen: dict[tuple[object, ...], str] = {}
    for question in questions:
        answers = tuple(sorted(map(said_by, question.incorrect_answers)))
        key = (question.cluster, said_by(question.query), said_by(question.correct_answer), answers)
        if (first := seen.setdefault(key, question.question_id)) != question.question_id:
            yield Case(check="duplicate_row", question=question.question_id, detail=f"says the same as {first}")


# ---------------------------------------------------------------------------------------------------- near duplicates


def near_duplicates(questions: Sequence[Question], threshold: float) -> Iterator[Case]:
    """Rows of one cluster whose queries ask nearly the same.

    Queries of which one only has words more, or words in other forms, are the same from a likeness of `threshold` on.
    Where words were exchanged, the rows must also be about the same thing: queries made from one pattern, such as
    "Any ideas for my music?" and "Any ideas for my dance?", are not.

    Args:
        threshold: Dice's coefficient of the words, 2 |A and B| / (|A| + |B|).
    """
    by_cluster: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        by_cluster[question.cluster].append(question)
    for members in by_cluster.values():
        yield from near_duplicates_of(members, threshold)


def near_duplicates_of(members: Sequence[Question], threshold: float) -> Iterator[Case]:
    """Within one cluster."""
    queries = [question.query for question in members]
    bags = [Counter(words_of(query)) for query in queries]
    for index, (places, _) in enumerate(earlier_alike(queries, threshold)):
        question = members[index]
        found = [(likeness_of(members[other], question, bags[other], bags[index]), -other) for other in places.tolist()]
        likeness, place = max(found, default=(0.0, 0))
        if likeness >= threshold:
            yield Case(
                check="near_duplicate_query",
                question=question.question_id,
                detail=f"{members[-place].question_id} asks nearly the same ({likeness:.0%} of the words)",
            )


def likeness_of(first: Question, second: Question, ours: Counter[str], theirs: Counter[str]) -> float:
    """Dice's coefficient of two queries; 0 where words were exchanged and the rows are about different things."""
    total = ours.total() + theirs.total()
    if not total:
        return 0.0
    likeness = 2 * (ours & theirs).total() / total
    left, right = (ours - theirs), (theirs - ours)
    if left and right and not (alike(left, right) or about_the_same(first, second, ours & theirs)):
        return 0.0
    return likeness


def alike(left: Counter[str], right: Counter[str]) -> bool:
    """Whether the words that differ are the same ones in another form, or with a slip."""
    if left.total() != right.total():
        return False
    ours, theirs = " ".join(sorted(left.elements())), " ".join(sorted(right.elements()))
    return same_letters(ours, theirs, SAME_WORD)


def about_the_same(first: Question, second: Question, shared: Counter[str]) -> bool:
    """Whether two rows have the same evidence, options, preference or topic, or both queries name the topic of one."""
    if first.evidence and first.evidence == second.evidence:
        return True
    options = [{question.correct_answer, *question.incorrect_answers} for question in (first, second)]
    if options[0] == options[1]:
        return True
    preferences = [question.columns.get("preference") for question in (first, second)]
    if preferences[0] and preferences[0] == preferences[1] and not is_of_kind(first, "sensitive"):
        return True
    topics = [question.tags.get("topic", "") for question in (first, second)]
    if topics[0] and topics[0] == topics[1]:
        return True
    return any(topic and all(word in shared for word in words_of(topic)) for topic in topics)


def is_of_kind(question: Question, tag: str) -> bool:
    return question.tags.get(tag) == "true"


# ------------------------------------------------------------------------------------------------ whose preference


def misattributed(questions: Sequence[Question]) -> Iterator[Case]:
    """Rows whose right answer follows another person's preference, or alone passes over the user's own.

    Told by the rare words of the preference, so only where some option repeats one. Questions about something that was
    to be forgotten or to be kept secret are left out: their right answers do not follow it.
    """
    with_preference = [
        question
        for question in questions
        if question.columns.get("preference")
        and question.incorrect_answers
        and not question.columns.get("forgotten")
        and not is_of_kind(question, "sensitive")
    ]
    counts = num_texts_with(str(question.columns["preference"]) for question in with_preference)
    most = max(2, RARE * len(with_preference))
    for question in with_preference:
        rare = {
            word for word in words_of(str(question.columns["preference"])) if counts[word] <= most and len(word) > 2
        }
        rare -= set(words_of(question.query))
        in_right = bool(rare & set(words_of(question.correct_answer)))
        in_wrong = any(rare & set(words_of(answer)) for answer in question.incorrect_answers)
        shown = f"preference {str(question.columns['preference'])[:80]!r}"
        if question.tags.get("who") == "others" and in_right and not in_wrong:
            yield Case(check="others_preference_used", question=question.question_id, detail=shown)
        if question.tags.get("who") == "self" and in_wrong and not in_right:
            yield Case(check="own_preference_unused", question=question.question_id, detail=shown)
