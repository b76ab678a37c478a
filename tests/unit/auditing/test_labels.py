"""Options with labels of their own, and options that only begin like one."""

from __future__ import annotations

import pytest

from rft.auditing.labels import labels_of
from rft.records import Question

TEXTS = ("Try the jazz bar.", "Go for a swim.", "Read a novel.", "Bake some bread.")


def ask(*options: str, query: str = "What now?") -> Question:
    return Question(
        question_id="q", context_id="h", cluster="c", query=query, correct_answer=options[0],
        incorrect_answers=options[1:],
    )  # fmt: skip


def labelled(*labels: str) -> list[str]:
    return list(labels_of(ask(*(label + text for label, text in zip(labels, TEXTS, strict=True)))))


@pytest.mark.parametrize(
    "labels",
    [
        ("A) ", "B) ", "C) ", "D) "), ("(b) ", "(a) ", "(d) ", "(c) "),
        ("Option 1: ", "Option 2: ", "Option 3: ", "Option 4: "),
        ("1. ", "2. ", "3. ", "4. "), ("A. ", "B. ", "C. ", "D. "), ("①", "②", "③", "④"), ("а) ", "б) ", "в) ", "г) "),
        ("١) ", "٢) ", "٣) ", "٤) "), ("**A)** ", "**B)** ", "**C)** ", "**D)** "), ("i) ", "ii) ", "iii) ", "iv) "),
        ("A - ", "B - ", "C - ", "D - "), ("Ａ）", "Ｂ）", "Ｃ）", "Ｄ）"), ("[A] ", "[B] ", "[C] ", "[D] "),
    ],
)  # fmt: skip
def test_every_option_is_labelled(labels: tuple[str, ...]) -> None:
    assert len(labelled(*labels)) == 4


@pytest.mark.parametrize("label", ["C) ", "Correct: ", "(Correct) ", "\u2705 ", "The right answer: "])
def test_the_right_option_alone_is_labelled(label: str) -> None:
    (found,) = labelled(label, "", "", "")
    assert found.startswith("the right option has")


def test_three_of_four_options_are_labelled() -> None:
    assert len(labelled("", "A. ", "B. ", "C. ")) == 3


@pytest.mark.parametrize("text", ["Read it (correct)", "Read it [A]", "Read it. (the right answer)"])
def test_a_label_at_the_end(text: str) -> None:
    assert len(list(labels_of(ask(text, *TEXTS[1:])))) == 1


@pytest.mark.parametrize(
    "options",
    [
        TEXTS,
        ("J. R. Tolkien", "C. S. Lewis", "W. B. Yeats", "M. Shelley"),
        tuple(f"1. Wash it\n2. {text}" for text in TEXTS),
        tuple(f"(a) Wash it, (b) {text}" for text in TEXTS),
        ("I like it.", "A walk would do.", "Right - let us go.", "True enough."),
        ("5", "-5", "1.5", "10"),
        ("5:30", "6:30", "7:30", "8:30"),
        ("yes", "no"),
    ],
)
def test_what_only_begins_like_a_label(options: tuple[str, ...]) -> None:
    assert list(labels_of(ask(*options))) == []


def test_a_query_that_lists_options() -> None:
    assert len(list(labels_of(ask(*TEXTS, query="What now?\nA) jazz\nB) swim\nC) read\nD) bake")))) == 1
    assert list(labels_of(ask("an open answer", query="A) or B)?"))) == []
