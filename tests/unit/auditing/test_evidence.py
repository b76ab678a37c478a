"""Evidence: there, nearly there, not there."""

from __future__ import annotations

from rft.auditing.evidence import EvidenceSearch
from rft.records import Message, Question

HISTORY = [
    "Please shorten this message to Liam: my usual pet, cats, made the day.",
    "Of course, here you are.",
    "Please shorten this message to Hiro: my usual dance, waltz, made the day.",
    None,
    "Please put this into French: there was my kind of music, jazz, until late, and nobody minded at all.",
]


def ask(*contents: str) -> Question:
    evidence = tuple(Message(role="user", content=content) for content in contents)
    return Question(question_id="q", context_id="h", cluster="c", query="?", correct_answer="a", evidence=evidence)


def found(*contents: str) -> list[tuple[str, int | None]]:
    search = EvidenceSearch("h", HISTORY, 0.7)
    return [(case.check, case.message) for case in search.check(ask(*contents))]


def test_evidence_that_is_there() -> None:
    assert found(str(HISTORY[0]), "Of course, here you are.") == []
    assert found("Please put this   into French:\nthere was my kind of music") == []


def test_evidence_that_differs_by_a_few_words_names_the_message() -> None:
    changed = "Please put this into French: there was my own kind of music, jazz, until very late, and nobody minded."
    assert found(changed) == [("evidence_changed", 4)]


def test_a_sentence_of_the_same_pattern_about_something_else_is_no_evidence() -> None:
    assert found("Please shorten this message to Anna: my usual sport, golf, made the day.") == [
        ("evidence_missing", None)
    ]


def test_one_case_of_a_check_per_question() -> None:
    assert found("Nothing of this kind.", "Nor anything like that.") == [("evidence_missing", None)]


def test_no_evidence_at_all() -> None:
    assert found() == [("no_evidence", None)]


def test_places_are_those_that_the_page_shows() -> None:
    search = EvidenceSearch("h", HISTORY, 0.7)
    assert search.places(ask(str(HISTORY[2]), "Of course, here you are.")) == [1, 2]
    assert search.places(ask("Nothing of this kind.")) == []
