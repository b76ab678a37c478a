"""Thoughts: where they begin and end in the replies of published models."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.reward.thoughts import answer_of, decode_reply, opens_thought, split_thought
from tests.unit.data.builder import TEMPLATES, make_tokenizer

HARMONY = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>"

TAGS = [
    ("<think>", "</think>"),
    ("<Think>", "</THINK>"),
    ("<think >", "</ think\n>"),
    ("< think>", "< / think >"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<thoughts>", "</thoughts>"),
    ("<reasoning>", "</reasoning>"),
    ("<reflection>", "</reflection>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|channel|>final <|constrain|>JSON<|message|>"),
    ("<|channel|>commentary to=functions.x<|message|>", "<|channel|>final"),
    ("<|channel>thought", "<channel|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<analysis>", "</analysis>"),
    ("<inner_monologue>", "</inner_monologue>"),
    ("<thought_process>", "</thought_process>"),
    ("<chain-of-thought>", "</chain-of-thought>"),
    ("<antThinking>", "</antThinking>"),
    ("<reasoning_content>", "</reasoning_content>"),
    ("<think id=1>", "</think>"),
    ('<thinking budget = "100" mode="x">', "</thinking>"),
    ("＜think＞", "＜/think＞"),
    ("[REASONING]", "[/reasoning]"),
    ("<|think|>", "<|/think|>"),
    ("<｜thinking｜>", "<｜/thinking｜>"),
    ("<|begin_of_thinking|>", "<|end_of_thinking|>"),
    ("<begin_of_thought>", "<end_of_thought>"),
    ("<|thought_start|>", "<|thought_end|>"),
    ("<unused94>thought", "<unused95>"),
]


@pytest.mark.parametrize(("opening", "closing"), TAGS)
def test_every_kind_of_thought(opening: str, closing: str):
    thought = f"{opening}They hum.{closing}"
    assert split_thought(f"{thought} Jazz.") == (thought, " Jazz.")
    assert split_thought(f"Well. {thought}{thought} Jazz.") == (f"Well. {thought}{thought}", " Jazz.")
    assert split_thought(f"{thought} Jazz. {opening}Or tea") == (f"{thought} Jazz. {opening}Or tea", None)
    assert split_thought(f"{opening}They hum") == (f"{opening}They hum", None)
    # The template has opened it.
    assert split_thought(f"They hum.{closing} Jazz.") == (f"They hum.{closing}", " Jazz.")
    assert split_thought(f"They hum.{closing} Jazz.", thought_open=True)[1] == " Jazz."
    assert opens_thought(f"<|im_start|>assistant\n{opening}\n")
    assert not opens_thought(f"<|im_start|>assistant\n{thought}\n\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Jazz.",
        "I think > jazz",
        "<thinker>",
        "[thinks]",
        "<think about jazz>",
        "<plan>",
        "</details>",
        "analysis of jazz",
        "<|channel|>",
    ],
)
def test_what_is_no_tag(text: str):
    assert split_thought(text) == ("", text)
    assert split_thought(text, thought_open=True) == (text, None)
    assert not opens_thought(text)


def test_gpt_oss_without_its_special_tokens():
    assert split_thought("analysisThey hum.assistantfinalJazz.")[1] == "Jazz."
    assert split_thought("They hum.assistantfinalJazz.")[1] == "Jazz."
    assert split_thought("analysisThey hum.")[1] is None


def test_the_mark_at_the_end_of_gpt_oss_is_no_answer():
    assert split_thought(f"{HARMONY}Jazz.<|return|>")[1] == "Jazz."
    assert split_thought(f"{HARMONY}Jazz.<|end|>")[1] == "Jazz."


def test_inside_a_thought_other_tags_are_text():
    assert split_thought("<think>a </thinking> b")[1] is None
    assert split_thought("<think>a <thinking> b</think> c")[1] == " c"
    assert split_thought("<think><think>deep</think> c")[1] == " c"
    assert split_thought("<reasoning>a</reasoning> b", thought_open=True)[1] == " b"


def test_the_answer_of_an_open_thought_is_nothing():
    assert (answer_of("<think>They hum"), answer_of("<think>x</think> Jazz."), answer_of("Jazz.")) == (
        "",
        " Jazz.",
        "Jazz.",
    )


def test_tags_that_are_special_tokens_stay_in_the_text():
    tokenizer = make_tokenizer(TEMPLATES["chatml"])
    text = "<|im_start|>[THINK]jazz[/THINK]tea<|im_end|>"
    assert decode_reply(tokenizer, tokenizer.encode("[THINK]jazz[/THINK]tea<|im_end|>")) == "[THINK]jazz[/THINK]tea"
    other = make_tokenizer(TEMPLATES["chatml"])
    other.add_special_tokens({"additional_special_tokens": ["[THINK]", "[/THINK]", "<|pad|>"]})
    ids = other.encode(text + "<|pad|>")
    assert other.decode(ids, skip_special_tokens=True) == "jazztea", "the thought would be an answer"
    assert decode_reply(other, ids) == "[THINK]jazz[/THINK]tea"
    assert split_thought(decode_reply(other, ids))[1] == "tea"


pieces = st.sampled_from([tag for pair in TAGS for tag in pair] + ["<", " ", "/", "think", "analysis", "Jazz.", "\n"])


@given(st.one_of(st.text(), st.lists(pieces, max_size=12).map("".join)), st.booleans())
def test_any_text_is_split(text: str, thought_open: bool):
    thought, answer = split_thought(text, thought_open=thought_open)
    assert text.startswith(thought)
    if answer is None:
        assert thought == text
    else:
        assert text.removeprefix(thought).removesuffix("<|return|>").removesuffix("<|end|>") == answer
        # What is an answer has no thought of its own.
        assert split_thought(answer)[0] == "" or answer.startswith("analysis")
