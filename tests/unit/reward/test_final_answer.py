"""The `Final Answer: [Letter]` protocol."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.reward.final_answer import score_final_answer
from rft.reward.mcq import FailureReason

LETTERS = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    "text",
    [
        "Final Answer: B",
        "Because of jazz.\nFinal Answer: [B]",
        "**Final Answer: B**",
        "final answer is b.",
        "Final Answer: (B) Jazz, I think.",
        "Final Answer: \\boxed{B}",
        "Final Answer: $\\boxed{b}$",
        "It may be A.\nFinal Answer: A\nNo, wait.\nFinal Answer: B",
        "<think>Final Answer: A</think>Final Answer: B",
        "Final Answer: B. A is worse",
        "Final answer:   B or so",
    ],
)
def test_the_last_line_of_the_form_counts(text: str):
    assert score_final_answer(text, LETTERS, "b").parsed == "b"


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("", FailureReason.EMPTY),
        (" \n", FailureReason.EMPTY),
        ("<think>x</think> ", FailureReason.EMPTY),
        ("<think>Final Answer: B", FailureReason.UNCLOSED_THOUGHT),
        ("The answer is B", FailureReason.NO_BOX),
        ("Final Answer:", FailureReason.UNREADABLE_BOX),
        ("Final Answer: both", FailureReason.UNREADABLE_BOX),
        ("Final Answer: E", FailureReason.NOT_AN_OPTION),
        ("Final Answer: A or B", FailureReason.SEVERAL_LETTERS),
        ("Final Answer: A, B", FailureReason.SEVERAL_LETTERS),
        ("Final Answer: [A] and [C]", FailureReason.SEVERAL_LETTERS),
    ],
)
def test_what_has_no_letter_says_why(text: str, failure: FailureReason):
    found = score_final_answer(text, LETTERS, "b")
    assert (found.reward, found.parsed, found.failure) == (0.0, None, failure)


def test_a_thought_that_the_template_opened():
    assert (
        score_final_answer("Final Answer: B", LETTERS, "b", thought_open=True).failure is FailureReason.UNCLOSED_THOUGHT
    )
    assert score_final_answer("Hm.</think>Final Answer: B", LETTERS, "b", thought_open=True).reward == 1.0


@given(st.text())
def test_no_text_raises(text: str):
    found = score_final_answer(text, LETTERS, "a")
    assert (found.parsed is None) == (found.failure is not None)
