"""Histories in chunks: nothing lost, nothing too long, borders between messages."""

from __future__ import annotations

from bisect import bisect
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rft.data.chat_template import ChatTemplate
from rft.data.chunks import cut_chunks, last_message_of, turn_that_reads
from rft.records import Message, Role
from tests.unit.data.builder import TEMPLATES, make_tokenizer

TOKENIZER = make_tokenizer(TEMPLATES["chatml"])
CHAT = ChatTemplate(TOKENIZER)
CONTENT = st.text(alphabet="abc jazztea.\n é漢", min_size=1, max_size=60)
TURN = st.tuples(st.sampled_from(["user", "assistant"]), CONTENT)


def said(role: Role, content: str) -> Message:
    return Message(role=role, content=content)


@settings(deadline=None)
@given(st.lists(TURN, min_size=1, max_size=12), st.integers(8, 90))
def test_chunks_are_the_history_in_order_and_within_the_limit(turns: list[tuple[Role, str]], chunk_tokens: int):
    messages = [said("system", "A persona card."), *(said(role, content) for role, content in turns)]
    chunks = cut_chunks(messages, CHAT, chunk_tokens)
    lines = [f"{message.role}: {message.content}\n" for message in messages[1:]]
    assert "".join(chunk.text for chunk in chunks) == "".join(lines)
    assert all(0 < len(chunk.token_ids) <= chunk_tokens for chunk in chunks)
    if all(len(ids) <= chunk_tokens for ids in CHAT.encode(lines)):
        assert [index for chunk in chunks for index in range(chunk.first, chunk.last + 1)] == [*range(1, len(messages))]
        # The next message never had room in the chunk before.
        for before, after in pairwise(chunks):
            assert len(before.token_ids) + len(CHAT.encode([lines[after.first - 1]])[0]) > chunk_tokens


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), CONTENT), min_size=1, max_size=10),
    st.integers(4, 60),  # no character takes more than four tokens
)
def test_a_chunk_names_its_messages_and_holds_the_tokens_of_its_text(turns: list[tuple[Role, str]], chunk_tokens: int):
    messages = [*(said(role, content) for role, content in turns), said("user", "Tea?")]
    chunks = cut_chunks(messages, CHAT, chunk_tokens)
    lines = {i: f"{m.role}: {m.content}\n" for i, m in enumerate(messages) if m.role != "system"}
    assert "".join(chunk.text for chunk in chunks) == "".join(lines.values())
    chunk_ends = list(accumulate(len(chunk.text) for chunk in chunks))
    line_ends = list(accumulate(map(len, lines.values())))
    numbers = list(lines)
    for chunk, end in zip(chunks, chunk_ends, strict=True):
        assert chunk.first == numbers[bisect(line_ends, end - len(chunk.text))]
        assert chunk.last == numbers[bisect(line_ends, end - 1)]
        assert len(chunk.token_ids) <= chunk_tokens
        assert TOKENIZER.backend_tokenizer.decode(list(chunk.token_ids), skip_special_tokens=False) == chunk.text
    for number, end in zip(numbers, line_ends, strict=True):
        assert turn_that_reads(number, chunks) == bisect(chunk_ends, end - 1)
    encoded = [ids.tolist() for ids in CHAT.encode(list(lines.values()))]
    if all(len(ids) <= chunk_tokens for ids in encoded):
        assert [token for chunk in chunks for token in chunk.token_ids] == [token for ids in encoded for token in ids]


def test_borders_fall_between_messages_and_system_messages_are_left_out():
    messages = [
        said("system", "A card."), said("user", "Tea?"), said("assistant", "Yes."), said("system", "A note."),
        said("user", "Jazz?"), said("assistant", "No."),
    ]  # fmt: skip
    two = sum(map(len, CHAT.encode(["user: Tea?\n", "assistant: Yes.\n"])))
    chunks = cut_chunks(messages, CHAT, two)
    assert [(chunk.text, chunk.first, chunk.last) for chunk in chunks] == [
        ("user: Tea?\nassistant: Yes.\n", 1, 2),
        ("user: Jazz?\nassistant: No.\n", 4, 5),
    ]
    assert cut_chunks(messages, CHAT, two - 1)[0].text == "user: Tea?\n"


def test_a_message_longer_than_a_chunk_is_cut():
    messages = [said("user", "tea " * 40), said("assistant", "Yes.")]
    chunks = cut_chunks(messages, CHAT, 30)
    assert len(chunks) > 2
    assert [(chunk.first, chunk.last) for chunk in chunks[:2]] == [(0, 0), (0, 0)]
    assert chunks[-1].last == 1
    assert turn_that_reads(0, chunks) == max(turn for turn, chunk in enumerate(chunks) if chunk.first == 0)


def test_nothing_to_read_is_an_error():
    with pytest.raises(ValueError, match="nothing to remember"):
        cut_chunks([said("system", "A persona card.")], CHAT, 30)


def test_a_character_of_more_tokens_than_a_chunk_is_an_error():
    assert len(CHAT.encode(["漢"])[0]) == 3
    with pytest.raises(ValueError, match="raise it"):
        cut_chunks([said("user", "漢")], CHAT, 2)


HISTORY = [
    said("user", "Hi."),
    said("user", "I hum jazz."),
    said("assistant", "Done."),
    said("user", "Hi."),
    said("assistant", "Done."),
]


@pytest.mark.parametrize(
    ("evidence", "last"),
    [
        ([HISTORY[1], HISTORY[2]], 2),
        ([HISTORY[0]], 3),  # the latest of equal messages
        ([HISTORY[1], HISTORY[4]], 2),  # next to each other before anywhere
        ([HISTORY[2], HISTORY[1]], 4),  # scattered
        ([HISTORY[1], said("user", "Absent.")], None),
        ([], None),
    ],
)
def test_where_evidence_ends(evidence: list[Message], last: int | None):
    assert last_message_of(evidence, HISTORY) == last
