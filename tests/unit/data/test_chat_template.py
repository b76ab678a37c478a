from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from rft.data.chat_template import PROBE, ChatTemplate
from rft.records import Message
from tests.unit.data.builder import CHATML, SPECIAL, TEMPLATES, make_tokenizer

MESSAGES = [
    Message(role="system", content="Help."),
    Message(role="user", content="  Tea in the morning? \n"),
    Message(role="assistant", content="Yes, tea."),
    Message(role="user", content="Forget my tea."),
    Message(role="user", content="A walk?"),
    Message(role="assistant", content="By the lake.\n"),
]
QUESTIONS = ["Any novel?", "Café\n\n(a) naïve\n(b) {bread}", "x" * 300]


def whole_chat(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message], question: str) -> list[int]:
    chat = [{"role": m.role, "content": m.content} for m in [*messages, Message(role="user", content=question)]]
    return list(tokenizer.apply_chat_template(chat, tokenize=True, add_generation_prompt=True, return_dict=False))


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("num_messages", range(1, 7))
def test_history_and_tail_join_to_the_whole_chat(
    tokenizers: Callable[[str], PreTrainedTokenizerFast], name: str, num_messages: int
) -> None:
    tokenizer = tokenizers(name)
    chat = ChatTemplate(tokenizer)
    messages = MESSAGES[:num_messages]
    parts = chat.split(messages)
    for question in QUESTIONS:
        history, tail = chat.encode([parts.history, parts.tail(question)])
        assert [*history, *tail] == whole_chat(tokenizer, messages, question)
        chat.check(messages, question)


contents = st.lists(
    st.sampled_from([*SPECIAL, PROBE, "tea", "(a) ", "\n", "\n\n", "é", "\u3000"]) | st.text(max_size=8)
).map("".join)


@settings(deadline=None)
@given(st.sampled_from(["chatml", "thinking"]), st.lists(st.tuples(st.sampled_from(MESSAGES), contents)), contents)
def test_any_text_joins_to_the_whole_chat(
    tokenizers: Callable[[str], PreTrainedTokenizerFast], name: str, items: list[tuple[Message, str]], question: str
) -> None:
    messages = [MESSAGES[0], *(Message(role=message.role, content=content) for message, content in items)]
    ChatTemplate(tokenizers(name)).check(messages, question)


def test_the_cut_is_where_the_question_s_turn_begins(tokenizers: Callable[[str], PreTrainedTokenizerFast]) -> None:
    parts = ChatTemplate(tokenizers("chatml")).split(MESSAGES)
    assert parts.history.endswith("By the lake.\n<|im_end|>\n")
    assert parts.header == "<|im_start|>user\n"
    assert parts.footer == "<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("template", ["chatml", "trimming"])
def test_a_question_needs_no_context(tokenizers: Callable[[str], PreTrainedTokenizerFast], template: str) -> None:
    chat = ChatTemplate(tokenizers(template))
    chat.check([], "What's next?")
    assert "What's next?" in chat.split([]).tail("What's next?")


def test_the_last_assistant_message_is_written_as_in_the_middle_of_a_chat(
    tokenizers: Callable[[str], PreTrainedTokenizerFast],
) -> None:
    # Rendering the history alone would put an empty thought here, and no longer be a prefix of the prompt.
    assert "<think>" not in ChatTemplate(tokenizers("thinking")).split(MESSAGES).history


ALTERNATING = (
    "{% for m in messages %}{% if not loop.first and m.role == messages[loop.index0 - 1].role %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}<s>{{ m.content }}{% endfor %}"
)
UNFIT = {
    "no special token": ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", "no special token"),
    "question in front": ("<s>{{ messages[-1].content }}</s>" + CHATML, "not prefix-stable"),
    "question left out": ("{% for m in messages[:-1] %}<|im_start|>{{ m.content }}{% endfor %}", "no special token"),
    "refuses roles": (ALTERNATING, "refuses a history .roles must alternate"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_an_unfit_template_is_named(name: str) -> None:
    template, problem = UNFIT[name]
    tokenizer = make_tokenizer(template)
    tokenizer.name_or_path = "some/model"
    with pytest.raises(ValueError, match=f"the chat template of 'some/model' .*{problem}") as caught:
        ChatTemplate(tokenizer).check(MESSAGES, "Any novel?")
    assert "\n" not in str(caught.value)


def test_a_special_token_that_swallows_the_space_before_it_is_noticed() -> None:
    with pytest.raises(ValueError, match="not prefix-stable"):
        ChatTemplate(make_tokenizer(CHATML, lstrip=True)).check(MESSAGES, "Any novel?")


def test_a_tokenizer_without_template_is_refused() -> None:
    tokenizer = make_tokenizer(CHATML)
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="has no chat template"):
        ChatTemplate(tokenizer)


def test_the_fingerprint_follows_template_and_vocabulary_but_not_truncation() -> None:
    tokenizer = make_tokenizer(CHATML)
    fingerprint = ChatTemplate(tokenizer).fingerprint
    tokenizer("a b c d", truncation=True, max_length=2, padding="max_length")
    assert ChatTemplate(tokenizer).fingerprint == fingerprint
    assert len(ChatTemplate(tokenizer).encode(["morning tea garden walk"])[0]) > 2
    tokenizer.chat_template = CHATML.replace("user", "human") + " "
    assert ChatTemplate(tokenizer).fingerprint != fingerprint
    tokenizer.chat_template = CHATML
    tokenizer.add_tokens(["<extra>"])
    assert ChatTemplate(tokenizer).fingerprint != fingerprint


@settings(deadline=None)
@given(st.lists(st.sampled_from(["tea", " jazz", "a", "\n", ". ", "<|im_end|>"])).map("".join), st.integers(1, 12))
def test_a_text_cut_to_a_number_of_tokens_loses_no_character(
    tokenizers: Callable[[str], PreTrainedTokenizerFast], text: str, size: int
) -> None:
    tokenizer = tokenizers("chatml")
    pieces = ChatTemplate(tokenizer).cut(text, size)
    assert "".join(pieces) == text
    counts = tokens_of_each(tokenizer, pieces)
    assert counts[:-1] == [size] * (len(counts) - 1)
    assert all(0 < count <= size for count in counts)


@pytest.mark.parametrize(
    "text",
    [
        "café naïve tea " * 3,
        "漢漢漢漢",
    ],
)
def test_a_cut_does_not_part_a_character(tokenizers: Callable[[str], PreTrainedTokenizerFast], text: str) -> None:
    tokenizer = tokenizers("chatml")
    pieces = ChatTemplate(tokenizer).cut(text, 4)
    assert "".join(pieces) == text
    assert max(tokens_of_each(tokenizer, pieces)) <= 4


def tokens_of_each(tokenizer: PreTrainedTokenizerFast, pieces: Sequence[str]) -> list[int]:
    """Tokens of the whole text that begin in each piece."""
    whole = tokenizer("".join(pieces), add_special_tokens=False, return_offsets_mapping=True)
    ends = list(accumulate(map(len, pieces)))
    counts = [0] * len(pieces)
    for start, _ in whole["offset_mapping"]:
        counts[bisect(ends, start)] += 1
    return counts


def test_qwen3_s_own_tokenizer(qwen3: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(qwen3)
    for num_messages in range(1, 7):
        ChatTemplate(tokenizer).check(MESSAGES[:num_messages], QUESTIONS[1])
