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
        "**Final Answer:** (b)",
        "Final Answer: [B",
        "Final Answer: [Letter]: B",
        "Final Answer: B. Final Answer: B",
        "I weigh. Final Answer: A\nNo. Final Answer: B",
        'Option a says "Final Answer: [A]".\nFinal Answer: [B]',
        "Final Answer: [B]\n\nA. Final Answer: [A]\n(C) Final Answer: [C]",
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
        ("Final Answer: A. No, wait. Final Answer: B", FailureReason.SEVERAL_LETTERS),
        ("Final Answer: B. Final Answer: [A] is what an option says", FailureReason.SEVERAL_LETTERS),
        ("Final Answer: B\nFinal Answer: [Letter]", FailureReason.UNREADABLE_BOX),
        ("Final Answer: [", FailureReason.UNREADABLE_BOX),
        ("I weigh.\nFinal Ans", FailureReason.NO_BOX),
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


FORMS = (
    "Final Answer: {}", "Final Answer: [{}]", "**Final Answer:** ({})", "**Final Answer: {}**", "final answer is {}.",
    "### Final Answer\n{}", "FINAL ANSWER - {}", "Final Answer: \\boxed{{{}}}", "Final Answer: Option {}",
    "Final Answer: {}.",
)  # fmt: skip
CHOICES = st.lists(st.sampled_from("ABCDabcd"), min_size=1, max_size=4)
WORDS = st.lists(st.sampled_from(["Jazz", "suits", "them", "best,", "I", "think", "a", "walk", "is", "b", "too."])).map(
    " ".join
)


@given(st.data(), CHOICES, st.lists(WORDS, min_size=5, max_size=5))
def test_of_lines_of_the_form_the_last_one_counts(data: st.DataObject, letters: list[str], words: list[str]):
    lines = [data.draw(st.sampled_from(FORMS)).format(letter) for letter in letters]
    text = "\n".join(part for pair in zip(words, lines, strict=False) for part in pair)
    found = score_final_answer(text, LETTERS, "b")
    assert (found.parsed, found.failure) == (letters[-1].lower(), None)
    assert found.reward == float(letters[-1] in "Bb")


@given(st.sampled_from(FORMS), st.sampled_from("ABCD"), st.sampled_from("ABCD"))
def test_two_of_the_form_on_one_line_are_one_letter_or_none(form: str, first: str, second: str):
    found = score_final_answer(f"Final Answer: {first}. {form.format(second)}", LETTERS, "b")
    if first == second:
        assert found.parsed == first.lower()
    else:
        assert (found.parsed, found.failure) == (None, FailureReason.SEVERAL_LETTERS)


@given(st.sampled_from(FORMS), st.sampled_from("ABCD"), st.sampled_from("ABCD"), WORDS)
def test_what_stands_in_a_thought_is_not_read(form: str, thought: str, said: str, words: str):
    inside = f"{words}\n{form.format(thought)}\n"
    assert score_final_answer(f"<think>{inside}</think>{form.format(said)}", LETTERS, "b").parsed == said.lower()
    assert score_final_answer(f"{inside}</think>\n{form.format(said)}", LETTERS, "b").parsed == said.lower()
    assert score_final_answer(f"<think>{inside}", LETTERS, "b").failure is FailureReason.UNCLOSED_THOUGHT


@given(st.sampled_from(FORMS), st.sampled_from("EFGHJKZ"), st.integers(2, 4))
def test_a_letter_beyond_the_options_is_no_option(form: str, letter: str, num_options: int):
    found = score_final_answer(form.format(letter), LETTERS[:num_options], "a")
    assert (found.reward, found.parsed, found.failure) == (0.0, None, FailureReason.NOT_AN_OPTION)


@given(st.sampled_from("ABCD"), st.lists(st.sampled_from(FORMS), min_size=4, max_size=4), st.booleans())
def test_options_that_look_like_answers_may_be_listed_before_and_behind_the_answer(
    letter: str, options: list[str], behind: bool
):
    listed = "\n".join(
        f"{mark}. {form.format(other)}" for mark, other, form in zip("ABCD", "DCBA", options, strict=True)
    )  # fmt: skip
    answer = f"Final Answer: [{letter}]"
    text = f"{answer}\n\n{listed}" if behind else f"{listed}\n\n{answer}"
    if not any("\n" in form for form in options):
        assert score_final_answer(text, LETTERS, "b").parsed == letter.lower()


@given(st.sampled_from(FORMS), st.sampled_from("ABCD"), WORDS, st.integers(0, 400))
def test_a_reply_that_is_cut_has_its_letter_or_none(form: str, letter: str, words: str, end: int):
    found = score_final_answer(f"{words}\n{form.format(letter)}"[:end], LETTERS, "b")
    assert found.parsed in (None, letter.lower()) or found.failure is not None
