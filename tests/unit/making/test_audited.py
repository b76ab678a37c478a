"""What the audit calls unfit never becomes a row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rft.making.audited import repeated_queries, unfit_texts
from rft.records import Question

OPTIONS = ("Try some jazz tonight.", "A long walk, perhaps.", "Bake a cake for us.", "Read a thick novel.")


@pytest.mark.parametrize(
    ("query", "options", "check"),
    [
        ("Any idea for my evening?", ("{", *OPTIONS[1:]), "empty_text"),
        ("Any idea for my evening?", (*OPTIONS[:3], "..."), "empty_text"),
        ("?!", OPTIONS, "empty_text"),
        ("Any idea for my evening?", (OPTIONS[0], OPTIONS[0].upper(), *OPTIONS[2:]), "repeated_option"),
        ("Any idea for my evening?", tuple(f"{letter}) {text}" for letter, text in zip("ABCD", OPTIONS, strict=True)),
         "labelled_option"),
        ("Shall I try some jazz tonight?", OPTIONS, "query_tells_answer"),
        ("Any idea for my evening?", ("Try s\u043eme jazz tonight.", *OPTIONS[1:]), "disguised_text"),
    ],
)  # fmt: skip
def test_texts_of_a_candidate(query: str, options: tuple[str, ...], check: str):
    assert check in unfit_texts(query, options)


def test_fit_texts():
    assert unfit_texts("Any idea for my evening?", OPTIONS) == []


def test_one_user_is_asked_once():
    first = Question(question_id="p0/s1", context_id="", cluster="0", query="What shall I cook for supper tonight?",
                     correct_answer=OPTIONS[0], incorrect_answers=OPTIONS[1:])  # fmt: skip
    again = replace(first, question_id="p0/s2", query="what shall I cook for supper tonight?", correct_answer="Rice.")
    another = replace(first, question_id="p1/s1", cluster="1")
    assert repeated_queries([first, again, another]) == {"p0/s2"}
