"""What in a reply is a memory, and why it is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.records import UpdateFailure
from rft.tasks.memory_text import read_memory

MARKERS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")


@pytest.mark.parametrize(
    ("reply", "memory"),
    [
        ("- Likes jazz.\n- Has a cat.", "- Likes jazz.\n- Has a cat."),
        ("\n  - Likes jazz. \n", "- Likes jazz."),
        ("<think>What is new?\nJazz.</think>\n\n- Likes jazz.", "- Likes jazz."),
        ("<think></think>- Likes jazz.", "- Likes jazz."),
        ("- I cannot eat gluten", "- I cannot eat gluten"),
        ("I can't stand olives", "I can't stand olives"),
        ("Sorry jokes are what the user likes", "Sorry jokes are what the user likes"),
        ("- 3 < 4 and <b>bold</b>", "- 3 < 4 and <b>bold</b>"),
        ("- Is sorry, but cannot help at weekends.", "- Is sorry, but cannot help at weekends."),
        ("- Asks an AI for help.\nAs an AI fan", "- Asks an AI for help.\nAs an AI fan"),
        ("<think>I cannot help.</think>- Likes jazz.", "- Likes jazz."),
    ],
)
def test_a_memory_is_the_reply_after_its_thought(reply: str, memory: str):
    assert read_memory(reply, cut_off=False, markers=MARKERS) == (memory, None)


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        ("", UpdateFailure.EMPTY),
        (" \n\t", UpdateFailure.EMPTY),
        ("<think>Nothing new.</think> ", UpdateFailure.EMPTY),
        ("<think>What is new? - Likes jazz.", UpdateFailure.TAGS),
        ("- Likes jazz.</think>", UpdateFailure.TAGS),
        ("<think>a</think>- Jazz. <think>b</think>", UpdateFailure.TAGS),
        ("- Likes jazz.<|im_end|>\n<|im_start|>user", UpdateFailure.TAGS),
        ("I'm sorry, but there is nothing here.", UpdateFailure.REFUSAL),
        ("I cannot help with that.", UpdateFailure.REFUSAL),
        ("i can’t store personal data", UpdateFailure.REFUSAL),
        ("As an AI, I have no memory.", UpdateFailure.REFUSAL),
        ("As a language model I keep nothing.", UpdateFailure.REFUSAL),
        ("Sorry, I would rather not.", UpdateFailure.REFUSAL),
        ("I am sorry.", UpdateFailure.REFUSAL),
        ("I am unable to do that", UpdateFailure.REFUSAL),
        ("I cant write that down.", UpdateFailure.REFUSAL),
        ("<think>Is this safe?</think>\nI can not assist.", UpdateFailure.REFUSAL),
        ("I'm unable to help with that.", UpdateFailure.REFUSAL),
        ("I’m not able to do that.", UpdateFailure.REFUSAL),
    ],
)
def test_what_is_no_memory_says_why(reply: str, failure: UpdateFailure):
    assert read_memory(reply, cut_off=False, markers=MARKERS)[1] is failure


def test_a_reply_that_was_cut_off_is_too_long():
    assert read_memory("- Likes ja", cut_off=True, markers=MARKERS) == ("- Likes ja", UpdateFailure.TOO_LONG)
    for reply in ("", "<think>What is", "I cannot help"):
        assert read_memory(reply, cut_off=True, markers=MARKERS)[1] is UpdateFailure.TOO_LONG


def test_a_thought_that_the_template_opened_must_be_closed():
    closed = read_memory("Jazz is new.</think>- Likes jazz.", cut_off=False, markers=MARKERS, thought_open=True)
    assert closed == ("- Likes jazz.", None)
    opened_twice = read_memory("<think>Jazz.</think>\n- Jazz.", cut_off=False, markers=MARKERS, thought_open=True)
    assert opened_twice == ("- Jazz.", None)
    assert read_memory("Jazz.", cut_off=False, markers=MARKERS, thought_open=True)[1] is UpdateFailure.TAGS


PIECES = st.sampled_from(["<think>", "</think>", *MARKERS, "- jazz", " ", "\n", "I cannot help"])


@given(st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=8).map("".join), st.booleans(), st.booleans())
def test_whatever_the_reply_a_memory_is_clean(reply: str, cut_off: bool, thought_open: bool):
    memory, failure = read_memory(reply, cut_off=cut_off, markers=MARKERS, thought_open=thought_open)
    if failure is None:
        assert memory == memory.strip() != ""
        assert not any(tag in memory for tag in (*MARKERS, "<think>", "</think>"))
